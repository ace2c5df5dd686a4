"""How each publisher names the variables of the networks: a rule each, no table of tensors."""

from collections.abc import Collection

from keras_inception.errors import unknown
from keras_inception.weights.mapping import caffe, keras_files, own, slim, torch_names
from keras_inception.weights.mapping.scheme import Scheme

PUBLISHERS: dict[str, tuple[Scheme, ...]] = {
    "slim": (slim.SCHEME,),
    "keras": (keras_files.SCHEME,),
    "torchvision": (torch_names.INCEPTION_V3, torch_names.GOOGLENET),
    "timm": (torch_names.INCEPTION_V3, torch_names.INCEPTION_V4, torch_names.INCEPTION_RESNET_V2),
    "cadene": (
        caffe.CADENE_BN_INCEPTION,
        torch_names.INCEPTION_V4,
        torch_names.INCEPTION_RESNET_V2,
    ),
    "facenet": (slim.SCHEME, torch_names.FACENET),
    "osmr": (torch_names.OSMR,),
    "pytorch_fid": (torch_names.INCEPTION_V3,),
    "caffe": (caffe.CAFFE,),
    "keras_inception": (own.SCHEME,),
}
"""For each publisher the ways in which its files name things; a file is in one of them."""


def scheme_of(publisher: str, names: Collection[str]) -> Scheme:
    """Return that of a publisher's schemes which knows most of the names in a file.

    Args:
        publisher: one of `PUBLISHERS`.
        names: of the tensors in the file.

    Raises:
        InputError: if there is no such publisher; near ones are suggested.
    """
    if publisher not in PUBLISHERS:
        raise unknown("publisher", publisher, PUBLISHERS)

    def known(scheme: Scheme) -> int:
        return sum(place is not None for place in scheme.locate(names).values())

    return max(PUBLISHERS[publisher], key=known)
