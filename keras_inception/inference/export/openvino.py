"""OpenVINO: a folder with an `.xml` and a `.bin` file, for Intel's processors."""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_inception.errors import import_extra
from keras_inception.inference.export import metadata
from keras_inception.inference.export.calibration import Calibration
from keras_inception.inference.export.network import Network
from keras_inception.inference.runtimes.saved_model import SIGNATURE, save

FILE = "model.xml"
OTHERS = ("model.bin",)


def write(
    network: Network,
    path: Path,
    facts: dict[str, Any],
    precision: str,
    calibration: Calibration | None,
) -> None:
    """Write a network as `model.xml` and `model.bin`.

    Args:
        network: to be written.
        path: of the folder; must not exist.
        facts: the metadata.
        precision: "float32", "float16" (of the weights) or "int8".
        calibration: images for "int8".

    Raises:
        MissingExtra: if the extra "openvino" is not installed.
    """
    openvino = import_extra("openvino", "openvino")
    with tempfile.TemporaryDirectory() as folder:
        model = _converted(network.network_function(), network.holder, f"{folder}/network")
        if calibration is not None:
            model = _quantized(model, calibration.prepared(network))
        if network.inside != "none":
            before = network.preprocessing_function()
            model = _joined(_converted(before, network.holder, f"{folder}/preprocessing"), model)
        metadata.write_to_openvino(model, facts)
        path.mkdir()
        openvino.save_model(model, path / FILE, compress_to_fp16=precision == "float16")


def _converted(function: Any, holder: Any, folder: str) -> Any:
    """Return a `tf.function` as an `openvino.Model`, which may read from `folder` from then on.

    By way of a SavedModel, which OpenVINO reads: `openvino.convert_model` takes functions too, but
    is slower and sends usage data.
    """
    save(holder, folder, {SIGNATURE: function})
    return import_extra("openvino", "openvino").Core().read_model(folder)


def _joined(first: Any, second: Any) -> Any:
    """Return the model that does `first`, then `second`, to its input."""
    openvino = import_extra("openvino", "openvino")
    source = first.get_results()[0].input_value(0)
    for target in second.get_parameters()[0].output(0).get_target_inputs():
        target.replace_source_output(source)
    return openvino.Model(second.get_results(), first.get_parameters(), second.get_name())


def _quantized(model: Any, batches: list[np.ndarray]) -> Any:
    """Return the model with weights and values in 8 bits, by NNCF, OpenVINO's quantiser.

    Without its fast bias correction, which takes most of the time and moved the outputs away from
    the model's on the digits (tests/inference/test_export_precision.py). The weights use 7 of the
    bits: processors without VNNI add pairs of products in 16 bits, which overflow with more. The
    range of a value is all that was seen of it: its default, the mean over the batches, cut off so
    much that the outputs of a narrow Inception-v4 were twice as far away
    (benchmarks/export_accuracy.py).
    """
    nncf = import_extra("nncf", "openvino")
    ranges = import_extra("nncf.quantization.range_estimator", "openvino")
    parameters = nncf.AdvancedQuantizationParameters(
        disable_bias_correction=True,
        overflow_fix=nncf.OverflowFix.ENABLE,
        activations_range_estimator_params=ranges.RangeEstimatorParametersSet.MINMAX,
    )
    with _silence("nncf"):
        return nncf.quantize(
            model,
            nncf.Dataset(batches),
            subset_size=len(batches),
            advanced_parameters=parameters,
        )


@contextlib.contextmanager
def _silence(logger: str) -> Iterator[None]:
    """Keep a package from printing its progress and logging less than errors."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        log.setLevel(level)
