"""Training in less memory: activations inside the blocks are computed again, not kept."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from keras_inception import inspection
from keras_inception.errors import InputError


class Rematerialized:
    """Calls a network for training and keeps only what passes from block to block.

    The gradient of a block computes its activations once more from its input: memory for one block
    at a time, and one more forward pass. Outputs, gradients and moving statistics are those of the
    network; blocks that draw random numbers are kept as they are.

    Args:
        model: a network of this package, or another with blocks that are named as
            `ki.endpoints` lists them; it may have several outputs.

    Raises:
        InputError: if the model has no such blocks.
    """

    def __init__(self, model: keras.Model) -> None:
        self._segments = _segments(model)
        if not self._segments:
            raise InputError(
                f"rematerialize=True has no effect on {model.name!r}: it has no named blocks that "
                "follow one another (ki.endpoints(model) lists them)."
            )
        self._needed = _needed_outputs(model, self._segments)
        ends = [self._segments[i].end for i in self._needed]
        self._rest = keras.Model(ends, _none_of(ends, model.output))

    def __call__(self, images: Any) -> Any:
        """Return what `model(images, training=True)` does."""
        outputs = []
        for segment in self._segments:
            outputs.append(_forgetting(segment.model)(outputs[-1] if outputs else images))
        return self._rest([outputs[i] for i in self._needed], training=True)


@dataclass(frozen=True)
class _Segment:
    """A part of a network with one input and one output.

    Attributes:
        model: computes it.
        end: its output in the graph of the network.
    """

    model: keras.Model
    end: Any


def _segments(model: keras.Model) -> list[_Segment]:
    """Cut a network behind its blocks, from the input up, one block or several to a segment."""
    segments, start = [], model.input
    for name, shape in inspection.endpoints(model).items():
        if len(shape) != 3 or name.startswith("aux"):
            continue  # of a head
        end = model.get_layer(name).output
        try:
            segment = keras.Model(start, end)
        except ValueError:  # something passes the block by: it belongs to a larger segment
            continue
        if any(hasattr(layer, "seed_generator") for layer in segment.layers):
            break
        segments.append(_Segment(segment, end))
        start = end
    return segments


def _needed_outputs(model: keras.Model, segments: list[_Segment]) -> list[int]:
    """Return the indices of the segments whose output is read by what is in none of them."""
    inside = {id(layer) for segment in segments for layer in segment.model.layers}
    read = [layer.input for layer in model.layers if id(layer) not in inside]
    needed = {id(tensor) for tensor in keras.tree.flatten([read, model.output])}
    return [i for i, segment in enumerate(segments) if id(segment.end) in needed]


def _none_of(inputs: list[Any], outputs: Any) -> Any:
    """Return the outputs, with copies of those that are inputs, which no Keras model gives back."""
    known = {id(tensor) for tensor in inputs}
    copy = keras.layers.Identity
    return keras.tree.map_structure(lambda x: copy()(x) if id(x) in known else x, outputs)


def _forgetting(segment: keras.Model) -> Callable[[Any], Any]:
    """Return the segment in training, its gradient from its input alone."""

    @tf.custom_gradient
    def run(x):
        def gradients(change, variables=()):
            # Waits for the change: else TensorFlow would compute it first, or merge it with the
            # first computation.
            with tf.control_dependencies([change]):
                again = tf.identity(x)
            # The statistics have moved already: what is assigned in this scope is dropped.
            with tf.GradientTape() as tape, keras.StatelessScope():
                tape.watch(again)
                outputs = segment(again, training=True)
            variables = list(variables)
            of_input, *of_variables = tape.gradient(outputs, [again, *variables], change)
            return of_input, of_variables

        return segment(x, training=True), gradients

    return run
