"""Exact rewritings of folded networks, to weigh them against what folding does.

Each takes a folded model and returns one that gives the same.
"""

from collections import defaultdict

import keras
import numpy as np
from keras import layers

from keras_inception.inference import stock
from keras_inception.inference.graph import Graph


def pool_first(model: keras.Model) -> keras.Model:
    """Undo what folding does to average pools: put them before their 1x1 convolutions again."""
    graph = Graph(model)
    pools = {}
    for call in graph.calls:
        conv = graph.producer(call.input_tensors[0])
        if (
            isinstance(call.operation, layers.AveragePooling2D)
            and conv is not None
            and is_pointwise(conv.operation)
            and conv.operation.activation is keras.activations.linear
        ):
            relu = graph.only_user(call.outputs[0])
            pools[id(conv)], pools[id(call)], pools[id(relu)] = call, None, None

    def apply(call, args, kwargs):
        operation = call.operation
        if id(call) not in pools:
            return stock.copy(operation, precision(operation))(*args, **kwargs)
        if pools[id(call)] is None:
            return args[0]
        pool = stock.copy(pools[id(call)].operation, precision(operation))
        return stock.copy(operation, precision(operation), activation="relu")(pool(*args))

    rewritten = keras.Model(*graph.replay(apply), name=model.name)
    for layer in model.layers:
        if layer.weights:
            write(rewritten.get_layer(layer.name), layer.weights)
    return rewritten


def merge_pointwise(model: keras.Model) -> keras.Model:
    """Compute the 1x1 convolutions of one tensor as a single one, and split its output."""
    graph = Graph(model)
    groups = defaultdict(list)
    for call in graph.calls:
        if is_pointwise(call.operation):
            source = id(graph.source(call.input_tensors[0]))
            groups[source, call.operation.activation].append(call.operation)
    groups = [group for group in groups.values() if len(group) > 1]
    group_of = {id(layer): group for group in groups for layer in group}
    pieces = {}

    def apply(call, args, kwargs):
        operation = call.operation
        group = group_of.get(id(operation))
        if group is None:
            return stock.copy(operation, precision(operation))(*args, **kwargs)
        if id(operation) not in pieces:
            filters = [layer.filters for layer in group]
            merged = stock.copy(
                operation,
                precision(operation),
                filters=sum(filters),
                name=f"{group[0].name}_merged",
            )
            split = keras.ops.split(merged(*args), list(np.cumsum(filters)[:-1]), axis=-1)
            pieces.update(zip(map(id, group), split, strict=True))
        return pieces[id(operation)]

    rewritten = keras.Model(*graph.replay(apply), name=model.name)
    for group in groups:
        arrays = zip(*(layer.get_weights() for layer in group), strict=True)
        merged = [np.concatenate(values, axis=-1) for values in arrays]
        write(rewritten.get_layer(f"{group[0].name}_merged"), merged)
    for layer in model.layers:
        if layer.weights and id(layer) not in group_of:
            write(rewritten.get_layer(layer.name), layer.weights)
    return rewritten


def rescale_first(model: keras.Model) -> keras.Model:
    """Put the papers' scaling of 0..255 to -1..1 before the model, as a layer."""
    image = model.inputs[0]
    inputs = keras.Input(batch_shape=image.shape, name="pixels")
    scaled = layers.Rescaling(1 / 127.5, -1.0, dtype="float32")(inputs)
    return keras.Model(inputs, model(scaled), name=model.name)


def rescale_in_kernel(model: keras.Model) -> keras.Model:
    """Let the first convolution do that scaling; it must be without padding to be exact."""
    copied = keras.models.clone_model(model)
    copied.set_weights(model.get_weights())
    first = next(layer for layer in copied.layers if layer.weights)
    if first.padding != "valid":
        raise ValueError(f"{first.name} pads its input.")
    kernel, bias = (np.float64(keras.ops.convert_to_numpy(value)) for value in first.weights)
    write(first, [kernel / 127.5, bias - kernel.sum((0, 1, 2))])
    return copied


def is_pointwise(layer) -> bool:
    """Say whether a layer is a 1x1 convolution, each place by itself."""
    return (
        isinstance(layer, layers.Conv2D)
        and layer.kernel_size == (1, 1)
        and layer.strides == (1, 1)
        and layer.groups == 1
    )


def precision(layer) -> str | None:
    """Return the precision that a layer of a folded model has."""
    return getattr(layer, "variable_dtype", None)


def write(layer: keras.Layer, values) -> None:
    """Assign a layer's weights."""
    for variable, value in zip(layer.weights, values, strict=True):
        variable.assign(value)
