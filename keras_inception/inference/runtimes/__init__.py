"""Exported networks in the runtimes that run them, behind one small interface."""

import os
from pathlib import Path

from keras_inception.errors import InputError, unknown
from keras_inception.inference.runtimes.base import Runtime

RUNTIMES = ("tensorflow", "onnxruntime", "openvino", "litert")

_ENDINGS = {".onnx": "onnxruntime", ".xml": "openvino", ".tflite": "litert"}

__all__ = ["RUNTIMES", "Runtime", "is_exported", "open_runtime", "runtime_of"]


def open_runtime(
    path: str | os.PathLike,
    *,
    threads: int | None = None,
    dtype: str | None = None,
    batch_size: int | None = None,
) -> Runtime:
    """Open an exported network in its own runtime.

    Args:
        path: a SavedModel folder (TensorFlow), an `.onnx` file (ONNX Runtime), an `.xml` file or
            the folder that holds it and its `.bin` (OpenVINO), or a `.tflite` file (LiteRT).
        threads: to compute with; None: the runtime's choice, all cores.
        dtype: in which to compute. None: as the file says; OpenVINO, whose files leave it open,
            then computes in float32, and takes "bfloat16" too. The other runtimes take what the
            file was exported in and nothing else.
        batch_size: images that OpenVINO computes together, as for its runtime; None: as the file
            has it.

    Returns:
        The runtime, ready to run; a context manager.

    Raises:
        InputError: if nothing stands at `path`, it is of no known format or cannot be loaded, or
            if its runtime has no such `dtype` or `batch_size`.
        MissingExtra: if the runtime is not installed.
    """
    from keras_inception.inference.export.metadata import read_metadata

    path, runtime = _located(Path(path))
    exported = None
    if dtype is not None and runtime != "openvino":
        exported = (read_metadata(path) or {}).get("precision")
    dtypes = (exported,) if exported else ("float32", "bfloat16")
    if dtype not in (None, "float32", "bfloat16", exported):
        raise unknown("dtype", dtype, dtypes)
    if runtime == "openvino":
        from keras_inception.inference.runtimes.openvino import OpenVinoRuntime

        return OpenVinoRuntime(
            path,
            dtype=dtype or "float32",
            threads=threads,
            batch_size=batch_size,
            metadata=read_metadata(path),
        )
    if dtype != exported or batch_size is not None:
        says = f" Its dtype is {exported}." if exported else ""
        raise InputError(
            f"{path} runs in {runtime}, where the file alone says dtype and batch size; leave both "
            f"out, or export it so.{says}"
        )
    if runtime == "onnxruntime":
        from keras_inception.inference.runtimes.onnx import OnnxRuntime

        return OnnxRuntime(path, threads=threads)
    if runtime == "litert":
        from keras_inception.inference.runtimes.litert import LiteRtRuntime

        return LiteRtRuntime(path, threads=threads, metadata=read_metadata(path))
    from keras_inception.inference.runtimes.saved_model import SavedModelRuntime

    return SavedModelRuntime(path, threads=threads, metadata=read_metadata(path))


def runtime_of(path: str | os.PathLike) -> str:
    """Return which of `RUNTIMES` runs an exported file or folder.

    Raises:
        InputError: if nothing stands there, or nothing of a known format.
    """
    return _located(Path(path))[1]


def is_exported(path: str | os.PathLike) -> bool:
    """Tell whether an exported network of a known format stands at a path."""
    return _found(Path(path)) is not None


def _located(path: Path) -> tuple[Path, str]:
    """Return the file or folder to open and its runtime, or raise."""
    if not path.exists():
        raise InputError(f"There is no file or folder {path}.")
    found = _found(path)
    if found is None:
        raise InputError(
            f"{path} is no exported network: expected a SavedModel folder, an .onnx, .xml or "
            ".tflite file, or a folder with one .xml file."
        )
    return found


def _found(path: Path) -> tuple[Path, str] | None:
    if path.is_file() and path.suffix in _ENDINGS:
        return path, _ENDINGS[path.suffix]
    if (path / "saved_model.pb").is_file():
        return path, "tensorflow"
    inside = sorted(path.glob("*.xml")) if path.is_dir() else []
    return (inside[0], "openvino") if len(inside) == 1 else None
