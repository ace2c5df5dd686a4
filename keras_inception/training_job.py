"""What the main job trains, and how: settings alone, to be read without Keras."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_inception.recipes import Recipe, fine_tune

DIGITS_RECIPE = dataclasses.replace(
    fine_tune,
    name="digits",
    learning_rate=0.05,
    epochs=8,
    auxiliary_weight=0.0,  # most heads do not fit on its small images
)
"""How the main job trains: `ki.recipes.fine_tune`, shorter, with larger steps, without heads."""


@dataclass(frozen=True)
class TrainingJob:
    """What `keras-inception train` does; the defaults are its main job.

    Attributes:
        out: the run folder.
        model: name of the builder.
        weights: to start from, as the builder takes them: "imagenet", the id of public weights or a
            path; their preprocessing is taken too. None: random numbers. Public ones need width 1.
        data: "digits", a folder of class folders or TFRecords, or a name of TensorFlow Datasets.
        recipe: how to train.
        image_size: height and width in pixels.
        crop_fraction: share of the resized image's sides that evaluation looks at; None: all of
            a digit; of other images as the weights say, or 0.875, as the papers' networks.
        width: factor on every filter count.
        aux_heads: train with the auxiliary heads; None: if the recipe weights them, the network has
            them and it starts from random numbers.
        batch_size: images in a step, over all devices and machines.
        seed: of data, weights and dropout.
        deterministic: repeatable to the bit, slower.
        strategy: as for `ki.training.fit`.
        batch_statistics: as for `ki.training.fit`.
        rematerialize: as for `ki.training.fit`.
        checkpoint_steps: as for `ki.training.fit`.
        check: as for `ki.data.load`.
        skip_broken: leave unreadable images out instead of stopping.
        label_offset: as for `ki.data.load`.
        data_dir: where TensorFlow Datasets keeps its files.
        overwrite: replace a finished run at `out` once this one has succeeded.
        resume: as for `ki.training.fit`.
        verbose: progress bar 1, a line an epoch 2, nothing 0.
    """

    out: Path
    model: str = "InceptionResNetV1"
    weights: str | None = None
    data: str = "digits"
    recipe: Recipe = DIGITS_RECIPE
    image_size: int = 75
    crop_fraction: float | None = None
    width: float = 0.25
    aux_heads: bool | None = None
    batch_size: int = 32
    seed: int = 0
    deterministic: bool = False
    strategy: Any = "none"
    batch_statistics: str = "local"
    rematerialize: bool = False
    checkpoint_steps: int | None = None
    check: bool = True
    skip_broken: bool = False
    label_offset: int = 0
    data_dir: Path | None = None
    overwrite: bool = False
    resume: str = "auto"
    verbose: int = 1
