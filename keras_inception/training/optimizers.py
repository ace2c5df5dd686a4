"""The optimizers of the papers as TensorFlow 1 had them; clipping by the whole batch's gradient."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_inception.errors import InputError
from keras_inception.layers import float32_or_wider
from keras_inception.recipes import CLIP_SCOPES, Plan


class _WholeBatchGradients:
    """Mixin for Keras optimizers: adds the L2 penalty and clips, after the sum over replicas.

    Keras clips each replica's gradient before it sums them, so that its threshold means another
    thing on every number of devices. Here the step on 1, 2 or 4 replicas is the same.
    """

    def _set_gradient_options(self, l2: float, clip_norm: float | None, clip_scope: str) -> None:
        if clip_scope not in CLIP_SCOPES:
            raise InputError(f"clip_scope must be one of {CLIP_SCOPES}, not {clip_scope!r}.")
        if l2 < 0 or (clip_norm is not None and clip_norm <= 0):
            raise InputError(
                "l2 must be at least 0, and clip_norm above 0 or None, "
                f"not l2={l2!r} and clip_norm={clip_norm!r}."
            )
        self.l2 = l2
        self.clip_norm = clip_norm
        self.clip_scope = clip_scope

    def _gradient_config(self) -> dict[str, Any]:
        return {"l2": self.l2, "clip_norm": self.clip_norm, "clip_scope": self.clip_scope}

    def _all_reduce_sum_gradients(self, grads_and_vars):
        """Sum over the replicas (TensorFlow only), then penalise and clip."""
        grads_and_vars = super()._all_reduce_sum_gradients(grads_and_vars)
        grads, variables = zip(*grads_and_vars, strict=True)
        return list(zip(self._penalised_and_clipped(grads, variables), variables, strict=True))

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        """On JAX and PyTorch the gradients that arrive here are those of the whole batch."""
        if keras.backend.backend() != "tensorflow":
            grads = self._penalised_and_clipped(grads, trainable_variables)
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _penalised_and_clipped(self, grads: Sequence, variables: Sequence) -> list:
        if self.l2:
            grads = [
                ops.cast(grad, variable.dtype) + self.l2 * variable
                if self._is_kernel(variable)
                else grad
                for grad, variable in zip(grads, variables, strict=True)
            ]
        if self.clip_norm is None:
            return list(grads)
        squares = [ops.sum(ops.square(float32_or_wider(grad))) for grad in grads]
        if self.clip_scope == "global":
            factors = [self._clip_factor(sum(squares))] * len(squares)
        else:
            factors = [self._clip_factor(square) for square in squares]
        return [
            grad * ops.cast(factor, grad.dtype) for grad, factor in zip(grads, factors, strict=True)
        ]

    def _clip_factor(self, square):
        """Factor that brings a norm down to the threshold, 1 below it; NaN stays NaN."""
        return self.clip_norm / ops.maximum(ops.sqrt(square), self.clip_norm)

    def _is_kernel(self, variable) -> bool:
        known = self._trainable_variables[self._get_variable_index(variable)]
        return known.name.endswith("kernel")


@keras.saving.register_keras_serializable("keras_inception")
class RMSProp(_WholeBatchGradients, keras.optimizers.Optimizer):
    """RMSProp with momentum as in TensorFlow 1, which trained the papers' networks.

    For a gradient g and a weight w:

        mean_square = rho * mean_square + (1 - rho) * g * g          (starts at ONE)
        step = momentum * step + learning_rate * g / sqrt(mean_square + epsilon)
        w = w - step

    `keras.optimizers.RMSprop` starts the mean square at zero, which makes the first steps of the
    papers' setting (epsilon 1, rho 0.9) about 1.4 times larger.

    Args:
        learning_rate: number or Keras schedule.
        rho: decay of the mean square.
        momentum: decay of the step.
        epsilon: added under the square root.
        l2: adds the gradient of l2 * sum(w * w) / 2, slim's penalty (half of Keras's `L2(l2)`), for
            the variables called kernel: convolutions and dense layers, not biases or batch norm.
        clip_norm: largest norm of the gradient, penalty included; None does not clip.
        clip_scope: "global" bounds the norm over all gradients (they keep their direction),
            "tensor" that of each gradient.
        **kwargs: of `keras.optimizers.Optimizer`.

    Raises:
        InputError: if a value is outside its range.
    """

    def __init__(
        self,
        learning_rate: Any,
        rho: float = 0.9,
        momentum: float = 0.9,
        epsilon: float = 1.0,
        l2: float = 0.0,
        clip_norm: float | None = None,
        clip_scope: str = "global",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self._set_gradient_options(l2, clip_norm, clip_scope)
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create the mean squares, at one, and the steps, at zero."""
        if self.built:
            return
        super().build(variables)
        self._mean_squares = self.add_optimizer_variables(variables, "mean_square", "ones")
        self._steps = self.add_optimizer_variables(variables, "step")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Move one variable."""
        index = self._get_variable_index(variable)
        mean_square, step = self._mean_squares[index], self._steps[index]
        gradient = ops.cast(gradient, variable.dtype)
        learning_rate = ops.cast(learning_rate, variable.dtype)
        if keras.backend.backend() == "tensorflow":
            _tensorflow_update(
                "ResourceApplyRMSProp",
                {"var": variable, "ms": mean_square, "mom": step},
                grad=gradient,
                lr=learning_rate,
                rho=self.rho,
                momentum=self.momentum,
                epsilon=self.epsilon,
            )
            return
        square = self.rho * mean_square + (1 - self.rho) * ops.square(gradient)
        moved = self.momentum * step + learning_rate * gradient / ops.sqrt(square + self.epsilon)
        self.assign(mean_square, square)
        self.assign(step, moved)
        self.assign_sub(variable, moved)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments for serialisation."""
        own = {"rho": self.rho, "momentum": self.momentum, "epsilon": self.epsilon}
        return super().get_config() | own | self._gradient_config()


@keras.saving.register_keras_serializable("keras_inception")
class Momentum(_WholeBatchGradients, keras.optimizers.Optimizer):
    """Gradient descent with momentum as in TensorFlow 1.

        sum = momentum * sum + g
        w = w - learning_rate * sum

    `keras.optimizers.SGD` multiplies the learning rate into the sum, so that after a decay of the
    learning rate the old gradients still count with the old one.

    Args:
        learning_rate: number or Keras schedule.
        momentum: decay of the sum of gradients.
        l2: as in `RMSProp`.
        clip_norm: as in `RMSProp`.
        clip_scope: as in `RMSProp`.
        **kwargs: of `keras.optimizers.Optimizer`.

    Raises:
        InputError: if a value is outside its range.
    """

    def __init__(
        self,
        learning_rate: Any,
        momentum: float = 0.9,
        l2: float = 0.0,
        clip_norm: float | None = None,
        clip_scope: str = "global",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self._set_gradient_options(l2, clip_norm, clip_scope)
        self.momentum = momentum

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create the sums of gradients, at zero."""
        if self.built:
            return
        super().build(variables)
        self._sums = self.add_optimizer_variables(variables, "sum")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Move one variable."""
        total = self._sums[self._get_variable_index(variable)]
        gradient = ops.cast(gradient, variable.dtype)
        learning_rate = ops.cast(learning_rate, variable.dtype)
        if keras.backend.backend() == "tensorflow":
            _tensorflow_update(
                "ResourceApplyMomentum",
                {"var": variable, "accum": total},
                grad=gradient,
                lr=learning_rate,
                momentum=self.momentum,
            )
            return
        summed = self.momentum * total + gradient
        self.assign(total, summed)
        self.assign_sub(variable, learning_rate * summed)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments for serialisation."""
        return super().get_config() | {"momentum": self.momentum} | self._gradient_config()


def _tensorflow_update(operation: str, variables: Mapping[str, Any], **values: Any) -> None:
    """Run TensorFlow's operation for a whole update, which reads and writes each variable once.

    Args:
        operation: its name in `tf.raw_ops`.
        variables: those that it changes, of Keras or of TensorFlow, by the names of its arguments.
        **values: its other arguments, in the variables' dtype or to be converted to it.
    """
    import tensorflow as tf

    of_tensorflow = {
        name: variable.value if isinstance(variable, keras.Variable) else variable
        for name, variable in variables.items()
    }
    dtype = of_tensorflow["var"].dtype
    getattr(tf.raw_ops, operation)(
        **{name: variable.handle for name, variable in of_tensorflow.items()},
        **{name: tf.convert_to_tensor(value, dtype) for name, value in values.items()},
    )


def for_plan(plan: Plan) -> keras.optimizers.Optimizer:
    """Return the optimizer of a plan's recipe, with its staircase schedule.

    The learning rate falls every `plan.decay_steps` steps of the global batch, in one step.
    """
    recipe = plan.recipe
    schedule = keras.optimizers.schedules.ExponentialDecay(
        float(recipe.learning_rate), plan.decay_steps, recipe.learning_rate_decay, staircase=True
    )
    options = {
        "momentum": recipe.momentum,
        "l2": recipe.l2,
        "clip_norm": recipe.clip_norm,
        "clip_scope": recipe.clip_scope,
    }
    if recipe.optimizer == "rmsprop":
        return RMSProp(schedule, rho=recipe.rho, epsilon=recipe.epsilon, **options)
    return Momentum(schedule, **options)
