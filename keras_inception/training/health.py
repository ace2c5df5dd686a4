"""Signs that a training has gone wrong: values that are not finite, and dead networks."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_inception.errors import InputError
from keras_inception.training.failures import DeadNetworkError, NonFiniteError
from keras_inception.training.losses import main_model, outputs_by_head

INPUT_CHECKS = ("images", "labels", "loss")
_CLASSES_ADVICE = "Build the model with classes=len(dataset.class_names)."
_PASSES_ZEROS = (
    keras.layers.Concatenate,
    keras.layers.Dropout,
    keras.layers.Identity,
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
)
DEAD_STEPS = 10  # ours: so many steps without one non-zero feature are no accident


def features_before_pool(model: keras.Model) -> Any | None:
    """Return the symbolic features that are watched for death, None without a global pooling.

    The papers' networks "die" in the layer before the average pool of the main head: it gives
    nothing but zeros (Szegedy et al. 2016, section 3.3). Where that layer has no ReLU, as in
    facenet's last block, it is never zero exactly: then it is the last ReLU before it.
    """
    kinds = keras.layers.GlobalAveragePooling2D | keras.layers.GlobalMaxPooling2D
    pools = [layer for layer in main_model(model).layers if isinstance(layer, kinds)]
    if not pools:
        return None
    features = pools[-1].input
    while not _is_rectified(features):
        inputs = _inputs(features)
        if not inputs:
            return pools[-1].input  # no ReLU at all
        features = inputs[0]  # a residual block's trunk, not what it adds
    return features


def _inputs(tensor: Any) -> list[Any]:
    """Return the symbolic tensors that an operation made this one of."""
    operation, node, _ = tensor._keras_history
    return operation._inbound_nodes[node].input_tensors


def _is_rectified(tensor: Any) -> bool:
    """Whether a symbolic tensor is the output of ReLUs, as it is or joined and pooled."""
    operation = tensor._keras_history.operation
    if isinstance(operation, _PASSES_ZEROS):
        return all(map(_is_rectified, _inputs(tensor)))
    activations = (keras.activations.relu, keras.activations.relu6)
    return isinstance(operation, keras.layers.ReLU) or (
        getattr(operation, "activation", None) in activations
    )


def with_features(model: keras.Model) -> keras.Model:
    """Return the model with two outputs: "heads" by name, "features" before the last pool."""
    features = features_before_pool(model)
    heads = outputs_by_head(model)
    outputs = {"heads": heads} | ({} if features is None else {"features": features})
    return keras.Model(model.inputs[0], outputs, name=model.name)


def alive_share(outputs: dict[str, Any]) -> Any:
    """Share of the features that are not zero; 1 for a model without a global pool."""
    if "features" not in outputs:
        return ops.ones(())
    return ops.mean(ops.cast(ops.not_equal(outputs["features"], 0), "float32"))


def failed_checks(
    images: Any, labels: Any, classes: int, loss: Any, weights: Sequence[keras.Variable]
) -> Any:
    """Return a float vector, 1 for what is wrong: `INPUT_CHECKS`, then every weight in order."""
    outside = ops.any(ops.logical_or(ops.less(labels, 0), ops.greater_equal(labels, classes)))
    # A sum is finite only if all its terms are: one operation for each tensor.
    sums = [ops.sum(ops.cast(value, "float32")) for value in (images, loss, *weights)]
    wrong = ops.cast(ops.logical_not(ops.isfinite(ops.stack(sums))), "float32")
    return ops.concatenate([wrong[:1], ops.cast(outside, "float32")[None], wrong[1:]])


def raise_if_failed(failed: np.ndarray, weights: Sequence[keras.Variable], step: int) -> None:
    """Raise for the first check of `failed_checks` that failed.

    Raises:
        InputError: if labels are outside the model's classes.
        NonFiniteError: if anything is not finite; names the step and the first such tensor.
    """
    if not np.any(failed):
        return
    first = int(np.flatnonzero(failed)[0])
    if first < len(INPUT_CHECKS):
        name = f"the {INPUT_CHECKS[first]}"
    else:
        name = f"the weight {weights[first - len(INPUT_CHECKS)].path}"
    if name == "the labels":
        raise InputError(
            f"Step {step}: a label is below 0 or not below the model's number of classes. "
            f"{_CLASSES_ADVICE}"
        )
    advice = (
        "Look at the data."
        if name == "the images"
        else "Lower learning_rate, or set clip_norm; the last checkpoint is from before."
    )
    raise NonFiniteError(f"Step {step}: NaN or infinity in {name}. {advice}")


def check_labels(labels: np.ndarray, classes: int) -> None:
    """Refuse labels that are not 0 to `classes` - 1.

    Raises:
        InputError: if there is such a label; names it.
    """
    outside = labels[(labels < 0) | (labels >= classes)]
    if outside.size:
        raise InputError(
            f"The label {outside[0]} is not one of the model's {classes} classes, 0 to "
            f"{classes - 1}. {_CLASSES_ADVICE}"
        )


def raise_if_dead(dead_steps: int, step: int) -> None:
    """Raise if a network has died.

    Args:
        dead_steps: the last so many steps had no live feature.
        step: the last one.

    Raises:
        DeadNetworkError: if they are `DEAD_STEPS`.
    """
    if dead_steps >= DEAD_STEPS:
        raise DeadNetworkError(
            f"Step {step}: the network has died: the last layer before the global pooling gave "
            f"only zeros for {DEAD_STEPS} steps. Wide residual networks do so; scale their "
            "residuals by 0.1 to 0.3 (residual_scales; Szegedy et al. 2016, sec. 3.3)."
        )
