"""The public builders: one signature and one set of checks for seven networks."""

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import keras

from keras_inception import heads
from keras_inception.blocks import Drawing, ShrunkToNothing, Style, Tensor, channel_axis, draw
from keras_inception.errors import InputError, unknown
from keras_inception.networks import NETWORKS, Architecture, Network
from keras_inception.weights import loading, own_files
from keras_inception.weights.manifest import ALIASES

Shape = tuple[int | None, ...]

_USUAL_CHANNELS = (1, 3, 4)
_MOST_CHANNELS = 32  # of an image that is not as wide as one of the usual channels
_POOLINGS = (None, "avg", "max")
_BOTTLENECK_POOLINGS = ("bottleneck", "embedding")


def _builder(network: Network) -> Callable[..., keras.Model]:
    """Return the public builder of a network."""

    def builder(
        include_top: bool = True,
        weights: str | os.PathLike | None = network.default_weights,
        input_tensor: Any = None,
        input_shape: Shape | None = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Any = "softmax",
        name: str | None = None,
        *,
        architecture: str | None = None,
        aux_heads: bool = False,
        width: float = 1.0,
        dropout: float | None = None,
        kernel_regularizer: Any = None,
        batch_norm_momentum: float = 0.99,
        **options: Any,
    ) -> keras.Model:
        trunks = _trunks(network, architecture)
        source = loading.find(weights, network.name, architecture, width, trunks)
        if source is not None:
            source.check_aux_heads(aux_heads)
        architecture = architecture or (source and source.architecture) or "paper"
        form = _architecture(network, architecture)
        _check_heads(network, architecture, include_top, aux_heads, pooling, dropout)
        classes = _count("classes", classes)
        rate = form.dropout if dropout is None else _fraction("dropout", dropout)
        style = _style(network, architecture, width, kernel_regularizer, batch_norm_momentum)
        options = _options(network, options)
        image = _image(network, input_tensor, input_shape)

        with draw(style) as drawing:
            try:
                features = form.trunk(image, **options)
                if include_top:
                    top = (classes, classifier_activation)
                    outputs = _classified(form, drawing, features, top, rate, aux_heads)
                else:
                    outputs = _pooled(form, features, pooling, rate)
            except ShrunkToNothing as shrunk:
                raise _too_small(network, architecture, aux_heads, options, image, shrunk) from None
        inputs = _source(image)
        model = keras.Model(inputs, outputs, name=name or network.slug)
        if source is not None:
            again = functools.partial(builder, weights=None, architecture=architecture)
            source.load(model, again)
        return model

    builder.__name__ = builder.__qualname__ = network.name
    builder.__doc__ = _docstring(network)
    builder.__signature__ = _signature(builder, network.options)
    return builder


def list_models() -> list[str]:
    """Return the names of the builders, one a network."""
    return list(NETWORKS)


def build(model: str, **arguments: Any) -> keras.Model:
    """Build a network by the name of its builder.

    Args:
        model: one of `list_models()`, or "InceptionV1".
        **arguments: of the builder.

    Returns:
        The model.

    Raises:
        InputError: if there is no such network, near names suggested; or as the builder raises.
    """
    if model not in BUILDERS:
        raise unknown("model", model, BUILDERS)
    return BUILDERS[model](**arguments)


@functools.cache
def smallest_input(
    model: str, architecture: str = "paper", aux_heads: bool = False, **options: Any
) -> int:
    """Return the smallest height and width that a network works on, computed from its graph.

    Args:
        model: one of `list_models()`, or "InceptionV1".
        architecture: as for the builder.
        aux_heads: whether the auxiliary heads have to fit too.
        **options: arguments that this network's builder alone takes; only hashable values.

    Returns:
        Pixels.
    """
    form = {"architecture": architecture, "aux_heads": aux_heads, **options}
    narrow = build(model, weights=None, classes=1, width=1e-9, **form)
    on_grid = [layer for layer in narrow.layers[1:] if len(layer.output.shape) == 4]

    def fits(size: int) -> bool:
        shapes = {id(narrow.input): (1, *_image_shape(size, 3))}
        for layer in on_grid:
            inputs = keras.tree.map_structure(lambda tensor: shapes[id(tensor)], layer.input)
            try:
                shape = layer.compute_output_shape(inputs)
            except ValueError:
                return False
            if min(shape) < 1:
                return False
            shapes[id(layer.output)] = shape
        return True

    too_small, enough = 0, NETWORKS[ALIASES.get(model, model)].input_size
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        too_small, enough = (too_small, middle) if fits(middle) else (middle, enough)
    return enough


def _classified(
    form: Architecture,
    drawing: Drawing,
    features: Tensor,
    top: tuple[int, Any],
    dropout: float,
    aux_heads: bool,
) -> Tensor | dict[str, Tensor]:
    if form.bottleneck:
        predictions = heads.scores(heads.bottleneck(features, form.bottleneck, dropout), *top)
    else:
        predictions = heads.classifier(features, *top, dropout)
    if not aux_heads:
        return predictions
    outputs = {"predictions": predictions}
    for name, block in form.aux.items():
        head = form.aux_head(drawing.blocks[block], name)
        outputs[name] = heads.scores(head, *top, prefix=f"{name}_")
    return outputs


def _pooled(form: Architecture, features: Tensor, pooling: str | None, dropout: float) -> Tensor:
    if pooling is None:
        return features
    if pooling in _BOTTLENECK_POOLINGS:
        code = heads.bottleneck(features, form.bottleneck, dropout)
        return code if pooling == "bottleneck" else heads.embedding(code)
    return heads.pool(features, pooling)


def _trunks(network: Network, likely: str | None) -> Iterator[tuple[str, own_files.Trunk]]:
    """Yield the architectures that a file's layers have to be told apart by, the likely first."""
    several = network.architectures if len(network.architectures) > 1 else ()
    for architecture in sorted(several, key=lambda name: name != likely):
        yield architecture, _trunk(network.name, architecture)


@functools.cache
def _trunk(model: str, architecture: str) -> own_files.Trunk:
    with loading.drawing_no_seeds():  # which must not depend on this cache
        narrow = build(
            model, weights=None, architecture=architecture, include_top=False, width=1e-9
        )
    return own_files.trunk_of(narrow)


def _architecture(network: Network, architecture: str) -> Architecture:
    if architecture not in network.architectures:
        raise unknown(f"architecture of {network.name}", architecture, network.architectures)
    return network.architectures[architecture]


def _check_heads(
    network: Network,
    architecture: str,
    include_top: bool,
    aux_heads: bool,
    pooling: str | None,
    dropout: float | None,
) -> None:
    form = _architecture(network, architecture)
    poolings = _POOLINGS + (_BOTTLENECK_POOLINGS if form.bottleneck else ())
    if pooling not in poolings:
        raise InputError(
            f"pooling is {pooling!r}; {network.name} ({architecture}) knows "
            f"{', '.join(map(repr, poolings))}."
        )
    if include_top and pooling in _BOTTLENECK_POOLINGS:
        raise InputError(
            f"pooling={pooling!r} is the output below the classes; it needs include_top=False."
        )
    if aux_heads and not form.aux:
        having = [f"{n.name} ({a})" for n in NETWORKS.values() for a in n.architectures
                  if n.architectures[a].aux]  # fmt: skip
        raise InputError(
            f"{network.name} ({architecture}) has no auxiliary heads; build it with "
            f"aux_heads=False. These have some: {', '.join(having)}."
        )
    if aux_heads and not include_top:
        raise InputError(
            "aux_heads=True needs include_top=True: auxiliary heads are classifiers as well."
        )
    if dropout is not None and not include_top and pooling not in _BOTTLENECK_POOLINGS:
        raise InputError(
            f"dropout={dropout} has nothing to act on with include_top=False: it stands between "
            "the pool and the classes. Leave it out."
        )


def _style(
    network: Network,
    architecture: str,
    width: float,
    kernel_regularizer: Any,
    batch_norm_momentum: float,
) -> Style:
    style = _architecture(network, architecture).style
    if not isinstance(width, Real) or not 0 < width < float("inf"):
        raise InputError(f"width is {width!r}; expected a positive number, 1.0 for the paper's.")
    if batch_norm_momentum != Style.momentum and not style.batch_norm:
        raise InputError(
            f"batch_norm_momentum={batch_norm_momentum} has nothing to act on: {network.name} "
            f"({architecture}) has no batch normalisation. Leave it out."
        )
    momentum = _fraction("batch_norm_momentum", batch_norm_momentum)
    return replace(style, width=width, momentum=momentum, kernel_regularizer=kernel_regularizer)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise InputError(f"{name} is {value!r}; expected a whole number of 1 or more.")
    return int(value)


def _fraction(name: str, value: Any) -> float:
    if not isinstance(value, Real) or not 0 <= value < 1:
        raise InputError(f"{name} is {value!r}; expected a number from 0 up to, not including, 1.")
    return float(value)


def _options(network: Network, options: Mapping[str, Any]) -> dict[str, Any]:
    """Check the arguments that this network alone takes, and fill in the defaults."""
    for name in options:
        if name not in network.options:
            known = inspect.signature(BUILDERS[network.name]).parameters
            raise TypeError(f"{network.name}: {unknown('argument', name, known)}")
    chosen = {**network.options, **options}
    if "residual_scales" in chosen:
        chosen["residual_scales"] = _scales(chosen["residual_scales"])
    return chosen


def _scales(scales: Any) -> tuple[float, float, float]:
    triple = tuple(scales) if isinstance(scales, Iterable) else (scales,) * 3
    if len(triple) != 3 or not all(isinstance(scale, Real) for scale in triple):
        raise InputError(
            f"residual_scales is {scales!r}; expected one number for all blocks, or three: "
            "for the blocks A, B and C."
        )
    return triple


def _image(network: Network, input_tensor: Any, input_shape: Shape | None) -> Tensor:
    """Return the network's input, as `keras.applications` makes it."""
    usual = _image_shape(network.input_size, 3)
    if input_shape is not None:
        input_shape = _checked_shape(input_shape, usual)
    if input_tensor is not None and not keras.backend.is_keras_tensor(input_tensor):
        shape = getattr(input_tensor, "shape", None)
        of_shape = "" if shape is None else f" of shape {shape}"
        raise InputError(
            f"input_tensor is a {type(input_tensor).__name__}{of_shape}; expected a symbolic "
            f"tensor, such as keras.Input({usual}). Images themselves go to the model."
        )
    image = input_tensor
    if image is None:
        image = keras.Input(input_shape or usual, name="images")
    if len(image.shape) != 4 or image.shape[channel_axis()] is None:
        raise InputError(
            f"The input has shape {tuple(image.shape)}; expected a batch of images with a known "
            f"number of channels, for example {(None, *usual)}."
        )
    if input_shape is not None and tuple(image.shape[1:]) != input_shape:
        raise InputError(
            f"input_tensor has shape {tuple(image.shape)} and input_shape says {input_shape}; "
            "give only one of them."
        )
    return image


def _checked_shape(shape: Any, usual: Shape) -> Shape:
    """Return the shape of an image as plain numbers."""
    axes = tuple(shape) if isinstance(shape, Iterable) else ()
    if len(axes) != 3 or not all(
        axis is None or (isinstance(axis, Integral) and axis > 0) for axis in axes
    ):
        raise InputError(
            f"input_shape is {shape!r}; expected three positive numbers, for example {usual}; "
            "None stands for any height or width."
        )
    shape = tuple(axis if axis is None else int(axis) for axis in axes)
    other_end = 0 if channel_axis() == -1 else -1
    if shape[other_end] in _USUAL_CHANNELS and (shape[channel_axis()] or 0) > _MOST_CHANNELS:
        raise InputError(
            f"input_shape is {shape}, which has {shape[channel_axis()]} channels, as "
            f"keras.config.image_data_format() is {keras.config.image_data_format()!r}. Expected, "
            f"for example, {usual}."
        )
    return shape


def _source(image: Tensor) -> Tensor | list[Tensor]:
    """Return what the image is computed from: itself, unless it is an inner tensor."""
    sources = keras.utils.get_source_inputs(image)
    return sources[0] if len(sources) == 1 else sources


def _image_shape(size: int, channels: int) -> Shape:
    grid = (size, size)
    return (*grid, channels) if channel_axis() == -1 else (channels, *grid)


def _too_small(
    network: Network,
    architecture: str,
    aux_heads: bool,
    options: Mapping[str, Any],
    image: Tensor,
    shrunk: ShrunkToNothing,
) -> InputError:
    height, width = image.shape[1:3] if channel_axis() == -1 else image.shape[2:4]
    smallest = smallest_input(network.name, architecture, aux_heads, **options)
    with_heads = " with its auxiliary heads" if aux_heads else ""
    return InputError(
        f"{network.name} ({architecture}){with_heads} cannot work on {height}x{width} images: "
        f"layer {shrunk.layer!r} would shrink to nothing. "
        f"Give images of at least {smallest}x{smallest} pixels."
    )


def _signature(builder: Callable, options: Mapping[str, Any]) -> inspect.Signature:
    """Return the builder's signature with the network's own options spelled out."""
    signature = inspect.signature(builder)
    shared = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    own = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in options.items()
    ]
    return signature.replace(parameters=[*shared, *own])


_OPTION_DOCS = {
    "stem": """\
stem: "factorized", the three 3x3 convolutions of table 1, or "7x7", the one layer that
            they replace (the rows of table 3 above "factorized 7x7").""",
    "stem_stride": """\
stem_stride: stride of the first convolution, 2 or 1. Table 2 has it 1 for smaller images: at
            151 pixels the network then costs what it costs at 299 with 2. The weights fit both.""",
    "stem_pool": """\
stem_pool: whether the first pool is there. Table 2 leaves it out, too, at 79 pixels.""",
    "residual_scales": """\
residual_scales: factors on the residuals of the blocks A, B and C (section 3.3); one number
            serves all three. Default (0.17, 0.10, 0.20), the authors' release.""",
}


def _docstring(network: Network) -> str:
    architectures = ", ".join(f'"{name}"' for name in network.architectures)
    dropouts = ", ".join(f"{form.dropout:g} ({a})" for a, form in network.architectures.items())
    options = "".join(f"\n        {_OPTION_DOCS[name]}" for name in network.options)
    embedding = (
        '\n            The facenet architecture also knows "bottleneck" (512 numbers) and '
        '"embedding"\n            (the same at length 1).'
        if any(form.bottleneck for form in network.architectures.values())
        else ""
    )
    return f"""Build {network.name} ({network.paper}).

    The first eight arguments are those of `keras.applications`.

    Args:
        include_top: end in the classifier; otherwise in the features, as `pooling` says.
        weights: None for random numbers; "imagenet"; an id that `list_weights("{network.name}")`
            lists; or the path of a `.weights.h5` or `.keras` file written from this network, with
            the same classes. Of named weights with other classes only the trunk is loaded. A file's
            architecture is known by its layers, unless only a part of a network was saved.
            Default {network.default_weights!r}.
        input_tensor: tensor (batch, height, width, channels) to build on.
        input_shape: shape of an image, by default ({network.input_size}, {network.input_size}, 3);
            other sizes work with the top too, None stands for any height or width. Values are
            expected as `ki.preprocessing` of the weights' id gives them; of networks without
            public weights, as `preprocess_input` does.
        pooling: with include_top=False: None for the feature map, "avg" or "max" for global
            pooling.{embedding}
        classes: number of classes.
        classifier_activation: of the last layer; None gives logits.
        name: of the model, by default "{network.slug}".
        architecture: one of {architectures}; by default what the weights need, also those of
            a file, else "paper".
        aux_heads: add the auxiliary classifiers; the output is then a dict with "predictions"
            and {" ".join(repr(h) for h in _aux_names(network)) or "(none in this network)"}.
        width: factor on every filter count and on the hidden units of the heads; counts are
            multiples of 8 then, at least 8. 1.0 leaves the paper's numbers untouched.
        dropout: rate before the classifier, by default {dropouts}. That of auxiliary heads, where
            the paper has one, stays.
        kernel_regularizer: of every convolution and dense kernel.
        batch_norm_momentum: of the moving statistics in every batch normalisation.{options}

    Returns:
        A Functional `keras.Model`. Predictions are (batch, classes), float32 under any mixed
        precision; feature maps (batch, height, width, channels).

    Raises:
        InputError: a ValueError that says what was given, what was expected and how to mend it;
            for an image that is too small, with the smallest size and the layer that would vanish.
        TypeError: for an argument that this network does not have.
    """


def _aux_names(network: Network) -> list[str]:
    return sorted({name for form in network.architectures.values() for name in form.aux})


GoogLeNet = InceptionV1 = _builder(NETWORKS["GoogLeNet"])
BNInception = _builder(NETWORKS["BNInception"])
InceptionV2 = _builder(NETWORKS["InceptionV2"])
InceptionV3 = _builder(NETWORKS["InceptionV3"])
InceptionV4 = _builder(NETWORKS["InceptionV4"])
InceptionResNetV1 = _builder(NETWORKS["InceptionResNetV1"])
InceptionResNetV2 = _builder(NETWORKS["InceptionResNetV2"])

BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "GoogLeNet": GoogLeNet,
    "BNInception": BNInception,
    "InceptionV2": InceptionV2,
    "InceptionV3": InceptionV3,
    "InceptionV4": InceptionV4,
    "InceptionResNetV1": InceptionResNetV1,
    "InceptionResNetV2": InceptionResNetV2,
}
BUILDERS |= {alias: BUILDERS[name] for alias, name in ALIASES.items()}
