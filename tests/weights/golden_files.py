"""The golden files: outputs of the original networks, filled with numbers by a rule."""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

import keras_inception as ki

FOLDER = Path(__file__).parent / "golden"

_SLIM_KINDS = {"biases": "bias", "moving_mean": "mean", "moving_variance": "variance"}
_TORCH_KINDS = {"running_mean": "mean", "running_var": "variance"}


@dataclass(frozen=True)
class Golden:
    """A golden file, and the network of ours that must agree with it."""

    file: str
    publisher: str
    model: str
    architecture: str
    aux_heads: bool = False

    @property
    def content(self) -> dict:
        return json.loads((FOLDER / f"{self.file}.json").read_text())

    def tensors(self) -> dict[str, np.ndarray]:
        kind = slim_kind if self.file.startswith("slim") else torch_kind
        variables = self.content["variables"]
        return {name: fill(name, shape, kind(name, shape)) for name, shape in variables}

    def build(self, **arguments) -> keras.Model:
        content = self.content
        settings = {
            "weights": None,
            "architecture": self.architecture,
            "input_shape": (content["input_size"], content["input_size"], 3),
        }
        if arguments.get("include_top", True):
            settings |= {"classes": len(content["logits"]), "classifier_activation": None}
            settings["aux_heads"] = self.aux_heads
        return ki.build(self.model, **settings | arguments)

    def image(self) -> np.ndarray:
        size = self.content["input_size"]
        noise = np.random.default_rng(0).uniform(-1, 1, (1, size, size, 3))
        return noise.astype("float32")


GOLDEN = (
    Golden("slim_inception_v1", "slim", "GoogLeNet", "slim"),
    Golden("slim_inception_v2", "slim", "BNInception", "slim"),
    Golden("slim_inception_v3", "slim", "InceptionV3", "paper", aux_heads=True),
    Golden("slim_inception_v4", "slim", "InceptionV4", "paper", aux_heads=True),
    Golden("slim_inception_resnet_v2", "slim", "InceptionResNetV2", "slim", aux_heads=True),
    Golden("torchvision_googlenet", "torchvision", "GoogLeNet", "torchvision"),
    Golden("torchvision_inception_v3", "torchvision", "InceptionV3", "torchvision"),
    Golden("timm_inception_v3", "timm", "InceptionV3", "torchvision", aux_heads=True),
    Golden("timm_inception_v4", "timm", "InceptionV4", "paper"),
    Golden("timm_inception_resnet_v2", "timm", "InceptionResNetV2", "slim"),
    Golden("facenet_inception_resnet_v1", "facenet", "InceptionResNetV1", "facenet"),
    Golden("pretrainedmodels_bninception", "cadene", "BNInception", "caffe"),
    Golden("osmr_bn_inception", "osmr", "BNInception", "caffe"),
    Golden("osmr_inception_v3", "osmr", "InceptionV3", "torchvision"),
    Golden("osmr_inception_v4", "osmr", "InceptionV4", "paper"),
    Golden("osmr_inception_resnet_v2", "osmr", "InceptionResNetV2", "slim"),
    Golden("osmr_inception_resnet_v1", "osmr", "InceptionResNetV1", "facenet"),
    Golden("pytorch_fid_inception_v3", "pytorch_fid", "InceptionV3", "fid"),
)


def golden(file: str) -> Golden:
    return next(case for case in GOLDEN if case.file == file)


def fill(name: str, shape: list[int], kind: str) -> np.ndarray:
    """Return the numbers of a variable: they depend on its name alone."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if kind.startswith("kernel:"):
        values = rng.standard_normal(shape) * np.sqrt(2.0 / int(kind.removeprefix("kernel:")))
    elif kind in ("gamma", "variance"):
        values = 0.5 + rng.random(shape)
    else:
        values = 0.1 * rng.standard_normal(shape)
    return values.astype("float32")


def slim_kind(name: str, shape: list[int]) -> str:
    """Return the kind of a slim variable; of a kernel (height, width, in, out) with its fan-in."""
    last = name.rpartition("/")[2]
    if last == "depthwise_weights":
        return f"kernel:{shape[0] * shape[1]}"
    if last in ("weights", "pointwise_weights"):
        return f"kernel:{np.prod(shape[:-1])}"
    return _SLIM_KINDS.get(last, last)


def torch_kind(name: str, shape: list[int]) -> str:
    """Return the kind of a torch variable; of a kernel (out, in, height, width) with its fan-in."""
    last = name.rpartition(".")[2]
    if last == "weight":
        return f"kernel:{np.prod(shape[1:])}" if len(shape) > 1 else "gamma"
    return _TORCH_KINDS.get(last, last)
