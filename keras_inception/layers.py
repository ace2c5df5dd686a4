"""The four layers that Keras lacks, or has slower.

All are registered under the package name, so that a `.keras` file with them loads after
`import keras_inception`, without custom objects and in safe mode.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_inception.errors import InputError

_FUSED_DTYPES = ("float32", "bfloat16", "float16")


@keras.saving.register_keras_serializable("keras_inception")
class ScaledResidual(keras.layers.Layer):
    """Adds a scaled residual: `activation(x + scale * residual)`.

    Scaling by 0.1 to 0.3 keeps wide residual networks from dying early in training (Szegedy et
    al. 2016, arXiv:1602.07261, section 3.3 and figure 20).

    Call arguments:
        inputs: the pair `[x, residual]`, two tensors of the same shape, any rank.

    Args:
        scale: factor on the residual, finite. 0.0 makes the layer `activation(x)`.
        activation: name of a Keras activation or a function; None for none.
        **kwargs: as for `keras.layers.Layer`.

    Raises:
        InputError: if `scale` is not a finite number; on the first call, if the inputs are not
            two tensors of one shape (the message names both depths).

    Example:
        >>> x = keras.ops.ones((1, 8, 8, 16))
        >>> float(ScaledResidual(0.2, activation=None)([x, x])[0, 0, 0, 0])
        1.2000000476837158
    """

    def __init__(self, scale: float, activation: Any = "relu", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        try:
            self.scale = float(scale)
        except (TypeError, ValueError):
            self.scale = float("nan")
        if not abs(self.scale) < float("inf"):
            raise InputError(
                f"The residual scale is {scale!r}; expected a finite number such as 0.17."
            )
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: Any) -> None:
        """Check the shapes of the pair."""
        if not _is_pair(input_shape):
            raise InputError(
                f"ScaledResidual {self.name!r} was called on {input_shape}; expected the pair "
                "[x, residual]."
            )
        x, residual = input_shape
        if len(x) != len(residual) or any(
            None not in (a, b) and a != b for a, b in zip(x, residual, strict=True)
        ):
            channels_first = len(x) == 4 and keras.config.image_data_format() == "channels_first"
            axis = 1 if channels_first else -1
            raise InputError(
                f"ScaledResidual {self.name!r} cannot add a residual of depth {residual[axis]} "
                f"(shape {tuple(residual)}) to an input of depth {x[axis]} (shape {tuple(x)}); "
                "give the last convolution of the residual branch as many filters as the input has."
            )
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Return the activated sum."""
        x, residual = inputs
        return self.activation(x + residual * self.scale)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of `x`."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs."""
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "scale": self.scale, "activation": activation}


def _is_pair(shape: Any) -> bool:
    return (
        isinstance(shape, list | tuple)
        and len(shape) == 2
        and all(isinstance(item, list | tuple) for item in shape)
    )


@keras.saving.register_keras_serializable("keras_inception")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalisation, computed by TensorFlow's fused kernel where that serves.

    Same arguments, weights, outputs and gradients as `keras.layers.BatchNormalization`; Keras 3
    composes the layer from separate operations and widens 16-bit inputs to float32 first, which
    costs time and memory. The fused kernel reads 16-bit inputs as they are, with float32
    statistics and parameters.

    The moving variance is that of the population, as in Keras, not Bessel-corrected as in the
    paper's algorithm 2 (Ioffe & Szegedy 2015): a model gives the same numbers with either layer.

    The stock computation is used on other backends than TensorFlow, for other inputs than four
    axes with the channels last, in float64, and with `renorm`, `synchronized` or a mask.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise: by the batch's statistics in training, by the moving ones otherwise."""
        if mask is not None or not self._can_fuse(inputs):
            return super().call(inputs, training=training, mask=mask)
        return self._fused(inputs, bool(training) and self.trainable)

    def _can_fuse(self, inputs: Any) -> bool:
        return (
            keras.backend.backend() == "tensorflow"
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and keras.backend.standardize_dtype(inputs.dtype) in _FUSED_DTYPES
            and not self.renorm
            and not self.synchronized
        )

    def _fused(self, inputs: Any, by_batch: bool) -> Any:
        import tensorflow as tf

        mean = ops.cast(self.moving_mean, "float32")
        variance = ops.cast(self.moving_variance, "float32")
        outputs, batch_mean, batch_variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=ops.cast(self.gamma, "float32") if self.scale else tf.ones_like(mean),
            offset=ops.cast(self.beta, "float32") if self.center else tf.zeros_like(mean),
            mean=[] if by_batch else mean,
            variance=[] if by_batch else variance,
            epsilon=self.epsilon,
            is_training=by_batch,
        )
        if by_batch:
            count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), "float32")
            population = batch_variance * (count - 1.0) / count
            self._move(self.moving_mean, mean, batch_mean)
            self._move(self.moving_variance, variance, population)
        return ops.cast(outputs, self.compute_dtype)

    def _move(self, variable: Any, old: Any, new: Any) -> None:
        moved = old * self.momentum + new * (1.0 - self.momentum)
        variable.assign(ops.cast(moved, variable.dtype))


@keras.saving.register_keras_serializable("keras_inception")
class Conv2D(keras.layers.Conv2D):
    """Keras's convolution, which trains faster on a CPU where its kernel or its grid is small.

    Same arguments, weights, outputs and gradients as `keras.layers.Conv2D`. The gradient of a 1x1
    kernel is the product of two matrices, that of a larger kernel one product for each place in it.
    TensorFlow's own operation takes longer for 1x1 kernels, and on a CPU for any kernel on grids of
    up to 8x8 (`benchmarks/kernel_gradient.py`).

    The stock computation is used on other backends than TensorFlow, for larger kernels on larger
    grids or beside a GPU, for strides, dilations and groups, and with the channels first.
    """

    _SMALL_GRID = 8

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Convolve, without the bias."""
        if not self._has_gradient_of_products(inputs):
            return super().convolution_op(inputs, kernel)
        import tensorflow as tf

        padding = self.padding.upper()

        @tf.custom_gradient
        def convolve(x: Any, weights: Any) -> tuple[Any, Callable]:
            y = tf.nn.conv2d(x, weights, 1, padding)

            def gradients(change: Any) -> tuple[Any, Any]:
                changes = _rows(change)
                if self.kernel_size == (1, 1):
                    of_rows = tf.matmul(changes, weights[0, 0], transpose_b=True)
                    of_inputs = tf.reshape(of_rows, tf.shape(x))
                else:
                    of_inputs = tf.nn.conv2d_transpose(change, weights, tf.shape(x), 1, padding)
                products = [
                    tf.matmul(changes, _rows(part), transpose_a=True)
                    for part in self._under_the_places(x, y)
                ]
                of_kernel = tf.transpose(tf.stack(products), (0, 2, 1))
                return of_inputs, tf.reshape(of_kernel, weights.shape)

            return y, gradients

        return convolve(inputs, tf.convert_to_tensor(kernel))

    def _has_gradient_of_products(self, inputs: Any) -> bool:
        if not (
            keras.backend.backend() == "tensorflow"
            and self.strides == self.dilation_rate == (1, 1)
            and self.groups == 1
            and self.data_format == "channels_last"
        ):
            return False
        if self.kernel_size == (1, 1):
            return True
        import tensorflow as tf

        grid = inputs.shape[1:3]
        small = all(size is not None and size <= self._SMALL_GRID for size in grid)
        return small and not tf.config.list_physical_devices("GPU")

    def _under_the_places(self, x: Any, y: Any) -> list[Any]:
        """Return, for each place in the kernel, what it is multiplied with, as large as y."""
        import tensorflow as tf

        if self.kernel_size == (1, 1):
            return [x]
        (rows, columns), (height, width) = self.kernel_size, y.shape[1:3]
        if self.padding == "same":
            margins = [((size - 1) // 2, size // 2) for size in self.kernel_size]
            x = tf.pad(x, [(0, 0), *margins, (0, 0)])
        return [
            x[:, row : row + height, column : column + width]
            for row in range(rows)
            for column in range(columns)
        ]


def _rows(x: Any) -> Any:
    """Return all but the channels flat."""
    import tensorflow as tf

    return tf.reshape(x, (-1, x.shape[-1]))


@keras.saving.register_keras_serializable("keras_inception")
class LocalResponseNormalization(keras.layers.Layer):
    """Divides each value by a power of the energy of its neighbouring channels.

    `x / (bias + alpha / n * sum of squares over n = 2 * depth_radius + 1 channels) ** beta`, as in
    AlexNet and Caffe; at the first and last channels the window is cut off, n stays. GoogLeNet
    (Szegedy et al. 2014, arXiv:1409.4842, figure 3) has two of them, with these defaults.
    TensorFlow's operation of this name takes `alpha / n` for its alpha.

    Call arguments:
        inputs: float tensor with the channels on `axis`; the result has its shape and dtype. The
            computation is in float32 at least, the sum with the precision that the backend gives
            matrix products (on GPUs it may be TF32).

    Args:
        depth_radius: channels on either side, a non-negative integer.
        alpha: weight of the mean square over the window.
        beta: the exponent.
        bias: keeps the divisor above zero; positive.
        axis: of the channels.
        **kwargs: as for `keras.layers.Layer`.

    Raises:
        InputError: if `depth_radius` is negative or `bias` is not positive.
    """

    def __init__(
        self,
        depth_radius: int = 2,
        alpha: float = 1e-4,
        beta: float = 0.75,
        bias: float = 1.0,
        axis: int = -1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if depth_radius < 0 or bias <= 0:
            raise InputError(
                f"LocalResponseNormalization got depth_radius={depth_radius} and bias={bias}; "
                "expected a depth_radius of 0 or more and a positive bias."
            )
        self.depth_radius = int(depth_radius)
        self.alpha = float(alpha)
        self.beta = float(beta)
        self.bias = float(bias)
        self.axis = int(axis)

    def call(self, inputs: Any) -> Any:
        """Return the normalised values."""
        x = float32_or_wider(inputs)
        squares = ops.moveaxis(ops.square(x), self.axis, -1)
        window = ops.cast(self.window(squares.shape[-1]), x.dtype)
        # A matrix product multiplies by many zeros, and yet its gradient takes a quarter of the
        # time that the gradient of a sum of slices does.
        energy = ops.moveaxis(ops.matmul(squares, window), -1, self.axis)
        return ops.cast(x * inverse_power(self.bias + energy, self.beta), self.compute_dtype)

    def window(self, channels: int) -> np.ndarray:
        """Return the weights of all channels' squares (rows) in each one's divisor (columns)."""
        index = np.arange(channels)
        near = np.abs(index[:, None] - index[None, :]) <= self.depth_radius
        return near * (self.alpha / (2 * self.depth_radius + 1))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs."""
        own = ("depth_radius", "alpha", "beta", "bias", "axis")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def inverse_power(values: Any, exponent: float) -> Any:
    """Return `values ** -exponent`, of positive values.

    For the exponent that local response normalisation normally has by square roots, which
    processors have instructions for: of a power most runtimes compute one value after the other.
    """
    if exponent != 0.75:
        return ops.power(values, -exponent)
    root = ops.rsqrt(values)
    return root * ops.sqrt(root)


def float32_or_wider(tensor: Any) -> Any:
    """Return a tensor in float32, or as it is if that is float64."""
    return ops.cast(tensor, keras.backend.result_type(tensor.dtype, "float32"))
