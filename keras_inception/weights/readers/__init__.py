"""Reading a weight file of any supported format: names and arrays, nothing else."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import ml_dtypes
import numpy as np

from keras_inception.errors import InputError
from keras_inception.weights.readers import (
    caffemodel,
    keras_archive,
    keras_hdf5,
    onnx_file,
    safetensors_file,
    tensorflow1,
    tfjs,
    torch_file,
)
from keras_inception.weights.readers.content import Content, recognise

_READERS: dict[Content, Callable[[Path], Iterator[tuple[str, np.ndarray]]]] = {
    Content.TENSORFLOW: tensorflow1.read,
    Content.HDF5: keras_hdf5.read,
    Content.KERAS: keras_archive.read,
    Content.SAFETENSORS: safetensors_file.read,
    Content.TORCH: torch_file.read,
    Content.ONNX: onnx_file.read,
    Content.CAFFEMODEL: caffemodel.read,
    Content.TFJS: tfjs.read,
}
_ENDINGS = {
    ".ckpt": Content.TENSORFLOW,
    ".index": Content.TENSORFLOW,
    ".h5": Content.HDF5,
    ".hdf5": Content.HDF5,
    ".keras": Content.KERAS,
    ".safetensors": Content.SAFETENSORS,
    ".pth": Content.TORCH,
    ".pt": Content.TORCH,
    ".onnx": Content.ONNX,
    ".caffemodel": Content.CAFFEMODEL,
    ".json": Content.TFJS,
}
# Protobuf has no magic number, so that the ending decides where the bytes leave it open.
_WITHOUT_MAGIC = {Content.ONNX, Content.CAFFEMODEL}


def read_checkpoint(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read every weight of a file, under the name that it has there.

    | format | path | names |
    |---|---|---|
    | TensorFlow 1 checkpoint | V1 file; V2 prefix, `.index` or data shard | as in the file |
    | Keras HDF5: `.h5` weights or model, `.weights.h5` | the file | `layer/variable` |
    | Keras `.keras` | the file | `layer/variable` |
    | safetensors | the file | as in the file |
    | torch `.pth`, `.pt` (extra `torch`) | the file | keys of the state dict |
    | ONNX (extra `onnx`) | the file | names of the initialisers |
    | caffemodel | the file | `layer/index of the blob` |
    | TensorFlow.js layers model | `model.json` | as in the file |

    A file whose ending is none of these is judged by its content. In Keras files a layer within a
    layer has the names of both, `outer/inner/kernel`; variables of optimizers, metrics and random
    seeds are left out. A `.weights.h5` stores numbers instead of the names of variables: for
    convolutions, dense layers and batch normalisations they are replaced by the names, of which
    three variables of a batch normalisation are taken for beta and the statistics, unless the
    configuration in a `.keras` says otherwise; for other layers the number stays. In TensorFlow
    and ONNX files tensors of strings are left out; a TensorFlow 1 checkpoint's optimizer slots
    are not.

    The file is taken for untrusted: nothing is unpickled except by torch's `weights_only` loader,
    no other file is opened but those that belong to it in its folder, and no tensor is allocated
    that the file is not large enough for.

    Args:
        path: the file. Archives around a checkpoint have to be unpacked first.

    Returns:
        Array by name, in the order of the file where it has one. Shapes are the file's, and so
        are dtypes, except that bfloat16 and quantised TensorFlow.js weights become float32.

    Raises:
        InputError: if there is no such file, it is of another format than its ending says (the
            message says what it seems to be), damaged, or holds no weights or one name twice.
        MissingExtra: if torch or onnx is needed and not installed.

    Example:
        >>> tensors = read_checkpoint("inception_v4.ckpt")
        >>> tensors["InceptionV4/Logits/Logits/biases"].shape
        (1001,)
    """
    path = Path(path)
    file = _locate(path)
    content = _expect(file, recognise(file))
    try:
        return _collect(_READERS[content](file))
    except InputError as error:
        raise InputError(f"{path}: {_one_line(error)}") from error
    except ImportError:  # about the installation, not about the file
        raise
    except Exception as error:  # on damaged bytes the libraries of the formats raise anything
        reason = _one_line(error)[:300] or type(error).__name__
        raise InputError(
            f"{path}: it could not be read as {content.phrase}, perhaps because it is damaged or "
            f"cut off ({reason}). Fetch it again and compare its size with the publisher's."
        ) from error


def _locate(path: Path) -> Path:
    """Return the file to open for `path`, which may be any part of a V2 TensorFlow checkpoint."""
    shard = re.fullmatch(r"(.+)\.data-\d{5}-of-\d{5}", path.name)
    index = path.with_name(f"{shard[1] if shard else path.name}.index")
    file = index if shard or not path.exists() and index.is_file() else path
    if file.is_file():
        return file
    if file.is_dir():
        raise InputError(f"{path} is a folder: give the file in it (model.json, x.index, ...).")
    if file.exists():
        raise InputError(f"{path} is not a regular file.")
    if shard:
        raise InputError(f"{path} is a data shard whose index {index.name} is missing beside it.")
    raise InputError(f"There is no file {path}, and no {index.name} beside it either.")


def _expect(file: Path, found: Content) -> Content:
    """Return the format to read `file` in, or refuse what is not as its ending says."""
    expected = _ENDINGS.get(file.suffix.lower())
    if found in _READERS and expected in (found, None):
        return found
    if found == Content.UNKNOWN and expected in _WITHOUT_MAGIC:
        return expected
    if expected is None:
        raise InputError(f"{file} is {found.phrase}, which is not read. {found.advice}".rstrip())
    raise InputError(
        f"{file} should be {expected.phrase} by its ending, but seems to be {found.phrase}. "
        f"{found.advice or 'Rename it if that is what you meant.'}"
    )


def _one_line(error: Exception) -> str:
    """Return the text of an error, into which names from a file may have brought line ends."""
    return " ".join(str(error).split())


def _collect(tensors: Iterable[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Gather what a reader yields: each name once, as arrays that NumPy can calculate with."""
    collected: dict[str, np.ndarray] = {}
    for name, array in tensors:
        if name in collected:
            raise InputError(f"it holds two tensors named {name!r}, and only one can be meant.")
        array = np.asarray(array)
        wanted = np.float32 if array.dtype == ml_dtypes.bfloat16 else array.dtype.newbyteorder("=")
        collected[name] = array.astype(wanted, copy=False)
    if not collected:
        raise InputError("it holds no weights.")
    return collected
