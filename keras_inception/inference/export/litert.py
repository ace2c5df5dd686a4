"""LiteRT (TensorFlow Lite): a file for phones and small devices."""

from pathlib import Path
from typing import Any

from keras_inception.inference.export import metadata
from keras_inception.inference.export.calibration import Calibration
from keras_inception.inference.export.network import Network


def write(
    network: Network,
    path: Path,
    facts: dict[str, Any],
    precision: str,
    calibration: Calibration | None,
) -> None:
    """Write a network as a LiteRT file of built-in operations only.

    Args:
        network: to be written.
        path: of the file.
        facts: the metadata.
        precision: "float32", "float16" (of the weights) or "int8".
        calibration: images for "int8".
    """
    import tensorflow as tf

    function = network.whole_function().get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], network.holder)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if calibration is not None:
        converter.representative_dataset = lambda: ([x] for x, _ in calibration.inputs(network))
    path.write_bytes(converter.convert())
    metadata.write_to_litert(path, facts)
