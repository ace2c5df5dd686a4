"""Who is compared: every way to run a network, each prepared in a process of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

OURS = "keras_inception"
STOCK = "keras.applications"

Run = Callable[[np.ndarray], object]


@dataclass(frozen=True)
class Task:
    """What every side computes.

    Attributes:
        network: name of the builder.
        size: height and width of the images in pixels.
        batch_size: images of a call.
        width: factor on every filter count; only this package's networks have it.
    """

    network: str
    size: int
    batch_size: int
    width: float = 1.0


@dataclass(frozen=True)
class Side:
    """A way to run a network.

    Attributes:
        library: whose network it is.
        runtime: what computes it.
        dtype: in which.
        prepare: builds the network with random weights and returns what runs a batch, float32
            NumPy (batch, size, size, 3), and returns when the outputs are there.
        needs: packages that must be installed.
        networks: that the library has; None: all.
    """

    library: str
    runtime: str
    dtype: str
    prepare: Callable[[Task, Side], Run]
    needs: tuple[str, ...] = ()
    networks: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """Of the side, unique."""
        return f"{self.library}, {self.runtime}, {self.dtype}"

    def missing(self) -> tuple[str, ...]:
        """Return the packages that it needs and that are not installed."""
        return tuple(p for p in self.needs if importlib.util.find_spec(p) is None)

    def runs(self, task: Task) -> bool:
        """Tell whether the library has the network."""
        if self.library == OURS:
            return True
        return task.width == 1 and task.network in (self.networks or ())


def ours(task: Task, side: Side) -> Run:
    """This package's predictor, without its reading of images."""
    from keras_inception import models
    from keras_inception.inference.predictor import predictor

    model = models.build(
        task.network, weights=None, input_shape=(task.size, task.size, 3), width=task.width
    )
    return predictor(model, side.runtime, side.dtype, task.batch_size).run


def keras_applications(task: Task, side: Side) -> Run:
    """The stock network, as its users run it fastest: `predict_on_batch`, compiled."""
    import keras

    keras.config.set_dtype_policy(side.dtype)
    build = getattr(keras.applications, task.network)
    model = build(weights=None, input_shape=(task.size, task.size, 3))
    return model.predict_on_batch


def _torch_network(task: Task, library: str):
    import torch

    torch.manual_seed(0)
    if library == "timm":
        import timm

        return timm.create_model(_TIMM[task.network], pretrained=False).eval()
    import torchvision

    build = getattr(torchvision.models, _TORCHVISION[task.network])
    network = build(weights=None, init_weights=False, aux_logits=True, transform_input=False)
    return network.eval()


def torch_network(task: Task, side: Side) -> Run:
    """A PyTorch network with its channels last, eager or compiled with frozen weights."""
    import torch

    dtype = getattr(torch, side.dtype)
    network = _torch_network(task, side.library).to(dtype=dtype, memory_format=torch.channels_last)
    if side.runtime == "torch.compile":
        torch._inductor.config.freezing = True
        network = torch.compile(network)

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode(side.runtime == "torch"), torch.no_grad():
            return network(torch.from_numpy(images).permute(0, 3, 1, 2).to(dtype)).float().numpy()

    return run


def torch_in_openvino(task: Task, side: Side) -> Run:
    """A PyTorch network converted by OpenVINO, hint LATENCY."""
    import openvino
    import torch

    from keras_inception.inference.runtimes.openvino import OpenVinoRuntime

    shape = (task.batch_size, 3, task.size, task.size)
    network = _torch_network(task, side.library)
    converted = openvino.convert_model(network, example_input=torch.zeros(shape), input=shape)
    runtime = OpenVinoRuntime(converted, dtype=side.dtype)
    return lambda images: runtime.run(images.transpose(0, 3, 1, 2))


def torch_in_onnxruntime(task: Task, side: Side) -> Run:
    """A PyTorch network exported to ONNX."""
    import tempfile
    from pathlib import Path

    import torch

    from keras_inception.inference.runtimes.onnx import OnnxRuntime

    network = _torch_network(task, side.library)
    example = torch.zeros((task.batch_size, 3, task.size, task.size))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        torch.onnx.export(network, (example,), str(path), dynamo=False)
        runtime = OnnxRuntime(path)
    return lambda images: runtime.run(images.transpose(0, 3, 1, 2))


_TORCHVISION = {"GoogLeNet": "googlenet", "InceptionV3": "inception_v3"}
_TIMM = {
    "InceptionV3": "inception_v3",
    "InceptionV4": "inception_v4",
    "InceptionResNetV2": "inception_resnet_v2",
}
_STOCK = ("InceptionV3", "InceptionResNetV2")


def _sides() -> tuple[Side, ...]:
    sides = [
        Side(OURS, "openvino", "bfloat16", ours, ("openvino",)),
        Side(OURS, "openvino", "float32", ours, ("openvino",)),
        Side(OURS, "tensorflow", "bfloat16", ours),
        Side(OURS, "tensorflow", "float32", ours),
        Side(OURS, "onnxruntime", "float32", ours, ("onnxruntime", "tf2onnx")),
        Side(OURS, "litert", "float32", ours),
        Side(STOCK, "tensorflow", "float32", keras_applications, (), _STOCK),
        Side(STOCK, "tensorflow", "mixed_bfloat16", keras_applications, (), _STOCK),
    ]
    for library, networks in (("torchvision", tuple(_TORCHVISION)), ("timm", tuple(_TIMM))):
        for runtime in ("torch", "torch.compile"):
            for dtype in ("float32", "bfloat16"):
                needs = (library, "torch")
                sides.append(Side(library, runtime, dtype, torch_network, needs, networks))
        needs = (library, "torch", "openvino")
        sides.append(Side(library, "openvino", "bfloat16", torch_in_openvino, needs, networks))
        needs = (library, "torch", "onnx", "onnxruntime")
        sides.append(Side(library, "onnxruntime", "float32", torch_in_onnxruntime, needs, networks))
    return tuple(sides)


SIDES = _sides()
