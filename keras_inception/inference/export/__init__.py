"""Networks as files that other programs run: SavedModel, LiteRT, ONNX, OpenVINO."""

from keras_inception.inference.export.checking import BOUNDS, ExportError
from keras_inception.inference.export.job import FORMATS, Exported, export
from keras_inception.inference.export.metadata import read_metadata

__all__ = ["BOUNDS", "FORMATS", "ExportError", "Exported", "export", "read_metadata"]
