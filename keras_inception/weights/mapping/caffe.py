"""The names of Caffe's networks, in caffemodels, in their ONNX export and in cadene's port."""

import re

from keras_inception.weights.mapping.scheme import Scheme, one_by_one
from keras_inception.weights.mapping.torch_names import Unit, scheme
from keras_inception.weights.mapping.units import Place

_BRANCHES = ("1x1", "3x3", "5x5", "double_3x3", "pool_proj")
_HEADS = {
    "loss1/conv": "aux1_conv1",
    "loss1/fc": "aux1_dense",
    "loss1/classifier": "aux1_logits",
    "loss2/conv": "aux2_conv1",
    "loss2/fc": "aux2_dense",
    "loss2/classifier": "aux2_logits",
    "loss3/classifier": "logits",
    "last_linear": "logits",
}
_ROLES = {"0": "kernel", "1": "bias", "w": "kernel", "b": "bias"}


def unit(layer: str) -> Unit | None:
    """Return the place of a layer: "inception_3a/5x5_reduce", "inception_3a_5x5_reduce"."""
    if layer in _HEADS:
        return "head", _HEADS[layer], "", ""
    if found := re.fullmatch(r"conv(\d)[/_](?:\dx\d_s2|3x3(_reduce)?)", layer):
        return "trunk", (found[1], not found[2]), "", ""
    inside = rf"(inception_\d[a-z])[/_]({'|'.join(_BRANCHES)})(_reduce|_\d|)"
    if found := re.fullmatch(inside, layer):
        return "module", found[1], _BRANCHES.index(found[2]), (found[3] != "_reduce", found[3])
    return None


def locate(name: str) -> Place | None:
    """Return where a blob stands: "conv1/7x7_s2/0" in a caffemodel, "conv1/7x7_s2_w_0" in ONNX."""
    if found := re.fullmatch(r"(.+)(?:/([01])|_([wb])_0)", name):
        place = unit(found[1])
        return place and Place(*place, _ROLES[found[2] or found[3]])
    return None


CAFFE = Scheme(
    one_by_one(locate), {r"OC2_DUMMY_\d+": "a shape in the ONNX graph"}, output_first=True
)
CADENE_BN_INCEPTION = scheme(unit)
