"""What is exported: one network with one output, and the functions that the formats are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import keras

from keras_inception.errors import InputError
from keras_inception.images import decode_image
from keras_inception.inference import stock
from keras_inception.inference.folding import fold_batch_norm
from keras_inception.inference.graph import IDENTITIES, MAIN_OUTPUT, has_graph
from keras_inception.preprocessing import Preprocessing

if TYPE_CHECKING:
    import tensorflow as tf

IMAGES = "images"
PREPARED = "prepared"
ENCODED = "encoded"
PREDICTIONS = MAIN_OUTPUT
FEATURES = "features"

_ACTIVATIONS = (keras.layers.Activation, keras.layers.ReLU, keras.layers.Softmax)
_BETWEEN = (*_ACTIVATIONS, *IDENTITIES, keras.layers.BatchNormalization)

Shape = tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Network:
    """A network on its way into a file.

    Attributes:
        model: one input, one output; folded if that was asked for.
        reference: what the file's outputs are compared with, the model as it was, in float32.
        classifies: whether it ends in a classifier, a dense layer with at most a batch
            normalisation and an activation behind it.
        batch_size: images of every call; None: free.
        preprocessing: of its images; None: not known.
        inside: how much of the preprocessing the file does: "all", from raw images on; "values",
            from raw images of the right size on; "none".
    """

    model: keras.Model
    reference: keras.Model
    classifies: bool
    batch_size: int | None
    preprocessing: Preprocessing | None
    inside: str

    @property
    def input_shape(self) -> Shape:
        """What the file takes: (batch, height, width, channels), None for what is free."""
        if self.inside == "none":
            return (self.batch_size, *self.model.input_shape[1:])
        resizes = self.inside == "all" and self.preprocessing.resize != "none"
        return (self.batch_size, *((None, None) if resizes else self.preprocessing.size), 3)

    @property
    def input_dtype(self) -> str:
        """What the file takes: raw pixels, or values that are prepared."""
        return "float32" if self.inside == "none" else "uint8"

    def prepare(self, images: Any) -> Any:
        """Do to images what the file does before the network sees them."""
        if self.inside == "none":
            return images
        steps = self.preprocessing if self.inside == "all" else self.preprocessing.normalize
        return steps(images)

    @property
    def output_name(self) -> str:
        """Class scores are "predictions", the outputs of a headless network "features"."""
        return PREDICTIONS if self.classifies else FEATURES

    @property
    def reference_features(self) -> keras.Model:
        """What the features of the file are compared with."""
        return self._features_of(self.reference)

    @cached_property
    def holder(self) -> tf.Module:
        """What owns the variables, as TensorFlow's savers and converters want it."""
        import tensorflow as tf

        module = tf.Module()
        module.held = [variable.value for variable in self.model.variables]
        return module

    def whole_function(self) -> Any:
        """Return the `tf.function` of the file: from what it takes to the network's outputs."""
        return self._function(self.input_shape, self.input_dtype, self.prepare)

    def network_function(self) -> Any:
        """Return the `tf.function` of the network alone: from prepared images on."""
        shape = self.input_shape
        if self.inside != "none":
            shape = (self.batch_size, *self.preprocessing.size, 3)
        return self._function(shape, "float32", lambda images: images)

    def preprocessing_function(self) -> Any:
        """Return the `tf.function` from what the file takes to what the network takes."""
        import tensorflow as tf

        spec = tf.TensorSpec(self.input_shape, self.input_dtype, name=IMAGES)
        return tf.function(lambda images: {PREPARED: self.prepare(images)}, [spec])

    def feature_function(self) -> Any:
        """Return the `tf.function` from what the file takes to the features."""
        return self._function(
            self.input_shape, self.input_dtype, self.prepare, self._feature_model, FEATURES
        )

    def encoded_function(self) -> Any:
        """Return the `tf.function` from encoded image files, a string each, to the outputs."""
        import tensorflow as tf

        def prepare(files: tf.Tensor) -> tf.Tensor:
            return tf.map_fn(
                lambda file: self.preprocessing(decode_image(file)),
                files,
                fn_output_signature=tf.TensorSpec((*self.preprocessing.size, 3), tf.float32),
            )

        return self._function((self.batch_size,), "string", prepare, argument=ENCODED)

    @cached_property
    def _feature_model(self) -> keras.Model:
        return self._features_of(self.model)

    def _features_of(self, model: keras.Model) -> keras.Model:
        """Return the model up to what its classifier sees; all of it if it has none."""
        if not self.classifies:
            return model
        return keras.Model(model.inputs[0], _before_dense(model.outputs[0]))

    def _function(
        self,
        shape: Shape,
        dtype: str,
        prepare: Callable[[tf.Tensor], tf.Tensor],
        model: keras.Model | None = None,
        name: str | None = None,
        argument: str = IMAGES,
    ) -> Any:
        import tensorflow as tf

        model, name = model or self.model, name or self.output_name

        def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
            return {name: tf.cast(model(prepare(images), training=False), tf.float32)}

        return tf.function(call, [tf.TensorSpec(shape, dtype, name=argument)])


def _classifies(tensor: keras.KerasTensor) -> bool:
    """Say whether a tensor of a model that is not folded comes from a classifier.

    Normalised numbers without an activation behind them are an embedding.
    """
    operation, given = _produced(tensor)
    while isinstance(operation, IDENTITIES):
        operation, given = _produced(given)
    if isinstance(operation, keras.layers.BatchNormalization):
        return False
    while isinstance(operation, _BETWEEN):
        operation, given = _produced(given)
    if has_graph(operation):
        return len(operation.outputs) == 1 and _classifies(operation.outputs[0])
    return isinstance(operation, keras.layers.Dense)


def _before_dense(tensor: keras.KerasTensor) -> keras.KerasTensor:
    """Return the input of the dense layer that a classifier's output comes from."""
    operation, given = _produced(tensor)
    while isinstance(operation, _BETWEEN):
        operation, given = _produced(given)
    if has_graph(operation):
        return keras.Model(operation.inputs, _before_dense(operation.outputs[0]))(given)
    return given


def _produced(tensor: keras.KerasTensor) -> tuple[keras.Operation, Any]:
    """Return what computes a tensor, and the first tensor that it is given."""
    history = tensor._keras_history
    node = history.operation._inbound_nodes[history.node_index]
    return history.operation, next(iter(node.input_tensors), None)


def _in_float32(model: keras.Model) -> keras.Model:
    """Return the model with the same weights, computing in float32."""
    same = keras.models.clone_model(
        model, clone_function=lambda layer: stock.copy(layer, "float32"), recursive=True
    )
    same.set_weights(model.get_weights())
    for layer in same._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    return same


def prepare(
    model: keras.Model,
    *,
    fold: bool,
    dtype: str,
    move_pools: bool,
    batch_size: int | None,
    preprocessing: Preprocessing | None,
    inside: str,
) -> Network:
    """Check a model and bring it to the form in which it is exported.

    Args:
        model: from one batch of images to one output, as `main_model` returns it.
        fold: fold batch normalisations, and bring the network to `dtype`.
        dtype: in which the network shall compute.
        move_pools: as for `fold_batch_norm`.
        batch_size: as for `Network`.
        preprocessing: as for `Network`.
        inside: as for `Network`.

    Returns:
        The network.

    Raises:
        InputError: if the model is of a kind that cannot be exported, or does not fit the rest.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"Exports are made with Keras on TensorFlow, but it runs on {keras.backend.backend()}. "
            "Save the model, and export it where KERAS_BACKEND=tensorflow."
        )
    _check_input(model, preprocessing, inside)
    computes = {layer.compute_dtype for layer in model.layers if layer.weights}
    if not fold and computes - {dtype}:
        raise InputError(
            f"{model.name} computes in {' and '.join(sorted(computes))}, and is brought to {dtype} "
            "only by folding; leave fold=True."
        )
    folded = fold_batch_norm(model, dtype, move_pools=move_pools) if fold else model
    reference = model if computes <= {"float32"} else _in_float32(model)
    classifies = _classifies(model.outputs[0])
    return Network(folded, reference, classifies, batch_size, preprocessing, inside)


def _check_input(model: keras.Model, preprocessing: Preprocessing | None, inside: str) -> None:
    shape = model.input_shape
    first = [layer.name for layer in model.layers if _is_channels_first(layer)]
    if first:
        raise InputError(
            f"{model.name} has its channels first (in {first[0]!r}), which CPUs cannot run. Build "
            "it with the image data format channels_last, load its weights, and export that."
        )
    if preprocessing is None:
        return
    if shape[3] != 3:
        raise InputError(
            f"Preprocessing makes images of 3 channels, but {model.name} takes {shape[3]}; export "
            "without preprocessing."
        )
    if any(s not in (None, p) for s, p in zip(shape[1:3], preprocessing.size, strict=True)):
        raise InputError(
            f"The preprocessing makes images of {preprocessing.size}, but {model.name} takes "
            f"{shape[1:3]}; use dataclasses.replace(preprocessing, size={shape[1:3]})."
        )


def _is_channels_first(layer: keras.Layer) -> bool:
    return getattr(layer, "data_format", None) == "channels_first"
