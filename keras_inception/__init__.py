"""Every network of the Inception papers for Keras, as published and as released."""

from keras_inception import data, evaluation, inference, layers, recipes, training, weights
from keras_inception._version import __version__
from keras_inception.class_names import decode_predictions
from keras_inception.errors import InputError, MissingExtra
from keras_inception.inference import export, fold_batch_norm, predictor
from keras_inception.inspection import endpoints, feature_extractor
from keras_inception.models import (
    BNInception,
    GoogLeNet,
    InceptionResNetV1,
    InceptionResNetV2,
    InceptionV1,
    InceptionV2,
    InceptionV3,
    InceptionV4,
    build,
    list_models,
    smallest_input,
)
from keras_inception.preprocessing import preprocess_input
from keras_inception.weights.manifest import list_weights, preprocessing

__all__ = [
    "BNInception",
    "GoogLeNet",
    "InceptionResNetV1",
    "InceptionResNetV2",
    "InceptionV1",
    "InceptionV2",
    "InceptionV3",
    "InceptionV4",
    "InputError",
    "MissingExtra",
    "__version__",
    "build",
    "data",
    "decode_predictions",
    "endpoints",
    "evaluation",
    "export",
    "feature_extractor",
    "fold_batch_norm",
    "inference",
    "layers",
    "list_models",
    "list_weights",
    "predictor",
    "preprocess_input",
    "preprocessing",
    "recipes",
    "smallest_input",
    "training",
    "weights",
]
