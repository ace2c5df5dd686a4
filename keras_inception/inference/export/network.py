"""What is exported: one network with one output, and the functions that the formats are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import keras

from keras_inception.errors import InputError
from keras_inception.images import decode_image
from keras_inception.inference.folding import fold_batch_norm
from keras_inception.preprocessing import Preprocessing

if TYPE_CHECKING:
    import tensorflow as tf

IMAGES = "images"
PREPARED = "prepared"
ENCODED = "encoded"
PREDICTIONS = "predictions"
FEATURES = "features"

_ACTIVATIONS = (keras.layers.Activation, keras.layers.ReLU, keras.layers.Softmax)

Shape = tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Network:
    """A network on its way into a file.

    Attributes:
        model: one input, one output; folded if that was asked for.
        reference: what the file's outputs are compared with, the model as it was.
        batch_size: images of every call; None: free.
        preprocessing: of its images; None: not known.
        inside: how much of the preprocessing the file does: "all", from raw images on; "values",
            from raw images of the right size on; "none".
    """

    model: keras.Model
    reference: keras.Model
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
        return FEATURES if _features(self.model) is None else PREDICTIONS

    @property
    def reference_features(self) -> keras.Model:
        """What the features of the file are compared with."""
        return _feature_model(self.reference)

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
        return _feature_model(self.model)

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


def _features(model: keras.Model) -> Any:
    """Return what the classifier sees: the last dense layer's input; None if there is none."""
    tensor = model.outputs[0]
    layer = tensor._keras_history.operation
    while isinstance(layer, _ACTIVATIONS):
        tensor = layer.input
        layer = tensor._keras_history.operation
    return layer.input if isinstance(layer, keras.layers.Dense) else None


def _feature_model(model: keras.Model) -> keras.Model:
    features = _features(model)
    return model if features is None else keras.Model(model.inputs[0], features)


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
        model: one image input; of several outputs, "predictions" is taken.
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
    main = _main(model)
    _check_input(main, preprocessing, inside)
    computes = {layer.compute_dtype for layer in main.layers if layer.weights}
    if not fold and computes - {dtype}:
        raise InputError(
            f"{model.name} computes in {' and '.join(sorted(computes))}, and is brought to {dtype} "
            "only by folding; leave fold=True."
        )
    folded = fold_batch_norm(main, dtype, move_pools=move_pools) if fold else main
    reference = main if computes <= {"float32"} else fold_batch_norm(main, dtype="float32")
    return Network(folded, reference, batch_size, preprocessing, inside)


def _main(model: keras.Model) -> keras.Model:
    """Return the model with its main output alone."""
    if not getattr(model, "inputs", None):
        raise InputError(
            f"{getattr(model, 'name', model)!r} has no graph of layers to export: build it with "
            "the functional API, and call a Sequential model once."
        )
    outputs = model.output
    if isinstance(outputs, dict):
        outputs = [outputs[PREDICTIONS]] if PREDICTIONS in outputs else list(outputs.values())
    outputs = list(outputs) if isinstance(outputs, Sequence) else [outputs]
    if len(outputs) != 1:
        raise InputError(
            f"{model.name} has {len(outputs)} outputs and none is named {PREDICTIONS!r}; export "
            "one: keras.Model(model.input, the_output)."
        )
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        raise InputError(
            f"{model.name} takes {model.input_shape}; expected one batch of images, (batch, height,"
            " width, channels)."
        )
    return keras.Model(model.inputs[0], outputs[0], name=model.name)


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
