"""Files of torch.save, and what torch.load would open and the reader does not."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from keras_inception.errors import InputError
from keras_inception.weights.readers import read_checkpoint
from tests.weights.readers_files import values, write

pytestmark = pytest.mark.backends

STATE = {
    "conv.weight": torch.from_numpy(values((4, 3, 2, 2))),
    "conv.half": torch.from_numpy(values((3,), 1)).to(torch.bfloat16),
    "fc.weight": torch.nn.Parameter(torch.from_numpy(values((2, 3), 2)).t()),
    "bn.num_batches_tracked": torch.tensor(7),
}


def saved(path, content, **options):
    torch.save(content, path, **options)
    return path


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", ["w.pth", "w.pt", "pytorch_model.bin"])
@pytest.mark.parametrize(
    "content",
    [STATE, {"state_dict": STATE, "epoch": 3, "optimizer": {"state": {}}}],
    ids=["bare", "in a training checkpoint"],
)
def test_state_dicts(tmp_path, zipped, name, content):
    path = saved(tmp_path / name, content, _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(path)
    assert list(read) == list(STATE)
    for key, tensor in STATE.items():
        expected = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
        assert read[key].dtype == expected.numpy().dtype
        np.testing.assert_array_equal(read[key], expected.numpy())


class Malicious:
    """Unpickling it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_no_code_is_run(tmp_path, zipped):
    content = {"a": torch.zeros(2), "b": Malicious(tmp_path / "owned")}
    path = saved(tmp_path / "w.pth", content, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert "torch's safe loader does not open it (GLOBAL posix.mkdir). If" in message
    assert message.endswith("save model.state_dict() alone where it was made.")
    assert "weights_only" not in message  # torch's own text says how to open it all the same
    assert not (tmp_path / "owned").exists()


def test_whole_models_are_refused(tmp_path):
    path = saved(tmp_path / "w.pth", torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"open it \(GLOBAL torch\.nn\.modules\.linear\.Linear\)"):
        read_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")
def test_pickles_of_newer_protocols_are_refused(tmp_path):
    options = {"pickle_protocol": 4, "_use_new_zipfile_serialization": False}
    path = saved(tmp_path / "w.pth", {"a": torch.zeros(2)}, **options)
    with pytest.raises(InputError, match=r"open it \(Unsupported operand 149\)\. If it holds more"):
        read_checkpoint(path)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_torchscript_is_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "w.pt")
    with pytest.raises(InputError, match="seems to be a TorchScript archive, which holds code"):
        read_checkpoint(tmp_path / "w.pt")


def test_other_pickles_are_refused(tmp_path):
    path = write(tmp_path / "w.pth", pickle.dumps(Malicious(tmp_path / "owned")))
    with pytest.raises(InputError, match="seems to be a Python pickle, which could run code"):
        read_checkpoint(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(2), "it holds a Tensor, not a state dict of tensors."),
        ({"state_dict": [1]}, "it holds a list, not a state dict of tensors."),
        (
            {"model": {"a": torch.zeros(2)}},
            "under 'model' it holds a dict, where a state dict has a name and a tensor. Save "
            "model.state_dict() alone, or under the key 'state_dict'.",
        ),
        ({3: torch.zeros(2)}, "under 3 it holds a Tensor, where a state dict has a name"),
        (
            {"a": torch.zeros(3).to_sparse()},
            "tensor 'a' is quantised or sparse, which is not read.",
        ),
        (
            {"a": torch.zeros(1).expand(1000, 1000, 1000)},
            "tensor 'a' of shape (1000, 1000, 1000) needs 4,000,000,000 bytes, but only",
        ),
        ({}, "it holds no weights."),
    ],
    ids=["tensor", "list", "nested", "number", "sparse", "expanded", "empty"],
)
def test_what_is_no_state_dict(tmp_path, content, message):
    path = saved(tmp_path / "w.pth", content)
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.filterwarnings("ignore:torch.quantize", "ignore:TypedStorage")
def test_quantised_tensors_are_refused(tmp_path):
    tensor = torch.quantize_per_tensor(torch.ones(3), 0.5, 0, torch.qint8)
    with pytest.raises(InputError, match="tensor 'a' is quantised or sparse, which is not read"):
        read_checkpoint(saved(tmp_path / "w.pth", {"a": tensor}))


@pytest.mark.parametrize("kept", [60, 300, 700, -10])
def test_legacy_files_that_are_cut_off(tmp_path, kept):
    path = saved(tmp_path / "w.pth", STATE, _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match="could not be read as a torch file|safe loader does not"):
        read_checkpoint(write(path, path.read_bytes()[:kept]))


def test_a_storage_that_is_shorter_than_its_tensor(tmp_path):
    path = saved(tmp_path / "w.pth", {"a": torch.ones(100)})
    stream = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(stream, "w") as shorter:
        for name in archive.namelist():
            data = archive.read(name)
            shorter.writestr(name, data[:8] if name.endswith("data/0") else data)
    with pytest.raises(InputError, match="could not be read as a torch file"):
        read_checkpoint(write(path, stream.getvalue()))


def test_a_zip_that_unpacks_to_far_more_is_refused(tmp_path):
    path = saved(tmp_path / "w.pth", {"a": torch.zeros(5_000_000)})
    packed = tmp_path / "packed.pth"
    with (
        zipfile.ZipFile(path) as archive,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in archive.namelist():
            bomb.writestr(name, archive.read(name))
    with pytest.raises(InputError, match="more than 10 times its size: this is no weight file"):
        read_checkpoint(packed)
