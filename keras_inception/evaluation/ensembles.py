"""Class probabilities of one network or several, on one device or several."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_inception.errors import InputError, unknown
from keras_inception.preprocessing import Preprocessing

if TYPE_CHECKING:
    import tensorflow as tf

OUTPUTS = ("auto", "probabilities", "logits")

_SUM_TOLERANCE = 0.01  # half precision sums a thousand probabilities to a few thousandths


class Ensemble:
    """Networks, each with its preprocessing and its weight in the average.

    Attributes:
        names: tuple of str, the networks' names.
        preprocessing: tuple of `Preprocessing`, one a network.
        weights: tuple of float, one a network; they sum to 1.
        inputs: tuple of `Preprocessing`, the different ones: each makes one input.
        replicas: devices that share a batch.
    """

    def __init__(
        self,
        model_or_models: keras.Model | Sequence[keras.Model],
        preprocessing: Preprocessing | Sequence[Preprocessing] | None = None,
        weights: Sequence[float] | None = None,
        outputs: str | Sequence[str] = "auto",
        strategy: tf.distribute.Strategy | None = None,
    ):
        """Check that everything fits together; arguments and errors are those of `evaluate`."""
        one = isinstance(model_or_models, keras.Model)
        models = [model_or_models] if one else list(model_or_models)
        if not models or not all(isinstance(model, keras.Model) for model in models):
            raise InputError(f"Expected a keras.Model or several in a list, got {models}.")
        preprocessing = _one_each("preprocessing", preprocessing, len(models))
        self._outputs = _one_each("outputs", outputs, len(models))
        for kind in self._outputs:
            if kind not in OUTPUTS:
                raise unknown("kind of outputs", kind, OUTPUTS)
        self.names = tuple(model.name for model in models)
        self.preprocessing = tuple(map(_checked, models, preprocessing))
        self.weights = _normalised(weights, len(models))
        self.inputs = tuple(dict.fromkeys(self.preprocessing))
        self.replicas, self._networks = _runners(models, strategy)

    def __call__(self, inputs: Sequence[tf.Tensor]) -> np.ndarray:
        """Run the networks one after the other and average their class probabilities.

        Args:
            inputs: for each of `self.inputs` a float32 tensor (rows, height, width, 3); rows is a
                multiple of `self.replicas`.

        Returns:
            float64 array (rows, classes).

        Raises:
            InputError: if outputs are not finite, not (rows, classes), neither probabilities nor
                logits as far as can be told, or of other classes than the first network's.
        """
        total = np.zeros(())
        for network, name, preprocessing, weight, kind in zip(
            self._networks, self.names, self.preprocessing, self.weights, self._outputs, strict=True
        ):
            outputs = network(inputs[self.inputs.index(preprocessing)])
            probabilities = _probabilities(outputs, kind, name)
            if total.shape not in ((), probabilities.shape):
                raise InputError(
                    "The networks of an ensemble must know the same classes: "
                    f"{self.names[0]} has {total.shape[1]}, {name} has {probabilities.shape[1]}."
                )
            total = total + weight * probabilities
        return total


def _one_each(what: str, given: Any, count: int) -> list:
    """Return one value a network: `given` itself for each, or its members."""
    if given is None or isinstance(given, str | Preprocessing):
        return [given] * count
    given = list(given)
    if len(given) != count:
        raise InputError(f"{what} has {len(given)} entries for {count} networks; give one or each.")
    return given


def _normalised(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """Return the networks' weights, divided by their sum."""
    weights = [1.0] * count if weights is None else [float(weight) for weight in weights]
    if len(weights) != count:
        raise InputError(f"{len(weights)} weights for {count} networks; give one each.")
    total = math.fsum(weights)
    if min(weights) < 0 or not 0 < total < math.inf:
        raise InputError(
            f"Weights must be finite, not negative and not all zero; got {tuple(weights)}."
        )
    return tuple(weight / total for weight in weights)


def _checked(model: keras.Model, preprocessing: Preprocessing | None) -> Preprocessing:
    """Return the network's preprocessing: the given one if it fits, else the papers'."""
    size = _input_size(model)
    if preprocessing is None:
        if None in size:
            raise InputError(
                f"The network {model.name} takes images of any size; "
                "say with preprocessing=... which size it shall see."
            )
        return Preprocessing(size=size)
    if any(side not in (None, given) for side, given in zip(size, preprocessing.size, strict=True)):
        raise InputError(
            f"The network {model.name} takes images of {size[0]} x {size[1]} pixels, but its "
            f"preprocessing makes {preprocessing.size[0]} x {preprocessing.size[1]}."
        )
    return preprocessing


def _input_size(model: keras.Model) -> tuple[int | None, int | None]:
    """Return the height and width that the network takes, None where it does not say."""
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4:
        return None, None
    return shape[2:] if _channels_first(model) else shape[1:3]


def _channels_first(model: keras.Model) -> bool:
    """Whether the network takes (n, 3, height, width)."""
    shape = getattr(model, "input_shape", None)
    return isinstance(shape, tuple) and len(shape) == 4 and shape[1] == 3 and shape[3] != 3


def _main_output(outputs: Any, model: keras.Model) -> Any:
    """Return the output to evaluate: the only one, or the one called predictions."""
    if isinstance(outputs, dict):
        if "predictions" not in outputs:
            raise InputError(
                f"The network {model.name} has the outputs {', '.join(outputs)}; "
                "the one to evaluate must be called predictions."
            )
        outputs = outputs["predictions"]
    shape = getattr(outputs, "shape", None)
    if shape is None or len(shape) != 2:
        raise InputError(
            f"The network {model.name} must give one tensor (images, classes), alone or in a dict "
            f"under predictions; got {type(outputs).__name__ if shape is None else tuple(shape)}."
        )
    return outputs


def _probabilities(outputs: np.ndarray, kind: str, name: str) -> np.ndarray:
    """Return a network's outputs (rows, classes) as float64 probabilities."""
    outputs = outputs.astype(np.float64)
    if not np.isfinite(outputs).all():
        raise InputError(f"The network {name} gave outputs that are not finite numbers.")
    if kind == "auto":
        kind = _kind(outputs, name)
    if kind == "probabilities":
        return outputs
    return softmax(outputs)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of logits (..., classes)."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def are_logits(outputs: np.ndarray) -> bool:
    """Whether outputs leave the range of probabilities."""
    return bool(outputs.min() < 0 or outputs.max() > 1 + _SUM_TOLERANCE)


def _kind(outputs: np.ndarray, name: str) -> str:
    """Tell probabilities from logits: only logits leave 0..1, only probabilities sum to 1."""
    if are_logits(outputs):
        return "logits"
    if np.abs(outputs.sum(axis=1) - 1).max() <= _SUM_TOLERANCE:
        return "probabilities"
    raise InputError(
        f"The outputs of the network {name} lie between 0 and 1 but do not sum to 1; say "
        'outputs="logits" (softmax is applied) or outputs="probabilities" (taken as they are).'
    )


def _runners(
    models: list[keras.Model], strategy: tf.distribute.Strategy | None
) -> tuple[int, list[Callable[[tf.Tensor], np.ndarray]]]:
    """Return the number of replicas, and for each network what computes its main output."""
    if keras.backend.backend() == "tensorflow":
        strategy = strategy or models[0].distribute_strategy
        replicas = len(strategy.experimental_local_results(_deal(strategy, itertools.repeat(0))))
        return replicas, [_on_replicas(model, strategy, replicas) for model in models]
    if strategy is not None:
        raise InputError(
            "A tf.distribute strategy needs Keras on the tensorflow backend; "
            f"this one runs on {keras.backend.backend()}."
        )
    return 1, [_on_one_device(model) for model in models]


def _on_one_device(model: keras.Model) -> Callable[[tf.Tensor], np.ndarray]:
    """Run a network through Keras, whatever the backend."""

    def run(images: tf.Tensor) -> np.ndarray:
        images = images.numpy()
        if _channels_first(model):
            images = images.transpose(0, 3, 1, 2)
        return np.asarray(_main_output(model.predict_on_batch(images), model))

    return run


def _on_replicas(
    model: keras.Model, strategy: tf.distribute.Strategy, replicas: int
) -> Callable[[tf.Tensor], np.ndarray]:
    """Run a network in a TensorFlow graph, every replica on its share of the rows."""
    import tensorflow as tf

    def on_one_replica(images: tf.Tensor) -> tf.Tensor:
        if _channels_first(model):
            images = tf.transpose(images, (0, 3, 1, 2))
        return _main_output(model(images, training=False), model)

    @tf.function(autograph=False)
    def on_all_replicas(images: Any) -> Any:
        return strategy.run(on_one_replica, args=(images,))

    def run(images: tf.Tensor) -> np.ndarray:
        outputs = on_all_replicas(_deal(strategy, tf.split(images, replicas)))
        outputs = strategy.experimental_local_results(outputs)
        return np.concatenate([output.numpy() for output in outputs])

    return run


def _deal(strategy: tf.distribute.Strategy, shares: Iterable[Any]) -> Any:
    """Give each replica of this process the next share."""
    shares = iter(shares)
    return strategy.experimental_distribute_values_from_function(lambda _: next(shares))
