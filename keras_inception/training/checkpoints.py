"""Files from which a training goes on exactly where it was, whenever it was killed."""

import json
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from keras_inception.errors import InputError
from keras_inception.files import SCRATCH_ENDING, atomic_path

KEPT = 2
_PROGRESS = "progress.json"


@dataclass
class Progress:
    """How far a training is.

    Args:
        step: steps made.
        rows: one row of the history for each finished epoch.
        sums: sums of loss, accuracy and live share over the steps of the unfinished epoch.
        dead_steps: the last so many steps had no live feature.
        stopped: if a callback ended the training, the epochs that were asked for; else 0.
        settings: what must be the same when it goes on.
    """

    step: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    dead_steps: int = 0
    stopped: int = 0
    settings: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The folder of a run's checkpoints, of which the last `KEPT` are kept.

    A file appears under its name only when it is complete and on the disk.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)

    def files(self) -> list[Path]:
        """Return the checkpoints, the newest first."""
        return sorted(self.folder.glob("step_*.safetensors"), reverse=True)

    def save(self, progress: Progress, state: Mapping[str, keras.Variable]) -> None:
        """Write a checkpoint; remove the oldest ones.

        Raises:
            OSError: as raised by the file system; earlier checkpoints stay.
        """
        tensors = {name: np.asarray(v.numpy()) for name, v in state.items()}
        tensors[_PROGRESS] = np.frombuffer(json.dumps(asdict(progress)).encode(), np.uint8)
        path = self.folder / f"step_{progress.step:09d}.safetensors"
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            file.write(save(tensors))
            file.flush()
            os.fsync(file.fileno())
        for old in self.files()[KEPT:]:
            old.unlink()

    def read_latest(self) -> bytes:
        """Return the content of the newest checkpoint that is not damaged; empty if there is none.

        Raises:
            InputError: if there are checkpoints but all of them are damaged.
        """
        for path in self.files():
            data = path.read_bytes()
            try:
                load(data)
            except SafetensorError as error:
                warnings.warn(f"Left out the damaged checkpoint {path}: {error}", stacklevel=2)
            else:
                return data
        if self.files():
            raise InputError(
                f"All checkpoints in {self.folder} are damaged. Remove the folder to start again."
            )
        return b""


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Remove the unfinished files that a killed process left in a folder."""
    for path in Path(folder).glob(f".*{SCRATCH_ENDING}"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def restore(
    data: bytes, state: Mapping[str, keras.Variable], settings: Mapping[str, Any]
) -> Progress:
    """Put a checkpoint's values into the variables of a training.

    Args:
        data: content of a checkpoint.
        state: the variables, by the names under which they were saved.
        settings: of the training that goes on; must be those of the one that was saved.

    Returns:
        How far the saved training was.

    Raises:
        InputError: if the checkpoint is of another training or model; names what differs. Nothing
            is changed then.
    """
    tensors = load(data)
    progress = Progress(**json.loads(tensors.pop(_PROGRESS).tobytes()))
    names = dict.fromkeys([*settings, *progress.settings])
    differing = [
        f"{name} ({progress.settings.get(name)!r} there, {settings.get(name)!r} here)"
        for name in names
        if progress.settings.get(name) != settings.get(name)
    ]
    if differing:
        raise InputError(
            f"The checkpoint is of another training; these differ: {', '.join(differing)}. "
            "Use the same values, or another run_dir."
        )
    saved = {_slot(name): (name, tensor) for name, tensor in tensors.items()}
    own = {_slot(name): (name, variable) for name, variable in state.items()}
    for slot in sorted(saved.keys() | own.keys()):
        there, here = saved.get(slot), own.get(slot)
        if there is None or here is None or tuple(there[1].shape) != tuple(here[1].shape):
            raise InputError(
                f"The checkpoint is of another model: it has {_described(there)} where the model "
                f"has {_described(here)}. Build the same model, or use another run_dir."
            )
    for slot, (_, variable) in own.items():
        variable.assign(saved[slot][1])
    return progress


def _slot(name: str) -> str:
    """Group, number and, for the model, path without the numbers that Keras appends to names."""
    group, number, path = name.split("/", 2)
    return (
        f"{group}/{number}/{re.sub(r'_[0-9]+(?=/)', '', path)}"
        if group == "model"
        else (f"{group}/{number}")
    )


def _described(entry: tuple[str, Any] | None) -> str:
    if entry is None:
        return "nothing"
    name, value = entry
    return f"{name.split('/', 2)[2]} {tuple(value.shape)}"
