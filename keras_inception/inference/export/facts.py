"""The metadata of an export, put together; `read_metadata` describes the schema."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras_inception._version import __version__
from keras_inception.class_names import imagenet_classes
from keras_inception.errors import InputError
from keras_inception.inference.export.metadata import SCHEMA
from keras_inception.inference.export.network import IMAGES, Network
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights import Checkpoint


def describe(
    network: Network,
    precision: str,
    folded: bool,
    class_names: Sequence[str] | None,
    checkpoint: Checkpoint | None,
) -> dict[str, Any]:
    """Return the metadata of a network that is exported.

    Args:
        network: what is exported.
        precision: of the file.
        folded: whether batch normalisations are folded.
        class_names: one a class; None: ImageNet's if a checkpoint with its classes is named.
        checkpoint: the public weights that the network has; None: others.

    Raises:
        InputError: if there are other numbers of names and outputs.
    """
    outputs = network.model.output_shape[-1]
    names = [name for _, name in imagenet_classes()]
    if class_names is not None:
        names = [str(name) for name in class_names]
        if len(names) != outputs:
            raise InputError(
                f"There are {len(names)} class_names, but {network.model.name} has {outputs} "
                "outputs."
            )
    elif checkpoint is None or not checkpoint.classes or len(names) != outputs:
        names = None
    preprocessing = network.preprocessing
    return {
        "schema": SCHEMA,
        "package": f"keras-inception {__version__}",
        "network": network.model.name,
        "weights": checkpoint and checkpoint.id,
        "licence": checkpoint and checkpoint.licence,
        "precision": precision,
        "folded": folded,
        "input": {
            "name": IMAGES,
            "shape": list(network.input_shape),
            "dtype": network.input_dtype,
            "layout": "NHWC",
            "channel_order": _channel_order(network),
            "range": _range(network),
        },
        "output": {
            "name": network.output_name,
            "shape": [network.batch_size, *network.model.output_shape[1:]],
        },
        "class_names": names,
        "preprocessing": preprocessing and _as_json_has_it(dataclasses.asdict(preprocessing)),
        "preprocessing_inside": network.inside,
    }


def _as_json_has_it(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in fields.items()}


def _channel_order(network: Network) -> str | None:
    if network.inside != "none":
        return "RGB"
    return network.preprocessing and network.preprocessing.channel_order


def _range(network: Network) -> list[float] | None:
    """Return the lowest and the highest value that the file's input has."""
    if network.inside != "none":
        return [0.0, 255.0]
    preprocessing: Preprocessing | None = network.preprocessing
    if preprocessing is None or preprocessing.mean is None:
        return None
    ends = [
        (value - mean) / std
        for mean, std in zip(preprocessing.mean, preprocessing.std, strict=True)
        for value in (0.0, 255.0)
    ]
    return [min(ends), max(ends)]
