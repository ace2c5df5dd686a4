"""Torch state dicts, through torch's loader that builds tensors and runs no code."""

import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_inception.errors import InputError, import_extra
from keras_inception.weights.readers.guards import Budget, check_zip


def read(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the tensors of a state dict, which may lie under the key "state_dict".

    Args:
        path: a file of `torch.save`, in the zip format or the older one without.

    Yields:
        Name and array, which shares the memory of torch's tensor where it can.

    Raises:
        InputError: if there is anything but plain, dense tensors, or more than the file can hold.
        MissingExtra: if torch is not installed.
    """
    torch = import_extra("torch", "torch")
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_zip(archive, size)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Only a part of torch's text: the rest advises to load the file without protection.
        text = str(error)
        reason = re.search(r"(GLOBAL \S+)", text) or re.search(r"Unpickler error:\s*(.+)", text)
        raise InputError(
            f"torch's safe loader does not open it ({reason[1] if reason else 'bad pickle'}). If "
            "it holds more than tensors, save model.state_dict() alone where it was made."
        ) from error
    if isinstance(state, dict) and "state_dict" in state:
        state = state["state_dict"]
    if not isinstance(state, dict):
        raise InputError(f"it holds a {type(state).__name__}, not a state dict of tensors.")

    budget = Budget(size)
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise InputError(
                f"under {name!r} it holds a {type(tensor).__name__}, where a state dict has a name "
                "and a tensor. Save model.state_dict() alone, or under the key 'state_dict'."
            )
        if tensor.is_quantized or tensor.layout != torch.strided:
            raise InputError(f"tensor {name!r} is quantised or sparse, which is not read.")
        budget.claim(name, tensor.shape, tensor.element_size())
        tensor = tensor.detach()
        yield name, (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
