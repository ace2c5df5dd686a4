"""ONNX: a file for ONNX Runtime and many other programs."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception.errors import import_extra
from keras_inception.inference.export import metadata
from keras_inception.inference.export.calibration import Calibration
from keras_inception.inference.export.network import IMAGES, PREPARED, Network

OPSET = 18
_PREPROCESSING = "preprocessing/"
_DENSE = ("Gemm", "MatMul")
_IN_CLASSIFIERS = (*_DENSE, "Add", "Cast", "Identity", "Relu", "Sigmoid", "Softmax")


def write(
    network: Network,
    path: Path,
    facts: dict[str, Any],
    precision: str,
    calibration: Calibration | None,
) -> None:
    """Write a network as an ONNX file.

    Args:
        network: to be written.
        path: of the file.
        facts: the metadata.
        precision: "float32", "float16" or "int8".
        calibration: images for "int8".

    Raises:
        MissingExtra: if the extra "onnx" is not installed.
    """
    onnx = import_extra("onnx", "onnx")
    proto = _converted(network.network_function())
    if precision == "float16":
        proto = _halved(proto)
    if calibration is not None:
        proto = _quantized(proto, calibration.prepared(network))
    if network.inside != "none":
        proto = _joined(_converted(network.preprocessing_function()), proto)
    _name_axes(proto.graph.input[0], ("batch", "height", "width"))
    _name_axes(proto.graph.output[0], ("batch",))
    metadata.write_to_onnx(proto, facts)
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def _converted(function: Any) -> Any:
    """Return a `tf.function` as an `onnx.ModelProto`."""
    tf2onnx = import_extra("tf2onnx", "onnx")
    return tf2onnx.convert.from_function(function, function.input_signature, opset=OPSET)[0]


def _joined(first: Any, second: Any) -> Any:
    """Return the model that does `first`, then `second`, to its input."""
    compose = import_extra("onnx.compose", "onnx")
    first = compose.add_prefix(first, _PREPROCESSING, rename_inputs=False)
    first.ir_version = second.ir_version = max(first.ir_version, second.ir_version)
    second = compose.add_prefix(second, "network/", rename_outputs=False)
    output = second.graph.input[0].name
    return compose.merge_models(first, second, [(f"{_PREPROCESSING}{PREPARED}", output)])


def _name_axes(value: Any, names: tuple[str, ...]) -> None:
    """Give the free axes of an input or output names that say what they are."""
    for axis, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
        if not axis.dim_value:
            axis.dim_param = name


def _halved(proto: Any) -> Any:
    """Return the model in float16, its input and output apart."""
    tools = import_extra("onnxruntime.transformers.onnx_model", "onnx")
    model = tools.OnnxModel(proto)
    model.convert_float_to_float16(keep_io_types=True)
    model.topological_sort()
    return model.model


def _quantized(proto: Any, batches: list[np.ndarray]) -> Any:
    """Return the model with weights and values in 8 bits, by ONNX Runtime's own quantiser.

    Both are unsigned: with signed ones, processors without VNNI add pairs of products in 16 bits,
    which overflow. A classifier at the end stays in float32: it takes no time, and of scores in
    8 bits the highest are often equal.
    """
    onnx = import_extra("onnx", "onnx")
    quantization = import_extra("onnxruntime.quantization", "onnx")
    shapes = import_extra("onnxruntime.quantization.shape_inference", "onnx")

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {IMAGES: batch}

    with tempfile.TemporaryDirectory() as folder:
        given, ready, quantized = (f"{folder}/{name}.onnx" for name in ("given", "ready", "int8"))
        onnx.save(proto, given)
        shapes.quant_pre_process(given, ready, skip_symbolic_shape=True)
        unsigned = quantization.QuantType.QUInt8
        quantization.quantize_static(
            ready,
            quantized,
            Reader(),
            per_channel=True,
            activation_type=unsigned,
            weight_type=unsigned,
            nodes_to_exclude=_classifier(onnx.load(ready).graph),
        )
        return onnx.load(quantized)


def _classifier(graph: Any) -> list[str]:
    """Return the names of the nodes from a last dense layer to the output; none without one."""
    producers = {output: node for node in graph.node for output in node.output}
    node, passed = producers.get(graph.output[0].name), []
    while node is not None and node.op_type in _IN_CLASSIFIERS:
        passed.append(node.name)
        if node.op_type in _DENSE:
            return passed
        node = producers.get(node.input[0])
    return []
