"""A model's graph as inference sees it: the calls in order, and who uses each tensor."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import keras

from keras_inception.errors import InputError

MAIN_OUTPUT = "predictions"

_AUX_HEAD = re.compile(r"aux\d*")
IDENTITIES = (
    keras.layers.ActivityRegularization,
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
)


class Graph:
    """The calls of a Functional or Sequential model that its inference consists of.

    Auxiliary heads, dropout and other layers that only training knows are not in it. A call is a
    Keras node: an `operation` with `arguments`, `input_tensors` and `outputs`.

    Args:
        model: built, Functional or Sequential.

    Attributes:
        inputs: the model's input tensors, structured as the model's.
        outputs: its output tensors, structured as the model's; of a dict without "aux", "aux1" and
            so on, and "predictions" by itself where that is what remains.
        calls: in the order of computation.

    Raises:
        InputError: if the model has no graph: subclassed, or a Sequential that was never built.
    """

    def __init__(self, model: keras.Model) -> None:
        self.inputs, outputs = _ends(model)
        whole = keras.Model(self.inputs, outputs, name=model.name)
        self._same: dict[int, keras.KerasTensor] = {}
        self._users: dict[int, list] = defaultdict(list)
        self.calls = []
        for depth in sorted(whole._nodes_by_depth, reverse=True):
            for call in whole._nodes_by_depth[depth]:
                if type(call.operation) in IDENTITIES:
                    self._same[id(call.outputs[0])] = self.source(call.input_tensors[0])
                elif not call.is_input:
                    self.calls.append(call)
        self.outputs = keras.tree.map_structure(self.source, outputs)
        for call in self.calls:
            for tensor in call.input_tensors:
                self._users[id(self.source(tensor))].append(call)
        for tensor in keras.tree.flatten(self.outputs):
            self._users[id(tensor)].append(None)
        self._producers = {id(tensor): call for call in self.calls for tensor in call.outputs}
        self._times_called = Counter(id(call.operation) for call in self.calls)

    def source(self, tensor: keras.KerasTensor) -> keras.KerasTensor:
        """Return the tensor that this one is, seen through layers that do nothing in inference."""
        return self._same.get(id(tensor), tensor)

    def only_user(self, tensor: keras.KerasTensor) -> Any:
        """Return the call that alone uses a tensor, its operation not shared; otherwise None."""
        users = self._users[id(tensor)]
        if len(users) != 1 or users[0] is None or self.is_shared(users[0].operation):
            return None
        return users[0]

    def producer(self, tensor: keras.KerasTensor) -> Any:
        """Return the call that computes a tensor, None for an input of the model."""
        return self._producers.get(id(self.source(tensor)))

    def is_shared(self, operation: keras.Operation) -> bool:
        """Say whether the model calls an operation more than once."""
        return self._times_called[id(operation)] > 1

    def replay(self, apply: Callable[[Any, tuple, dict], Any]) -> tuple[Any, Any]:
        """Compute the graph anew on fresh inputs, with no layer told to train.

        Args:
            apply: given a call, and its arguments and keyword arguments with the new tensors in
                place, returns the new output.

        Returns:
            The new inputs and the new outputs, structured as `inputs` and `outputs`.
        """
        new = {}

        def fresh(tensor: keras.KerasTensor) -> keras.KerasTensor:
            shape, dtype = tensor.shape, tensor.dtype
            new[id(tensor)] = keras.Input(batch_shape=shape, dtype=dtype, name=tensor.name)
            return new[id(tensor)]

        def present(value: Any) -> Any:
            is_tensor = isinstance(value, keras.KerasTensor)
            return new[id(self.source(value))] if is_tensor else value

        inputs = keras.tree.map_structure(fresh, self.inputs)
        for call in self.calls:
            given = {k: v for k, v in call.arguments.kwargs.items() if k != "training"}
            arguments = (call.arguments.args, given)
            result = apply(call, *keras.tree.map_structure(present, arguments))
            for old, tensor in zip(call.outputs, keras.tree.flatten(result), strict=True):
                new[id(old)] = tensor
        return inputs, keras.tree.map_structure(present, self.outputs)


def has_graph(operation: Any) -> bool:
    """Say whether an operation is a model whose graph can be read."""
    if isinstance(operation, keras.Sequential):
        return operation.built
    return isinstance(operation, keras.Model) and isinstance(operation, keras.Function)


def main_model(model: keras.Model) -> keras.Model:
    """Return a model from its images to its main output; it shares the layers.

    Args:
        model: Functional or Sequential, built.

    Returns:
        A Functional model of one tensor each; the output is the only one, or "predictions".

    Raises:
        InputError: if there is no graph, more than one input or another than a batch of images, or
            several outputs of which none is "predictions".
    """
    _, outputs = _ends(model)
    if isinstance(outputs, dict) and MAIN_OUTPUT in outputs:
        outputs = outputs[MAIN_OUTPUT]
    outputs = keras.tree.flatten(outputs)
    if len(outputs) != 1:
        raise InputError(
            f"{model.name} has {len(outputs)} outputs and none is named {MAIN_OUTPUT!r}; take "
            "one: keras.Model(model.input, the_output)."
        )
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        raise InputError(
            f"{model.name} takes {' and '.join(str(tensor.shape) for tensor in model.inputs)}; "
            "expected one batch of images, (batch, height, width, channels)."
        )
    return keras.Model(model.inputs[0], outputs[0], name=model.name)


def _ends(model: keras.Model) -> tuple[Any, Any]:
    if not has_graph(model):
        raise InputError(
            f"{model!r} has no graph to work on; expected a Functional model, or a Sequential one "
            "that has been built (give it an Input, or call it once)."
        )
    if isinstance(model, keras.Sequential):
        return model.inputs[0], model.outputs[0]
    outputs = model.output
    if isinstance(outputs, dict):
        outputs = {
            name: output for name, output in outputs.items() if not _AUX_HEAD.fullmatch(name)
        }
        if outputs.keys() == {MAIN_OUTPUT}:
            outputs = outputs[MAIN_OUTPUT]
    return model.input, outputs
