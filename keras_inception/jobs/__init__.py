"""Whole jobs, as the command line runs them: train; evaluate and predict with what was trained."""

from keras_inception.inference.trained import Trained, load_trained
from keras_inception.jobs.comparison import plot
from keras_inception.jobs.prediction import Answer, image_files, predict
from keras_inception.jobs.training import TrainingResult, train
from keras_inception.training_job import DIGITS_RECIPE, TrainingJob

__all__ = [
    "DIGITS_RECIPE",
    "Answer",
    "Trained",
    "TrainingJob",
    "TrainingResult",
    "image_files",
    "load_trained",
    "plot",
    "predict",
    "train",
]
