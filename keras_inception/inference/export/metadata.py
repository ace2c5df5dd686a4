"""What an exported file says of itself: one schema, kept where each format has room."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from keras_inception.errors import InputError, import_extra

SCHEMA = 1
KEY = "keras_inception"
FILE = f"{KEY}.json"
SAVED_MODEL_FOLDER = "assets.extra"  # TensorFlow's place for files that it shall leave alone


def read_metadata(path: str | os.PathLike) -> dict[str, Any] | None:
    """Return what an exported network says of itself.

    It stands in `assets.extra/keras_inception.json` of a SavedModel, in the `metadata_props` of an
    ONNX file, in the `rt_info` of an OpenVINO `.xml`, and in `keras_inception.json` of the ZIP
    archive at the end of a LiteRT file, where that format keeps associated files.

    Args:
        path: what `ki.export` wrote, in any format; of OpenVINO the folder or its `.xml` file.

    Returns:
        A dict, or None if the file was not written by this package:
        "schema": 1;
        "package": name and version of what wrote it;
        "network": name of the model;
        "weights": id of the public weights, or None; "licence": theirs, as an SPDX identifier;
        "precision": "float32", "bfloat16", "float16" or "int8"; "folded": whether batch
        normalisations are folded;
        "input": {"name", "shape" (None where free), "dtype", "layout" "NHWC", "channel_order",
        "range" [lowest, highest value] (None where unknown)};
        "output": {"name" "predictions" or "features", "shape"};
        "class_names": list of strings, or None;
        "preprocessing": the fields of a `Preprocessing`, or None if it is not known;
        "preprocessing_inside": "all" if the file does all of it, "values" if it takes raw
        pixels of the right size, "none" if all has to be done before.

    Raises:
        InputError: if nothing stands at `path`, or nothing of a known format.
        MissingExtra: if it is an ONNX file and the extra "onnx" is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no file or folder {path}.")
    if path.is_dir():
        inside = sorted(path.glob("*.xml"))
        if len(inside) == 1:
            path = inside[0]
        elif not (path / "saved_model.pb").is_file():
            raise InputError(f"{path} is no exported network: neither SavedModel nor OpenVINO.")
    reader = _from_saved_model if path.is_dir() else _READERS.get(path.suffix)
    if reader is None:
        raise InputError(
            f"{path} is no exported network; expected a folder, or a file that ends in "
            f"{', '.join(_READERS)}."
        )
    text = reader(path)
    return None if text is None else json.loads(text)


def write_to_saved_model(folder: Path, metadata: dict[str, Any]) -> None:
    """Add metadata to a SavedModel."""
    target = folder / SAVED_MODEL_FOLDER / FILE
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(metadata, indent=2), "utf-8")


def write_to_litert(path: Path, metadata: dict[str, Any]) -> None:
    """Append metadata to a LiteRT file, as an associated file."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(FILE, json.dumps(metadata))


def write_to_onnx(proto: Any, metadata: dict[str, Any]) -> None:
    """Put metadata into an `onnx.ModelProto`."""
    proto.metadata_props.add(key=KEY, value=json.dumps(metadata))


def write_to_openvino(model: Any, metadata: dict[str, Any]) -> None:
    """Put metadata into an `openvino.Model`."""
    model.set_rt_info(json.dumps(metadata), [KEY])


def _from_saved_model(folder: Path) -> str | None:
    file = folder / SAVED_MODEL_FOLDER / FILE
    return file.read_text("utf-8") if file.is_file() else None


def _from_litert(path: Path) -> str | None:
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        return archive.read(FILE).decode("utf-8") if FILE in archive.namelist() else None


def _from_onnx(path: Path) -> str | None:
    onnx = import_extra("onnx", "onnx")
    try:
        proto = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own classes
        raise InputError(f"{path} is no ONNX file that can be read: {error}") from error
    return {prop.key: prop.value for prop in proto.metadata_props}.get(KEY)


def _from_openvino(path: Path) -> str | None:
    try:
        entry = ElementTree.parse(path).find(f"rt_info/{KEY}")
    except ElementTree.ParseError as error:
        raise InputError(f"{path} is no OpenVINO file that can be read: {error}") from error
    return None if entry is None else entry.get("value")


_READERS = {".onnx": _from_onnx, ".tflite": _from_litert, ".xml": _from_openvino}
