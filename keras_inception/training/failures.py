"""Why a training ended before its end."""

from keras_inception.errors import TrainingError


class NonFiniteError(TrainingError):
    """The images, the loss or a weight is no longer finite; names the step and the tensor."""


class DeadNetworkError(TrainingError):
    """The last layer before the global average pool gives nothing but zeros."""


class WorkerLostError(TrainingError):
    """Another process of a multi-worker training is gone."""


class Interrupted(TrainingError):
    """The process was asked to stop (SIGINT, SIGTERM); the step was finished and saved."""

    exit_code = 130  # what shells report of a command that Ctrl+C ended
