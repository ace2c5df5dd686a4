"""What an evaluation found: numbers, table, files, picture."""

from __future__ import annotations

import csv
import dataclasses
import json
import os

import numpy as np

from keras_inception.errors import import_extra
from keras_inception.files import atomic_path
from keras_inception.preprocessing import Preprocessing

_MOST_NAMED_CLASSES = 30  # a picture of more has no room for their names


@dataclasses.dataclass(frozen=True)
class ClassResult:
    """How the images of one class were answered.

    Attributes:
        label: the class's number.
        name: its name.
        images: how many images it has.
        correct: how many of them were taken for this class.
        in_top5: how many of them had this class among the five likeliest.
    """

    label: int
    name: str
    images: int
    correct: int
    in_top5: int

    @property
    def accuracy(self) -> float | None:
        """The correct share, None for a class without images."""
        return self.correct / self.images if self.images else None


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """What an evaluation found; `str()` makes a table of it.

    Attributes:
        confusion: int64 array (classes, classes): images of class `row` taken for class `column`.
        in_top5: int64 array (classes,): images of each class whose label was among the five
            likeliest classes (all of them if there are no more than five classes).
        excluded: images that were left out.
        exclusions_listed: entries of the list of images to leave out.
        crops: crops of each image.
        scales: shorter sides of the resized image as multiples of the crop's side; none for the
            single crop, which is cut as the preprocessing says.
        models: names of the networks.
        weights: weight of each network in the average; they sum to 1.
        preprocessing: of each network.
        class_names: name of each class.
        seconds: wall-clock time, building graphs and reading included.
    """

    confusion: np.ndarray
    in_top5: np.ndarray
    excluded: int
    exclusions_listed: int
    crops: int
    scales: tuple[float, ...]
    models: tuple[str, ...]
    weights: tuple[float, ...]
    preprocessing: tuple[Preprocessing, ...]
    class_names: tuple[str, ...]
    seconds: float

    @property
    def images(self) -> int:
        """How many images were counted."""
        return int(self.confusion.sum())

    @property
    def top1_error(self) -> float:
        """The share of images whose likeliest class is not their label."""
        return (self.images - int(self.confusion.trace())) / self.images

    @property
    def top5_error(self) -> float:
        """The share of images whose label is not among the five likeliest classes."""
        return (self.images - int(self.in_top5.sum())) / self.images

    @property
    def images_per_second(self) -> float:
        """Images counted by wall-clock time."""
        return self.images / self.seconds

    @property
    def protocol(self) -> str:
        """The crops in words."""
        if self.crops == 1:
            return "single crop"
        scales = ", ".join(f"{scale:.4g}" for scale in self.scales)
        return f"{self.crops} crops, shorter side {scales} x the crop's"

    def per_class(self) -> list[ClassResult]:
        """Return the result of every class, in the order of the classes."""
        return [
            ClassResult(label, name, int(row.sum()), int(row[label]), int(in_top5))
            for label, (name, row, in_top5) in enumerate(
                zip(self.class_names, self.confusion, self.in_top5, strict=True)
            )
        ]

    def most_confused(self, pairs: int = 10) -> list[tuple[str, str, int]]:
        """Return the most frequent mistakes.

        Args:
            pairs: how many at most.

        Returns:
            (class, taken for, images), most frequent first, equal ones in the order of the
            classes; only mistakes that were made.
        """
        mistakes = self.confusion * ~np.eye(len(self.confusion), dtype=bool)
        order = np.argsort(-mistakes, axis=None, kind="stable")[:pairs]
        return [
            (self.class_names[row], self.class_names[column], int(mistakes[row, column]))
            for row, column in zip(*np.unravel_index(order, mistakes.shape), strict=True)
            if mistakes[row, column]
        ]

    def to_json(self, path: str | os.PathLike) -> None:
        """Write everything but the confusion matrix as a JSON object; it appears whole or not.

        Args:
            path: the file, replaced if it exists.
        """
        models = zip(self.models, self.weights, self.preprocessing, strict=True)
        content = {
            "images": self.images,
            "excluded": self.excluded,
            "exclusions_listed": self.exclusions_listed,
            "protocol": self.protocol,
            "crops": self.crops,
            "scales": self.scales,
            "models": [
                {"name": name, "weight": weight, "preprocessing": dataclasses.asdict(preprocessing)}
                for name, weight, preprocessing in models
            ],
            "top1_error": self.top1_error,
            "top5_error": self.top5_error,
            "seconds": self.seconds,
            "images_per_second": self.images_per_second,
            "per_class": [_row(result) for result in self.per_class()],
            "most_confused": [
                {"class": of, "taken_for": taken_for, "images": images}
                for of, taken_for, images in self.most_confused()
            ],
        }
        with atomic_path(path) as file:
            file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def to_csv(self, path: str | os.PathLike) -> None:
        """Write one row a class: label, name, images, correct, in_top5, accuracy.

        Args:
            path: the file, replaced if it exists. The accuracy of a class without images is empty.
        """
        rows = [_row(result) for result in self.per_class()]
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as f:
            writer = csv.DictWriter(f, fieldnames=rows[0])
            writer.writeheader()
            writer.writerows(rows)

    def confusion_picture(self, path: str | os.PathLike) -> None:
        """Draw the confusion matrix, each row as shares of its class.

        Args:
            path: the picture, replaced if it exists; its ending chooses the format.

        Raises:
            MissingExtra: if matplotlib (extra `train`) is not installed.
        """
        figure = import_extra("matplotlib.figure", "train").Figure(figsize=(8, 7))
        axes = figure.add_subplot()
        images = self.confusion.sum(axis=1, keepdims=True)
        shares = self.confusion / np.maximum(images, 1)
        picture = axes.imshow(shares, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
        figure.colorbar(picture, ax=axes, label="share of the class's images")
        axes.set(
            xlabel="taken for",
            ylabel="class",
            title=f"{self.images} images, {self.protocol}, top-1 error {self.top1_error:.2%}",
        )
        if len(self.class_names) <= _MOST_NAMED_CLASSES:
            ticks = range(len(self.class_names))
            axes.set_xticks(ticks, self.class_names, rotation=90)
            axes.set_yticks(ticks, self.class_names)
        with atomic_path(path) as file:
            figure.savefig(file, dpi=150, bbox_inches="tight")

    def __str__(self) -> str:
        """Return a table of the main figures; of more than five classes the top-5 error, too."""
        models = zip(self.models, self.weights, self.preprocessing, strict=True)
        rows = [
            ("images", f"{self.images}"),
            ("excluded", f"{self.excluded} of {self.exclusions_listed} listed"),
            ("protocol", self.protocol),
            *[("network", f"{weight:.3f} x {name}, {how}") for name, weight, how in models],
            ("top-1 error", f"{self.top1_error:.2%}"),
            *([("top-5 error", f"{self.top5_error:.2%}")] if len(self.class_names) > 5 else []),
            ("time", f"{self.seconds:.1f} s, {self.images_per_second:.1f} images/s"),
            *[
                ("confused", f"{images} x {of} taken for {taken_for}")
                for of, taken_for, images in self.most_confused(5)
            ],
        ]
        return "\n".join(f"{key:<12} {value}" for key, value in rows)


def _row(result: ClassResult) -> dict:
    """Return a class's figures by name, as files list them."""
    return {**dataclasses.asdict(result), "accuracy": result.accuracy}
