"""The names of TF-Slim, and of facenet's checkpoints, which were made with it."""

import math
import re

from keras_inception.weights.mapping.scheme import Scheme, one_by_one
from keras_inception.weights.mapping.units import UP, Place, head

_ROLES = {
    "weights": "kernel",
    "depthwise_weights": "depthwise_kernel",
    "pointwise_weights": "pointwise_kernel",
    "biases": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "moving_mean",
    "moving_variance": "moving_variance",
}
_NETWORK = re.compile(r"^Inception(V\d|ResnetV\d)/")


def locate(name: str) -> Place | None:
    """Return where a variable of a slim checkpoint stands, None if it is none of a network.

    "InceptionV4/Mixed_5b/Branch_1/Conv2d_0b_3x3/BatchNorm/beta" is the beta of the convolution that
    sorts second in branch 1 of Mixed_5b. The names of convolutions have slips, but sort rightly.
    """
    *scopes, last = _NETWORK.sub("", name).split("/")
    role = _ROLES.get(last)
    if role is None or not scopes:
        return None
    if scopes[-1] == "BatchNorm":
        scopes.pop()
    match scopes:
        case ["Logits"] | ["Logits", _]:
            return head("logits", role)
        case ["AuxLogits", scope]:
            return head(_aux_unit(scope), role)
        case ["Bottleneck"]:
            return head("bottleneck", role)
        case [block] if block.startswith("Conv2d_"):
            return Place("trunk", block, "", "", role)
        case [block, branch, convolution] if block.startswith("Mixed_"):
            return Place("module", block, branch, convolution, role)
        case [("Repeat" | "Repeat_1" | "Repeat_2"), block, *inside]:
            family, _, number = block.partition("_")
            return _residual(family, int(number), inside, role) if number.isdecimal() else None
        case ["Block8", *inside]:
            return _residual("block8", math.inf, inside, role)
    return None


def _residual(family: str, number: float, inside: list[str], role: str) -> Place | None:
    match inside:
        case [branch, convolution]:
            return Place(family, number, branch.lower(), convolution, role)
        case [_]:
            return Place(family, number, UP, "", role)
    return None


def _aux_unit(scope: str) -> str:
    """The second convolution's name holds its kernel in some versions, the input size in others."""
    if scope.startswith("Conv2d_1"):
        return "aux_conv1"
    return "aux_conv2" if scope.startswith("Conv2d_2a") else "aux_logits"


SCHEME = Scheme(
    locate=one_by_one(locate),
    dropped={
        r"(.*/)?(global_step|local_step)": "a counter of the training",
        r"beta[12]_power": "state of the optimizer",
        r".+/(RMSProp|Momentum|Adam|Adagrad)(_\d)?": "state of the optimizer",
        r".+/ExponentialMovingAverage": "a running average of the training, beside the weights",
        r"centers": "state of the training loss",
    },
)
