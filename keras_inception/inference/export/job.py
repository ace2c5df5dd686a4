"""The export itself: check the request, write, check what was written, move it into place."""

import contextlib
import fnmatch
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_inception.errors import InputError, MissingExtra, import_extra, unknown
from keras_inception.files import atomic_path
from keras_inception.inference.export import calibration as calibrations
from keras_inception.inference.export import litert, onnx, openvino, saved_model
from keras_inception.inference.export.checking import AGREEMENT, BOUNDS, ExportError, check
from keras_inception.inference.export.facts import describe
from keras_inception.inference.export.network import prepare
from keras_inception.inference.graph import main_model
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights import Checkpoint, info


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        write: writes a `Network`, given also the path, metadata, precision and calibration.
        ending: of the file's name; "" for a folder.
        file: that a folder of this format holds.
        others: what else it may hold, as patterns.
        precisions: that it has.
        inside: how much of the preprocessing it can hold: "all" or "values".
        any_size: whether height and width can be left free.
        traced_in_precision: whether the network is brought to a 16-bit precision before it is
            traced; otherwise the file's weights are converted.
        pools_stay: the precisions in which folding must leave average pools before convolutions.
        packages: that it takes; `extra` brings them.
        extra: of this package.
    """

    write: Callable[..., None]
    ending: str
    precisions: tuple[str, ...]
    file: str = ""
    others: tuple[str, ...] = ()
    inside: str = "all"
    any_size: bool = True
    traced_in_precision: bool = False
    pools_stay: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    extra: str = ""


FORMATS = {
    "tf_saved_model": Format(
        saved_model.write,
        "",
        ("float32", "bfloat16"),
        file=saved_model.FILE,
        others=saved_model.OTHERS,
        traced_in_precision=True,
    ),
    "litert": Format(
        litert.write,
        ".tflite",
        ("float32", "float16", "int8"),
        inside="values",
        any_size=False,
        pools_stay=("int8",),
    ),
    "onnx": Format(
        onnx.write,
        ".onnx",
        ("float32", "float16", "int8"),
        packages=("onnx", "tf2onnx", "onnxruntime"),
        extra="onnx",
    ),
    "openvino": Format(
        openvino.write,
        "",
        ("float32", "float16", "int8"),
        file=openvino.FILE,
        others=openvino.OTHERS,
        packages=("openvino",),
        extra="openvino",
    ),
}
"""The formats, by name."""


@dataclass(frozen=True)
class Exported:
    """What an export came to.

    Attributes:
        path: of the file or folder.
        size_bytes: of the file, or of all files of the folder.
        difference: largest difference between an output of the file and the model's on the fixed
            inputs of the check, as a share of the model's largest output; in bfloat16 its mean
            over them, in int8 over calibration images.
        bound: that the difference had to keep.
        metadata: as `read_metadata(path)` returns it.
    """

    path: Path
    size_bytes: int
    difference: float
    bound: float
    metadata: dict[str, Any]


def export(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    format: str = "tf_saved_model",
    precision: str = "float32",
    fold: bool = True,
    preprocessing: Preprocessing | None = None,
    include_preprocessing: bool = True,
    batch_size: int | None = None,
    calibration: Any = None,
    class_names: Sequence[str] | None = None,
    weights_id: str | None = None,
    tolerance: float | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a network as a file that other programs run, and check it there.

    The file is run in its own runtime on fixed inputs and compared with the model before it appears
    at `path`; if anything fails, nothing appears, and what stood there stays.

    Of a model with auxiliary heads the main one is exported. The input is named "images", the
    output "predictions", or "features" if the model has no classifier; both are float32 in every
    precision, but raw images are uint8.

    Args:
        model: built with the functional API or Sequential; one batch of images in, channels last.
            It is left alone.
        path: of the new file (".tflite", ".onnx") or folder (SavedModel; OpenVINO, whose folder
            holds model.xml and model.bin).
        format: "tf_saved_model", with the signatures `serving_default` and `features`;
            "litert"; "onnx"; or "openvino".
        precision: "float32"; "bfloat16" (SavedModel) for weights and computation; "float16" (the
            others) for the weights, while the runtime chooses how it computes; or "int8" (the
            others) for both. In bfloat16 OpenVINO runs any file if its runtime is told to.
        fold: fold batch normalisations into convolutions, as `fold_batch_norm`.
        preprocessing: how images become what the network takes. The file then takes raw uint8
            images, RGB, of any size, and does all of that; a LiteRT file takes them in the
            network's size and only scales their values. A SavedModel gets a third signature,
            `encoded`, from JPEG or PNG files.
        include_preprocessing: False: `preprocessing` only stands in the metadata, and the file
            takes what the network takes.
        batch_size: images of every call; None: any number.
        calibration: for "int8": images like those that the network will see, of which 256 are
            used. An array of what the network takes; or of raw uint8 images, which go through
            `preprocessing` or that of `weights_id`, and have to be raw if the former is given. Or
            an iterable of such batches or of (batch, labels) pairs, or a
            split of `keras_inception.data`.
        class_names: one a class, for the metadata.
        weights_id: id of the public weights that the model has, for the metadata: their licence,
            preprocessing and, if they are ImageNet's, class names.
        tolerance: bound of the check, the difference as a share of the largest output. None: 1e-4
            in float32 and 0.02 in float16; on the mean over the inputs 0.1 in bfloat16, and 0.25
            in int8, whose inputs are calibration images: 90 % must keep their first class too.
        overwrite: replace what stands at `path`, if it is of this format.

    Returns:
        What was written and how near it is to the model.

    Raises:
        InputError: for any argument that cannot work, with what would.
        ExportError: (an `InputError`) if the file cannot be made or is too far from the model.
        MissingExtra: if the extra "onnx" or "openvino" is needed and not installed.
        OSError: if the disk is full, or the path cannot be written.

    Example:
        >>> import keras_inception as ki
        >>> model = ki.InceptionV3(weights=None, input_shape=(75, 75, 3), classes=10, width=0.1)
        >>> done = ki.export(model, "digits.tflite", format="litert")
        >>> done.difference <= done.bound
        True
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    form, path = FORMATS[format], Path(path)
    _check_target(path, form, format, overwrite)
    _check_request(form, format, precision, batch_size, calibration, tolerance)
    for package in form.packages:
        import_extra(package, form.extra)
    checkpoint = None if weights_id is None else info(weights_id)
    model = main_model(model)
    inside = form.inside if preprocessing is not None and include_preprocessing else "none"
    network = prepare(
        model,
        fold=fold,
        dtype=precision if form.traced_in_precision else "float32",
        move_pools=precision not in form.pools_stay,
        batch_size=batch_size,
        preprocessing=preprocessing or _published(checkpoint, model),
        inside=inside,
    )
    if None in network.input_shape[1:] and not form.any_size:
        raise InputError(
            f"{model.name} takes images of any size, which {format} cannot; build it with an "
            "input_shape of numbers, or put preprocessing= with the size inside the file."
        )
    images = None
    if precision == "int8":
        images = calibrations.read(calibration, network, raw_only=preprocessing is not None)
    bound = BOUNDS[precision] if tolerance is None else tolerance
    facts = describe(network, precision, fold, class_names, checkpoint)
    with _failures(f"{model.name} could not be exported as {format}"), atomic_path(path) as written:
        form.write(network, written, facts, precision, images)
        agreement = AGREEMENT if tolerance is None else 0.0
        difference = check(written, network, precision, bound, images, agreement)
        files = written.rglob("*") if written.is_dir() else [written]
        size = sum(file.stat().st_size for file in files)
    return Exported(path, size, difference, bound, facts)


def _check_target(path: Path, form: Format, format: str, overwrite: bool) -> None:
    """Refuse a path that does not fit the format, or where something stands that must stay."""
    if path.suffix in _ENDINGS if not form.ending else path.suffix != form.ending:
        expected = f"a file that ends in {form.ending}" if form.ending else "a folder"
        raise InputError(
            f"{format} is {expected}, but path is {path}. Give such a path, or the format "
            "(--format) that belongs to it."
        )
    if not path.exists():
        if path.is_symlink():
            raise InputError(
                f"{path} is a link to {path.readlink()}, where nothing is. Remove the link, or "
                "export to another path."
            )
        return
    if not overwrite:
        raise InputError(
            f"{path} exists already and was left as it is; overwrite=True replaces it."
        )
    ours = path.is_file() if form.ending else (path / form.file).is_file()
    if not ours:
        raise InputError(f"{path} is no {format} export, so that it is not overwritten.")
    known = (form.file, *form.others)
    for file in path.rglob("*"):
        name = file.relative_to(path).as_posix()
        if not file.is_dir() and not any(fnmatch.fnmatch(name, pattern) for pattern in known):
            raise InputError(
                f"{path} holds more than a {format} export: overwriting it would delete {name}. "
                "Move that away, or export to another path."
            )


_ENDINGS = (".tflite", ".onnx", ".xml", ".bin", ".pb", ".keras", ".h5")  # of no folder


def _check_request(
    form: Format,
    format: str,
    precision: str,
    batch_size: int | None,
    calibration: Any,
    tolerance: float | None,
) -> None:
    if precision not in BOUNDS:
        raise unknown("precision", precision, BOUNDS)
    if precision not in form.precisions:
        having = [name for name, other in FORMATS.items() if precision in other.precisions]
        raise InputError(
            f"{format} has no {precision}, but {', '.join(form.precisions)}. {precision} is had by "
            f"{', '.join(having)}."
        )
    if calibration is not None and precision != "int8":
        raise InputError(f'calibration is for precision="int8", but precision is {precision!r}.')
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise InputError(f"batch_size is a whole number from 1, or None; got {batch_size!r}.")
    if tolerance is not None and not tolerance >= 0:
        raise InputError(f"tolerance is 0 or more, or None; got {tolerance!r}.")


def _published(checkpoint: Checkpoint | None, model: keras.Model) -> Preprocessing | None:
    """Return the preprocessing of public weights, at the size of the model."""
    return checkpoint and checkpoint.preprocessing.sized(model.inputs[0].shape[1:3])


@contextlib.contextmanager
def _failures(what: str) -> Iterator[None]:
    """Turn what a converter happens to raise into an `ExportError`."""
    try:
        yield
    except (InputError, MissingExtra, OSError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ExportError(f"{what}: {reason}. Nothing was written.") from error
