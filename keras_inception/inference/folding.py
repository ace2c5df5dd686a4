"""Folding: the network as inference needs it, in stock layers and one precision."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_inception.errors import InputError, unknown
from keras_inception.inference import stock
from keras_inception.inference.graph import Graph, has_graph
from keras_inception.inference.plan import Plan
from keras_inception.layers import ScaledResidual

DTYPES = ("float32", "bfloat16", "float16")

_AFTER_HEAD = (
    keras.layers.Activation,
    keras.layers.BatchNormalization,
    keras.layers.Softmax,
    keras.layers.UnitNormalization,
)


def fold_batch_norm(
    model: keras.Model, dtype: str | None = None, *, move_pools: bool = True
) -> keras.Model:
    """Return a model for inference: the same function in fewer, stock layers.

    - Batch normalisations become part of the `Conv2D`, `DepthwiseConv2D`, `SeparableConv2D` or
      `Dense` layer before them, and so does a ReLU that follows.
    - A residual's scale becomes part of the linear layer that computes it.
    - An average pool of stride 1 before a 1x1 convolution moves behind it, before its ReLU, where
      there are fewer channels to be averaged, unless a layer before it pads it with zeros.
    - Auxiliary heads, dropout and what else only training knows are gone.
    - This package's own layers are expressed in Keras's, so that a saved folded model loads
      without this package.

    What cannot be folded exactly stays as it is: a normalisation after something that is not
    linear, or after a layer whose output something else uses too; layers that are called more than
    once. Models within the model are folded in themselves. A fused layer bears the name of the last
    layer that is part of it, so that `endpoints` and `feature_extractor` work as before.

    Args:
        model: built, Functional or Sequential; it is left alone and shares nothing with the result.
        dtype: None for the precision in which the model keeps its weights, normally float32. Or
            "float32"; or "bfloat16" or "float16" for weights and computation in 16 bits, of which
            a last dense layer and what follows it, such as the softmax, stay float32.
        move_pools: False: average pools stay where they are, as LiteRT needs it in 8 bits. There
            what a pool takes has the range of the concatenation that it ends in: nothing below 0.

    Returns:
        The folded model. In float32 it gives what `model(images, training=False)` gives, but for
        rounding.

    Raises:
        InputError: if the model has no graph, or the dtype is unknown, or a folded weight is too
            large for it.

    Example:
        >>> import keras_inception as ki
        >>> model = ki.InceptionV3(weights=None, input_shape=(75, 75, 3), width=0.1)
        >>> len(model.layers), len(ki.fold_batch_norm(model).layers)
        (311, 131)
    """
    if dtype is not None and dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    folded = _folded(model, dtype, has_head=True, move_pools=move_pools)
    refresh_folded(folded, model)
    return folded


def refresh_folded(folded: keras.Model, model: keras.Model) -> None:
    """Write a model's present weights into what `fold_batch_norm` made of it.

    Nothing is built again, and what was compiled from the folded model stays valid unless it froze
    the weights. (What `keras.layers.Normalization` was adapted to is a constant wherever it is
    compiled.) Layers are paired by name, so that either model may have been saved and loaded in
    between.

    Args:
        folded: what `fold_batch_norm` returned, in any dtype; changed in place.
        model: the model that it came from, or another one of the same architecture.

    Raises:
        InputError: if the models do not belong together, or a folded weight is too large for the
            folded model's dtype; nothing is written then.
    """
    targets = dict(_targets(folded))
    wanted = {path: len(layer.weights) for path, layer in targets.items()}
    for move_pools in (True, False):
        sources = dict(_sources(model, move_pools))
        found = {path: len(arrays) for path, arrays in sources.items()}
        if found == wanted:
            break
    else:
        odd = sorted({path for path, _ in found.items() ^ wanted.items()})
        raise InputError(
            f"{folded.name!r} is not what folding {model.name!r} gives: {len(odd)} layers are in "
            f"only one of them or have other weights, such as {odd[0]!r}. Fold the model again."
        )
    pairs = [
        (path, variable, array)
        for path, layer in targets.items()
        for variable, array in zip(layer.weights, sources[path], strict=True)
    ]
    for path, variable, array in pairs:
        _check_fit(path, variable, array)
    for _, variable, array in pairs:
        variable.assign(array)
    for layer in targets.values():
        if isinstance(layer, keras.layers.Normalization):
            _settle(layer)


def _settle(layer: keras.layers.Normalization) -> None:
    """Derive from a normalisation's weights what it computes with.

    As arrays, which are constants of what is traced; tensors would be inputs of it, that ONNX and
    OpenVINO then ask for.
    """
    layer.finalize_state()
    layer.mean, layer.variance = map(keras.ops.convert_to_numpy, (layer.mean, layer.variance))


def _folded(model: keras.Model, dtype: str | None, has_head: bool, move_pools: bool) -> keras.Model:
    """Build the folded model with weights that are still zero."""
    graph = Graph(model)
    plan = Plan(graph, move_pools)
    head = _head(graph) if has_head else set()
    replacements: dict[int, Callable] = {}

    def replacement(operation: keras.Operation) -> Callable:
        in_head = id(operation) in head
        if has_graph(operation):
            return _folded(operation, dtype, in_head, move_pools)
        precision = getattr(operation, "variable_dtype", None)
        if dtype is not None:
            precision = "float32" if in_head else dtype
        if type(operation) is ScaledResidual:
            return stock.residual(operation, plan.left_scale(operation), precision)
        if stock.has_window(operation):
            return stock.response_norm(operation, precision)
        if id(operation) in plan.fused:
            return stock.fused(plan.fused[id(operation)], precision)
        return stock.copy(operation, precision)

    def apply(call: Any, args: tuple, kwargs: dict) -> Any:
        if id(call) in plan.absorbed:
            return keras.tree.flatten((args, kwargs))[0]
        key = id(call.operation)
        if key not in replacements:
            replacements[key] = replacement(call.operation)
        return replacements[key](*args, **kwargs)

    return keras.Model(*graph.replay(apply), name=model.name)


def _sources(
    model: keras.Model, move_pools: bool, prefix: str = ""
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Yield, for each layer of the folded model that has weights, its path and what they are."""
    graph = Graph(model)
    plan = Plan(graph, move_pools)
    calls = [call for call in graph.calls if id(call) not in plan.absorbed]
    for operation in {id(call.operation): call.operation for call in calls}.values():
        if has_graph(operation):
            yield from _sources(operation, move_pools, f"{prefix}{operation.name}/")
        elif id(operation) in plan.fused:
            fused = plan.fused[id(operation)]
            yield prefix + fused.name, fused.weights()
        elif stock.has_window(operation):
            yield prefix + stock.window_name(operation), stock.window_weights(operation)
        elif getattr(operation, "weights", ()):
            yield prefix + operation.name, operation.get_weights()


def _targets(folded: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """Yield each layer that has variables, and its path."""
    for layer in folded.layers:
        if has_graph(layer):
            yield from _targets(layer, f"{prefix}{layer.name}/")
        elif layer.weights:
            yield prefix + layer.name, layer


def _check_fit(path: str, variable: keras.Variable, array: np.ndarray) -> None:
    if variable.shape != array.shape:
        raise InputError(
            f"The weights of {path!r} have the shape {array.shape}, but {tuple(variable.shape)} in "
            "the folded model. Fold the model again."
        )
    if variable.dtype == "float16" and np.abs(array).max(initial=0) > np.finfo("float16").max:
        raise InputError(
            f"A folded weight of {path!r} is {np.abs(array).max():.3g}, more than float16 holds. "
            'Fold with dtype="bfloat16" or "float32".'
        )


def _head(graph: Graph) -> set[int]:
    """Return the operations, by id, from a last dense layer or nested model to each output."""
    head = set()
    for output in keras.tree.flatten(graph.outputs):
        passed, call = set(), graph.producer(output)
        while call is not None and isinstance(call.operation, _AFTER_HEAD):
            passed.add(id(call.operation))
            call = graph.producer(call.input_tensors[0])
        if call is not None and (
            isinstance(call.operation, keras.layers.Dense) or has_graph(call.operation)
        ):
            head |= {*passed, id(call.operation)}
    return head
