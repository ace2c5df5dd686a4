"""Training as the papers did it: on one device, several, or several machines."""

from keras_inception.training.averaging import AveragedWeights, WeightAveraging
from keras_inception.training.cluster import Cluster
from keras_inception.training.determinism import set_determinism
from keras_inception.training.failures import (
    DeadNetworkError,
    Interrupted,
    NonFiniteError,
    TrainingError,
    WorkerLostError,
)
from keras_inception.training.fit import TrainingRun, fit
from keras_inception.training.losses import SmoothedCrossentropy, label_every_head, main_model
from keras_inception.training.optimizers import Momentum, RMSProp
from keras_inception.training.records import draw_curves
from keras_inception.training.strategies import make_strategy

__all__ = [
    "AveragedWeights",
    "Cluster",
    "DeadNetworkError",
    "Interrupted",
    "Momentum",
    "NonFiniteError",
    "RMSProp",
    "SmoothedCrossentropy",
    "TrainingError",
    "TrainingRun",
    "WeightAveraging",
    "WorkerLostError",
    "draw_curves",
    "fit",
    "label_every_head",
    "main_model",
    "make_strategy",
    "set_determinism",
]
