"""The names of the torch libraries: one rule for each way of writing a network.

A rule takes the name of a unit, which is a tensor's without "conv" or "bn" and the variable, and
returns the unit's place: family, block, branch, order.
"""

import math
import re
from collections.abc import Callable, Collection, Iterable

from keras_inception.weights.mapping.scheme import Scheme, one_by_one
from keras_inception.weights.mapping.units import UP, Place

Unit = tuple[str, object, object, object]
Rule = Callable[[str], Unit | None]

_NORMALISATION = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
_CONVOLUTION = {"weight": "kernel", "bias": "bias"}
_V3_BRANCHES = ("1x1", "3x3", "5x5", "7x7", "3x3dbl", "7x7dbl", "7x7x3", "_pool")
_V3_AUX = {"conv0": "aux_conv1", "conv1": "aux_conv2", "fc": "aux_logits"}
_GOOGLENET_AUX = {"conv": "conv1", "fc1": "dense", "fc2": "logits"}


def inception_v3(unit: str) -> Unit | None:
    """The InceptionV3 of torchvision, which timm and the FID network took over."""
    match unit.split("."):
        case ["fc"]:
            return _head("logits")
        case ["AuxLogits", part] if part in _V3_AUX:
            return _head(_V3_AUX[part])
        case [block] if block.startswith("Conv2d_"):
            return "trunk", block, "", ""
        case [block, branch] if block.startswith("Mixed_"):
            if found := re.fullmatch(r"branch(_pool|\dx\d(?:dbl|x3)?)(?:_(\d[ab]?))?", branch):
                return "module", block, _V3_BRANCHES.index(found[1]), found[2] or ""
    return None


def googlenet(unit: str) -> Unit | None:
    """The GoogLeNet of torchvision."""
    match unit.split("."):
        case ["fc"]:
            return _head("logits")
        case [("aux1" | "aux2") as aux, part] if part in _GOOGLENET_AUX:
            return _head(f"{aux}_{_GOOGLENET_AUX[part]}")
        case [block] if re.fullmatch(r"conv\d", block):
            return "trunk", block, "", ""
        case [block, branch, *order] if block.startswith("inception"):
            return "module", block, branch, tuple(order)
    return None


def inception_v4(unit: str) -> Unit | None:
    """The InceptionV4 of cadene and timm, whose blocks are numbered."""
    match unit.split("."):
        case ["last_linear"]:
            return _head("logits")
        case ["features", number] if number.isdecimal():
            return "trunk", int(number), "", ""
        case ["features", number, branch, *order] if number.isdecimal():
            branch, _, last = branch.partition("_")  # "branch2_3a" beside "branch1.0"
            return "module", int(number), branch, (*order, last)
    return None


def inception_resnet(*repeats: str, **heads: str) -> Rule:
    """The Inception-ResNets of cadene, timm and facenet-pytorch.

    Args:
        *repeats: how the lists of blocks A, B and C are called.
        **heads: unit in the file to our unit.

    Returns:
        The rule.
    """

    def rule(unit: str) -> Unit | None:
        match unit.split("."):
            case [name] if name in heads:
                return _head(heads[name])
            case [block] if block.startswith("conv2d_"):
                return "trunk", block, "", ""
            case [block, branch, *order] if block.startswith("mixed_"):
                return "module", block, branch, tuple(order)
            case [block, number, branch, *order] if block in repeats and number.isdecimal():
                return _residual(1 + repeats.index(block), int(number), branch, order)
            case ["block8", branch, *order]:
                return _residual(3, math.inf, branch, order)
        return None

    return rule


def osmr(names: Collection[str]) -> dict[str, Place | None]:
    """The networks of pytorchcv.

    `features.stage2.unit3` is a residual block if it has a convolution of its own, else a module.
    """
    unit = r"features\.stage([1-3])\.unit(\d+)"
    residual = {found[0] for name in names if (found := re.match(rf"{unit}(?=\.conv\.)", name))}

    def rule(layer: str) -> Unit | None:
        match layer.split("."):
            case ["output", "fc1"]:
                return _head("bottleneck")
            case ["output"] | ["output", "fc" | "fc2"]:
                return _head("logits")
            case ["features", "final_conv"]:
                return "trunk", ("last",), "", ""
            case ["features", "init_block", block, "branches", branch, *order]:
                return "module", (0, block), branch, _osmr_order(order)
            case ["features", "init_block", *block]:
                return "trunk", tuple(block), "", ""
        if (found := re.match(unit, layer)) is None:
            return None
        stage, number = int(found[1]), int(found[2])
        match layer[found.end() :].split("."):
            case [""] if found[0] in residual:
                return _residual(stage, number, "conv2d", [])
            case ["", "branches", branch, *order] if found[0] in residual:
                return _residual(stage, number, branch, _osmr_order(order))
            case ["", "branches", branch, *order]:
                return "module", (stage, number), branch, _osmr_order(order)
        return None

    # The normalisation behind the first of two dense layers is named beside it.
    return {name: _place(rule, name.replace("output.bn.", "output.fc1.bn.")) for name in names}


def _osmr_order(parts: list[str]) -> tuple:
    """A branch that splits runs its list of convolutions first, then conv1x3 and conv3x1."""
    return (parts in (["conv1x3"], ["conv3x1"]), *parts)


def _residual(stage: int, number: float, branch: str, order: Iterable) -> Unit:
    """The linear 1x1 convolution is "conv2d" beside "branch0", "branch1", ..."""
    family = ("block35", "block17", "block8")[stage - 1]
    return family, number, UP if branch == "conv2d" else branch, tuple(order)


def _head(unit: str) -> Unit:
    return "head", unit, "", ""


def _place(rule: Rule, name: str) -> Place | None:
    """Split a tensor's name into its unit and its role, and apply a rule to the unit.

    "conv1.conv.weight" and "conv1.bn.weight" are the kernel and the gamma of unit conv1; "fc.bias"
    is the bias of unit fc.
    """
    layer, _, variable = name.rpartition(".")
    roles = _NORMALISATION if layer.endswith("bn") else _CONVOLUTION
    unit = rule(re.sub(r"(\.conv|[._]bn)$", "", layer))
    return Place(*unit, roles[variable]) if unit and variable in roles else None


def scheme(rule: Rule) -> Scheme:
    """Return the scheme of a torch library with this rule for units."""
    return _scheme(one_by_one(lambda name: _place(rule, name)))


def _scheme(locate: Callable[[Collection[str]], dict[str, Place | None]]) -> Scheme:
    dropped = {r".+\.num_batches_tracked": "a counter of the training"}
    return Scheme(locate, dropped, output_first=True, has_gamma=True)


INCEPTION_V3 = scheme(inception_v3)
GOOGLENET = scheme(googlenet)
INCEPTION_V4 = scheme(inception_v4)
INCEPTION_RESNET_V2 = scheme(
    inception_resnet("repeat", "repeat_1", "repeat_2", classif="logits", last_linear="logits")
)
FACENET = scheme(
    inception_resnet(
        *("repeat_1", "repeat_2", "repeat_3"),
        last_linear="bottleneck",
        last="bottleneck",
        logits="logits",
    )
)
OSMR = _scheme(osmr)
