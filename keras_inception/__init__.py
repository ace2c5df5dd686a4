"""Every network of the Inception papers for Keras, as published and as released."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from keras_inception import layers, recipes, training, weights
from keras_inception._version import __version__
from keras_inception.class_names import decode_predictions
from keras_inception.errors import InputError, MissingExtra
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
from keras_inception.preprocessing import Preprocessing, preprocess_input
from keras_inception.weights.manifest import list_weights, preprocessing

if TYPE_CHECKING:
    from keras_inception import data, evaluation, inference
    from keras_inception.inference import export, fold_batch_norm, predictor

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
    "Preprocessing",
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

_ON_FIRST_USE = {
    "data": "data",
    "evaluation": "evaluation",
    "inference": "inference",
    "export": "inference",
    "fold_batch_norm": "inference",
    "predictor": "inference",
}
"""Names that building and loading networks do not need, and the modules that they come with."""


def __getattr__(name: str) -> Any:
    """Import the module that a name comes with when the name is first used."""
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_ON_FIRST_USE[name]}")
    found = module if name == _ON_FIRST_USE[name] else getattr(module, name)
    return globals().setdefault(name, found)


def __dir__() -> list[str]:
    """Return the public names, those that were not used yet as well."""
    return __all__
