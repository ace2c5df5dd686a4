"""The torch half of the comparison, a process of its own: TensorFlow and torch's CUDA build clash.

`python torch_side.py CASE FILE` builds a network of a torch library with random numbers, and writes
its variables and its outputs for an image as an .npz file.
"""

import sys
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Case:
    """A network of a torch library, and ours.

    Attributes:
        library: package that it comes from.
        name: of the network in the package.
        publisher: as `assign` takes it.
        model: name of our builder.
        architecture: of ours.
        size: of the image.
        options: arguments of the library's builder.
        aux: compare the auxiliary head too.
        dropped: heads in the library's state that ours does not have.
    """

    library: str
    name: str
    publisher: str
    model: str
    architecture: str
    size: int = 299
    options: dict = field(default_factory=dict, hash=False)
    aux: bool = False
    dropped: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.library}.{self.name}" + ("+aux" if self.aux else "")

    def image(self) -> np.ndarray:
        noise = np.random.default_rng(0).uniform(-1, 1, (2, self.size, self.size, 3))
        return noise.astype("float32")


_AUX = {"aux_logits": True}
CASES = (
    Case("timm", "inception_v3", "timm", "InceptionV3", "torchvision"),
    Case("timm", "inception_v3", "timm", "InceptionV3", "torchvision", options=_AUX, aux=True),
    Case("timm", "inception_v4", "timm", "InceptionV4", "paper"),
    Case("timm", "inception_resnet_v2", "timm", "InceptionResNetV2", "slim"),
    Case("torchvision", "googlenet", "torchvision", "GoogLeNet", "torchvision", 224,
         options=_AUX, dropped=("aux1", "aux2")),
    Case("torchvision", "inception_v3", "torchvision", "InceptionV3", "torchvision",
         options=_AUX, aux=True),
    Case("facenet_pytorch", "logits", "facenet", "InceptionResNetV1", "facenet", 160,
         options={"classify": True, "num_classes": 50}),
    Case("facenet_pytorch", "embedding", "facenet", "InceptionResNetV1", "facenet", 160,
         options={"classify": False}),
    Case("pytorchcv", "bninception", "osmr", "BNInception", "caffe", 224),
    Case("pytorchcv", "inceptionv3", "osmr", "InceptionV3", "torchvision"),
    Case("pytorchcv", "inceptionv4", "osmr", "InceptionV4", "paper"),
    Case("pytorchcv", "inceptionresnetv1", "osmr", "InceptionResNetV1", "facenet"),
    Case("pytorchcv", "inceptionresnetv2", "osmr", "InceptionResNetV2", "slim"),
    Case("pretrainedmodels", "bninception", "cadene", "BNInception", "caffe", 224),
    Case("pretrainedmodels", "inceptionv4", "cadene", "InceptionV4", "paper",
         options={"num_classes": 1001}),
    Case("pretrainedmodels", "inceptionresnetv2", "cadene", "InceptionResNetV2", "slim",
         options={"num_classes": 1001}),
)  # fmt: skip


def build(case):
    """Return the library's network, in evaluation, with statistics other than the initial ones."""
    import torch

    torch.manual_seed(0)
    model = _BUILDERS[case.library](case).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            for tensor in (module.weight.data, module.running_var):
                tensor.copy_(0.5 + torch.rand(tensor.shape))
            for tensor in (module.bias.data, module.running_mean):
                tensor.copy_(0.1 * torch.randn(tensor.shape))
    return model


def _timm(case):
    import timm

    return timm.create_model(case.name, pretrained=False, **case.options)


def _torchvision(case):
    import torchvision

    network = getattr(torchvision.models, case.name)
    return network(weights=None, init_weights=False, transform_input=False, **case.options)


def _facenet_pytorch(case):
    import facenet_pytorch

    return facenet_pytorch.InceptionResnetV1(pretrained=None, **case.options)


def _pytorchcv(case):
    from pytorchcv.model_provider import get_model

    return get_model(case.name, pretrained=False, **case.options)


def _pretrainedmodels(case):
    import pretrainedmodels

    return getattr(pretrainedmodels, case.name)(**{"pretrained": None} | case.options)


_BUILDERS = {
    "timm": _timm,
    "torchvision": _torchvision,
    "facenet_pytorch": _facenet_pytorch,
    "pytorchcv": _pytorchcv,
    "pretrainedmodels": _pretrainedmodels,
}


def outputs(case, model):
    """Return the outputs under our names; in evaluation the auxiliary head has to be asked for."""
    import torch

    found = {}

    def call_head(module, inputs, output):
        found["aux"] = model.AuxLogits(output)

    if case.aux:
        model.Mixed_6e.register_forward_hook(call_head)
    with torch.no_grad():
        result = model(torch.from_numpy(case.image().transpose(0, 3, 1, 2)))
    found["predictions"] = result[0] if isinstance(result, tuple) else result  # timm gives both
    return found


def main():
    case = next(case for case in CASES if case.id == sys.argv[1])
    model = build(case)
    arrays = {f"output:{name}": value.numpy() for name, value in outputs(case, model).items()}
    arrays |= {f"tensor:{name}": value.numpy() for name, value in model.state_dict().items()}
    np.savez(sys.argv[2], **arrays)


if __name__ == "__main__":
    main()
