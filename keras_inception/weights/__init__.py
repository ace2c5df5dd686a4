"""Public checkpoints: which exist, how they are fetched, read, and put into a model."""

from keras_inception.weights.assign import Assignment, assign
from keras_inception.weights.cache import fetch_checkpoint, verify_cache
from keras_inception.weights.download import DownloadError
from keras_inception.weights.freeze import freeze
from keras_inception.weights.loading import convert, origin
from keras_inception.weights.manifest import (
    Checkpoint,
    CheckpointList,
    architectures,
    default_weights,
    info,
    list_weights,
    preprocessing,
)
from keras_inception.weights.mapping import PUBLISHERS
from keras_inception.weights.readers import read_checkpoint

__all__ = [
    "PUBLISHERS",
    "Assignment",
    "Checkpoint",
    "CheckpointList",
    "DownloadError",
    "architectures",
    "assign",
    "convert",
    "default_weights",
    "fetch_checkpoint",
    "freeze",
    "info",
    "list_weights",
    "origin",
    "preprocessing",
    "read_checkpoint",
    "verify_cache",
]
