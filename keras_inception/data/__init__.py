"""Datasets, and the pipelines that bring their images to a network."""

from keras_inception.data.batches import TrainingBatches, evaluation_batches, training_batches
from keras_inception.data.sources import load
from keras_inception.data.splits import Dataset, Split
from keras_inception.images import decode_image

__all__ = [
    "Dataset",
    "Split",
    "TrainingBatches",
    "decode_image",
    "evaluation_batches",
    "load",
    "training_batches",
]
