"""Fast inference: folding of batch normalisation, exports, runtimes, and predicting with them."""

from keras_inception.inference.export import (
    Exported,
    ExportError,
    export,
    read_metadata,
)
from keras_inception.inference.folding import fold_batch_norm, refresh_folded
from keras_inception.inference.predictor import Prediction, Predictor, predictor
from keras_inception.inference.runtimes import Runtime, open_runtime
from keras_inception.inference.tensorflow_function import compiled

__all__ = [
    "ExportError",
    "Exported",
    "Prediction",
    "Predictor",
    "Runtime",
    "compiled",
    "export",
    "fold_batch_norm",
    "open_runtime",
    "predictor",
    "read_metadata",
    "refresh_folded",
]
