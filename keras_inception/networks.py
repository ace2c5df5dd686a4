"""The table of networks: for each architecture its graph, style, heads and constants.

`"paper"` is the network as its paper prints it; the others are what public weights need
(docs/weights.md names the checkpoints).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from keras_inception import heads
from keras_inception.blocks import Style, Tensor, max_pool
from keras_inception.nets.bn_inception import bn_inception
from keras_inception.nets.googlenet import googlenet
from keras_inception.nets.inception_resnet_v1 import (
    RELEASED_SCALES,
    facenet,
    inception_resnet_v1,
)
from keras_inception.nets.inception_resnet_v2 import inception_resnet_v2, released
from keras_inception.nets.inception_v2 import inception_v2
from keras_inception.nets.inception_v3 import inception_v3
from keras_inception.nets.inception_v4 import inception_v4


@dataclass(frozen=True)
class Architecture:
    """One form of a network.

    Attributes:
        trunk: the graph function: a batch of images, and the network's options, to features.
        dropout: rate before the classifier.
        style: how its boxes are built, before the caller's width, momentum and regulariser.
        aux: the auxiliary heads: output name to the block that it stands on.
        aux_head: the features of an auxiliary head, from a block and the head's name.
        bottleneck: units of a dense layer between the pool and the classes; 0 for none.
    """

    trunk: Callable[..., Tensor]
    dropout: float
    style: Style = Style()
    aux: Mapping[str, str] = field(default_factory=dict)
    aux_head: heads.AuxHead = heads.inception_aux
    bottleneck: int = 0


@dataclass(frozen=True)
class Network:
    """One network of the papers.

    Attributes:
        name: of the public builder.
        slug: the same in lower case, the default name of its models.
        paper: authors, year and number of the paper.
        input_size: height and width of its images, in pixels.
        architectures: by name, "paper" first.
        options: arguments of this builder alone, with their defaults.
        default_weights: what the builder loads if not told otherwise.
    """

    name: str
    slug: str
    paper: str
    input_size: int
    architectures: Mapping[str, Architecture]
    options: Mapping[str, Any] = field(default_factory=dict)
    default_weights: str | None = "imagenet"


_AS_SLIM = {"lrn": False, "largest": 3, "last_pool": 2}
_GOOGLENET_AUX = {
    "aux": {"aux1": "inception_4a", "aux2": "inception_4d"},
    "aux_head": heads.googlenet_aux,
}
_SCALES = {"residual_scales": RELEASED_SCALES}

NETWORKS = {
    network.name: network
    for network in (
        Network(
            "GoogLeNet",
            "googlenet",
            "Szegedy et al. 2014, arXiv:1409.4842",
            224,
            {
                "paper": Architecture(googlenet, 0.4, Style(batch_norm=False), **_GOOGLENET_AUX),
                "slim": Architecture(partial(googlenet, **_AS_SLIM), 0.2),
                "torchvision": Architecture(
                    partial(googlenet, **_AS_SLIM), 0.2, Style(symmetric=True)
                ),
                "caffe": Architecture(
                    googlenet, 0.4, Style(batch_norm=False, symmetric=True), **_GOOGLENET_AUX
                ),
            },
        ),
        Network(
            "BNInception",
            "bn_inception",
            "Ioffe & Szegedy 2015, arXiv:1502.03167",
            224,
            {
                "paper": Architecture(bn_inception, 0.0),
                "slim": Architecture(partial(bn_inception, separable_stem=True), 0.2),
                "caffe": Architecture(
                    partial(bn_inception, projection_4cd=128),
                    0.0,
                    Style(bias=True, epsilon=1e-5, symmetric=True, count_padding=True),
                ),
            },
        ),
        Network(
            "InceptionV2",
            "inception_v2",
            "Szegedy et al. 2015, arXiv:1512.00567",
            299,
            {"paper": Architecture(inception_v2, 0.2, aux={"aux": "mixed_6f"})},
            options={"stem": "factorized"},
            default_weights=None,
        ),
        Network(
            "InceptionV3",
            "inception_v3",
            "Szegedy et al. 2015, arXiv:1512.00567",
            299,
            {
                "paper": Architecture(inception_v3, 0.2, aux={"aux": "mixed_6e"}),
                "torchvision": Architecture(
                    inception_v3, 0.5, Style(count_padding=True), aux={"aux": "mixed_6e"}
                ),
                "fid": Architecture(partial(inception_v3, last_pool=max_pool), 0.2),
            },
            options={"stem_stride": 2, "stem_pool": True},
        ),
        Network(
            "InceptionV4",
            "inception_v4",
            "Szegedy et al. 2016, arXiv:1602.07261",
            299,
            # The auxiliary head is the release's; the paper has none.
            {"paper": Architecture(inception_v4, 0.2, aux={"aux": "mixed_6h"})},
        ),
        Network(
            "InceptionResNetV1",
            "inception_resnet_v1",
            "Szegedy et al. 2016, arXiv:1602.07261",
            299,
            {
                "paper": Architecture(inception_resnet_v1, 0.2),
                "facenet": Architecture(facenet, 0.2, bottleneck=512),
            },
            options=_SCALES,
        ),
        Network(
            "InceptionResNetV2",
            "inception_resnet_v2",
            "Szegedy et al. 2016, arXiv:1602.07261",
            299,
            {
                "paper": Architecture(inception_resnet_v2, 0.2),
                "slim": Architecture(released, 0.2, aux={"aux": "block17_20"}),
            },
            options=_SCALES,
        ),
    )
}
"""Every network, by the name of its builder."""
