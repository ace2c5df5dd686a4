"""Who is compared: every way to run a network, each prepared in a process of its own."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

OURS = "keras_inception"
STOCK = "keras.applications"

_CALIBRATION_IMAGES = 4  # how many says nothing about the speed

Run = Callable[[np.ndarray], object]


@dataclass(frozen=True)
class Task:
    """What every side computes.

    Attributes:
        network: name of the builder.
        architecture: the form of the network. Some forms cost half as much again as others, so
            that only libraries with the same form are compared.
        size: height and width of the images in pixels.
        batch_size: images of a call.
        width: factor on every filter count; only this package's networks have it.
    """

    network: str
    architecture: str
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
        prepare: builds the network, its weights random, and returns what runs a batch, float32
            NumPy (batch, size, size, 3), and returns when the outputs are there.
        needs: packages that must be installed.
        networks: that the library has, and each one's form; None: all, in all forms.
    """

    library: str
    runtime: str
    dtype: str
    prepare: Callable[[Task, Side], Run]
    needs: tuple[str, ...] = ()
    networks: tuple[tuple[str, str], ...] | None = None

    @property
    def name(self) -> str:
        """Of the side, unique."""
        return f"{self.library}, {self.runtime}, {self.dtype}"

    def missing(self) -> tuple[str, ...]:
        """Return the packages that it needs and that are not installed."""
        return tuple(p for p in self.needs if importlib.util.find_spec(p) is None)

    def runs(self, task: Task) -> bool:
        """Tell whether the library has the network in this form."""
        if self.networks is None:
            return True
        return task.width == 1 and (task.network, task.architecture) in self.networks


def forms(network: str, sides: Iterable[Side]) -> list[str]:
    """Return the forms in which a network is measured: the paper's, and those of the libraries."""
    theirs = [form for side in sides for name, form in side.networks or () if name == network]
    return list(dict.fromkeys(["paper", *theirs]))


def as_if_trained(model: Any) -> Any:
    """Give a Keras network shifts other than 0, as training does.

    In a function with constant weights TensorFlow leaves out additions of 0, then misses the fusion
    of convolution and ReLU, and appears slower than it is with any trained network.
    """
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if variable.name in ("beta", "bias", "moving_mean"):
            variable.assign(rng.normal(0, 0.1, variable.shape))
    return model


def build(task: Task) -> Any:
    """Return this package's network."""
    from keras_inception import models

    return models.build(
        task.network,
        weights=None,
        architecture=task.architecture,
        input_shape=(task.size, task.size, 3),
        width=task.width,
    )


def ours(task: Task, side: Side) -> Run:
    """This package's predictor, without its reading of images."""
    import keras

    from keras_inception.inference.predictor import predictor

    keras.utils.set_random_seed(0)
    model = as_if_trained(build(task))
    return predictor(model, side.runtime, side.dtype, task.batch_size).run


def ours_exported(task: Task, side: Side) -> Run:
    """This package's network in 8 bits, exported and run by the predictor."""
    import tempfile
    from pathlib import Path

    import keras

    from keras_inception.inference.export import export
    from keras_inception.inference.predictor import predictor

    keras.utils.set_random_seed(0)
    shape = (_CALIBRATION_IMAGES, task.size, task.size, 3)
    images = np.random.default_rng(1).uniform(-1, 1, shape).astype("float32")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network"
        export(
            as_if_trained(build(task)),
            path,
            format=side.runtime,
            precision=side.dtype,
            calibration=images,
            tolerance=math.inf,  # the outputs of random weights say nothing
        )
        return predictor(path, batch_size=task.batch_size).run


def keras_applications(task: Task, side: Side) -> Run:
    """The stock network, as its users run it fastest: `predict_on_batch`, compiled."""
    import keras

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(side.dtype)
    stock = getattr(keras.applications, task.network)
    model = as_if_trained(stock(weights=None, input_shape=(task.size, task.size, 3)))
    return model.predict_on_batch


def _torch_network(task: Task, library: str) -> Any:
    """Return a PyTorch network with the statistics that `as_if_trained` gives."""
    import torch

    torch.manual_seed(0)
    if library == "timm":
        import timm

        network = timm.create_model(_NAMES[task.network], pretrained=False)
    else:
        import torchvision

        theirs = getattr(torchvision.models, _NAMES[task.network])
        network = theirs(weights=None, init_weights=False, aux_logits=True, transform_input=False)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.bias, 0, 0.1)
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
    return network.eval()


def torch_network(task: Task, side: Side) -> Run:
    """A PyTorch network with its channels last, eager or compiled with frozen weights."""
    import torch

    dtype = getattr(torch, side.dtype)
    network = _torch_network(task, side.library).to(dtype=dtype, memory_format=torch.channels_last)
    if side.runtime == "torch.compile":
        torch._inductor.config.freezing = True
        torch._inductor.config.compile_threads = 1  # others would be processes that stay
        network = torch.compile(network)

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode(side.runtime == "torch"), torch.no_grad():
            return network(torch.from_numpy(images).permute(0, 3, 1, 2).to(dtype)).float().numpy()

    return run


def torch_in_openvino(task: Task, side: Side) -> Run:
    """A PyTorch network converted by OpenVINO."""
    import openvino
    import torch

    network = _torch_network(task, side.library)

    def convert(shape: tuple[int, ...]) -> Any:
        return openvino.convert_model(network, example_input=torch.zeros(shape), input=shape)

    return in_openvino(convert, task, side)


def in_openvino(convert: Callable[[tuple[int, ...]], Any], task: Task, side: Side) -> Run:
    """Run batches in OpenVINO, with the hint that the side's runtime names.

    With THROUGHPUT the parts of a batch, one a core, are computed beside each other: one call at a
    time would leave cores idle.

    Args:
        convert: gives an `openvino.Model` for inputs of a shape, channels first.
        task: what is computed.
        side: whose runtime is "openvino" or "openvino THROUGHPUT".
    """
    import openvino

    from keras_inception.inference.runtimes.openvino import OpenVinoRuntime

    hint = side.runtime.partition(" ")[2] or "LATENCY"
    parts = 1 if hint == "LATENCY" else math.gcd(task.batch_size, os.cpu_count() or 1)
    model = convert((task.batch_size // parts, 3, task.size, task.size))
    runtime = OpenVinoRuntime(model, dtype=side.dtype, hint=hint)
    queue = openvino.AsyncInferQueue(runtime.compiled, parts)

    def run(images: np.ndarray) -> np.ndarray:
        outputs = [None] * parts

        def keep(done: Any, part: int) -> None:
            outputs[part] = done.get_output_tensor(0).data.copy()

        queue.set_callback(keep)
        for part, rows in enumerate(np.split(images.transpose(0, 3, 1, 2), parts)):
            queue.start_async([np.ascontiguousarray(rows)], part)
        queue.wait_all()
        return np.concatenate(outputs)

    return run


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


FORMS = {
    STOCK: {"InceptionV3": "paper", "InceptionResNetV2": "slim"},
    "torchvision": {"GoogLeNet": "torchvision", "InceptionV3": "torchvision"},
    "timm": {"InceptionV4": "paper", "InceptionResNetV2": "slim"},
}
"""The networks that other libraries have, and in which of this package's forms.

timm's InceptionV3 is torchvision's.
"""

_NAMES = {
    "GoogLeNet": "googlenet",
    "InceptionV3": "inception_v3",
    "InceptionV4": "inception_v4",
    "InceptionResNetV2": "inception_resnet_v2",
}


def _sides() -> tuple[Side, ...]:
    stock = tuple(FORMS[STOCK].items())
    sides = [
        Side(OURS, "openvino", "bfloat16", ours, ("openvino",)),
        Side(OURS, "openvino", "float32", ours, ("openvino",)),
        Side(OURS, "openvino", "int8", ours_exported, ("openvino", "nncf")),
        Side(OURS, "tensorflow", "bfloat16", ours),
        Side(OURS, "tensorflow", "float32", ours),
        Side(OURS, "onnxruntime", "float32", ours, ("onnxruntime", "tf2onnx")),
        Side(OURS, "litert", "float32", ours),
        Side(STOCK, "tensorflow", "float32", keras_applications, (), stock),
        Side(STOCK, "tensorflow", "mixed_bfloat16", keras_applications, (), stock),
    ]
    for library in ("torchvision", "timm"):
        networks = tuple(FORMS[library].items())
        kinds = [
            ("torch", torch_network, ()),
            ("torch.compile", torch_network, ()),
            ("openvino", torch_in_openvino, ("openvino",)),
            ("openvino THROUGHPUT", torch_in_openvino, ("openvino",)),
            ("onnxruntime", torch_in_onnxruntime, ("onnx", "onnxruntime")),
        ]
        for runtime, prepare, packages in kinds:
            for dtype in ("float32", "bfloat16"):
                if (runtime, dtype) != ("onnxruntime", "bfloat16"):
                    needs = (library, "torch", *packages)
                    sides.append(Side(library, runtime, dtype, prepare, needs, networks))
    return tuple(sides)


SIDES = _sides()
