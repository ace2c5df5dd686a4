"""Evaluation as in the papers: crops, ensembles, every image counted once."""

from keras_inception.evaluation.crops import crops
from keras_inception.evaluation.report import ClassResult, Report
from keras_inception.evaluation.run import evaluate, predict

__all__ = ["ClassResult", "Report", "crops", "evaluate", "predict"]
