"""One object that classifies images in the installed runtime that is fastest as a rule."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import TracebackType
from typing import Any, Self

import keras
import numpy as np

from keras_inception.errors import InputError
from keras_inception.inference import opening
from keras_inception.inference.prefetch import prefetched
from keras_inception.inference.reading import pixels, sources
from keras_inception.inference.runtimes import Runtime
from keras_inception.preprocessing import Preprocessing

BATCH_SIZE = 16

Views = Callable[[np.ndarray, Preprocessing], np.ndarray]
Transform = Callable[[np.ndarray], np.ndarray]

_AHEAD_WITH_VIEWS = 4  # images; with 144 crops of 299 pixels they take 0.6 GB


@dataclass(frozen=True)
class Prediction:
    """What a network says of one image.

    Attributes:
        name: the path of the image, or "image 1", "image 2", ... if it has none.
        outputs: float32 (classes,): the network's outputs, normally probabilities; None if the
            image could not be read.
        error: why it could not be read; None if it could.
    """

    name: str
    outputs: np.ndarray | None = None
    error: str | None = None


def predictor(
    model_or_path: keras.Model | str | os.PathLike,
    runtime: str = "auto",
    dtype: str = "auto",
    batch_size: int = BATCH_SIZE,
    *,
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] | None = None,
    threads: int | None = None,
) -> Predictor:
    """Prepare a network for predicting fast.

    Args:
        model_or_path: a classifier; or a run folder, a `.keras` file, the id of public weights; or
            what `ki.export` wrote, which runs in the runtime that it was written for.
        runtime: "tensorflow", "onnxruntime", "openvino", "litert"; or "auto": the first of
            OpenVINO, ONNX Runtime (in float32 only) and TensorFlow that is installed and computes
            in the dtype, which is the fastest as a rule; on a GPU TensorFlow. `keras-inception
            benchmark` tells which is on a machine.
        dtype: in which to compute, "float32" or "bfloat16"; or "auto": bfloat16 where the hardware
            has it natively. An exported file computes as exported, in OpenVINO as asked, and may
            be asked for what it is.
        batch_size: images that are computed together, at most. 16 is about as fast as any; with 1
            the first answer comes soonest.
        preprocessing: of the images; None: as the source says, else the papers' at the network's
            input size.
        class_names: None: as the source says, else ImageNet's for 1000 classes, else numbers.
        threads: that read and prepare images ahead; None: one a core.

    Returns:
        The predictor; a context manager.

    Raises:
        InputError: if the source cannot be opened, runtime or dtype are unknown or do not go
            together, or `class_names` are not one a class.
        MissingExtra: if the runtime asked for is not installed.

    Example:
        >>> model = ki.InceptionV3(weights=None, input_shape=(75, 75, 3), classes=3, width=0.1)
        >>> with ki.predictor(model, runtime="tensorflow", dtype="float32") as predict:
        ...     predict(np.zeros((2, 100, 80, 3), "uint8")).shape
        (2, 3)
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"batch_size must be a whole number from 1, got {batch_size!r}.")
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1, got {threads}.")
    opened = opening.opened(model_or_path, runtime, dtype, batch_size, preprocessing)
    known = opened.class_names
    if None not in (class_names, known) and len(class_names) != len(known):
        opened.runtime.close()
        raise _other_count(class_names, opened.name, len(known))
    return Predictor(
        opened.runtime,
        name=opened.name,
        preprocessing=opened.preprocessing,
        batch_size=batch_size,
        class_names=known if class_names is None else class_names,
        reason=opened.reason,
        threads=threads,
    )


class Predictor:
    """A network in a runtime, with what turns images into its inputs. Made by `predictor`.

    Args:
        runtime: that runs the network.
        name: of the network, for reports.
        preprocessing: of the images; None if the network takes them as they are.
        batch_size: images that are computed together, unless the runtime takes another number.
        class_names: one a class, in order; None if they are not known.
        reason: why it computes in its dtype.
        threads: that read and prepare images ahead; None: one a core.

    Attributes:
        runtime: the `Runtime`.
        name: as given.
        preprocessing: as given.
        batch_size: images that are computed together.
        class_names: as given, a tuple.
        description: one line: network, runtime, dtype and why, the file's precision if it is
            another, batch size.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        name: str,
        preprocessing: Preprocessing | None,
        batch_size: int = BATCH_SIZE,
        class_names: Sequence[str] | None = None,
        reason: str = "",
        threads: int | None = None,
    ) -> None:
        self.runtime = runtime
        self.name = name
        self.preprocessing = preprocessing
        self.batch_size = runtime.input_shape[0] or batch_size
        self.class_names = None if class_names is None else tuple(class_names)
        self._threads = threads or os.cpu_count() or 1
        exported = "" if runtime.precision in (None, runtime.dtype) else runtime.precision
        why = "; ".join(filter(None, [reason, exported and f"exported as {exported}"]))
        self.description = (
            f"{name} in {runtime.name}, {runtime.dtype}{why and f' ({why})'}, "
            f"batches of {self.batch_size}"
        )

    def __repr__(self) -> str:
        """Say what runs where."""
        return f"<Predictor: {self.description}>"

    def predict(
        self, source: Any, views: Views | None = None, transform: Transform | None = None
    ) -> Iterator[Prediction]:
        """Predict images as they come: read and prepared ahead in threads, in bounded memory.

        Args:
            source: an image file, a folder (its images at any depth, by name), encoded bytes, an
                array (height, width, 3) or (images, height, width, 3) with values 0..255, or an
                iterable of any of these.
            views: cuts several inputs from an image, over which its outputs are averaged: takes
                (height, width, 3) and the preprocessing, returns (views, *size, 3). None: one, as
                the preprocessing cuts it.
            transform: what is done to the outputs (classes,) of each input before they are
                averaged, such as a softmax; None: nothing.

        Yields:
            A prediction an image, in order. An image that cannot be read has an error, and the
            rest is done.

        Raises:
            InputError: if the source is a folder without images, or nothing of the kind.
        """

        def prepare(named: tuple[str, Any]) -> _Prepared:
            name, image = named
            try:
                return _Prepared(name, self.inputs(image, views))
            except (InputError, OSError) as error:
                return _Prepared(name, (), _reason(error))

        prepared = prefetched(
            prepare, sources(source), threads=self._threads, ahead=self._ahead(views)
        )
        group, waiting = [], 0
        for image in prepared:
            group.append(image)
            waiting += len(image.inputs)
            if waiting >= self.batch_size:
                yield from self._answers(group, transform)
                group, waiting = [], 0
        yield from self._answers(group, transform)

    def __call__(self, images: Any) -> np.ndarray:
        """Predict all images of a source.

        Args:
            images: as for `predict`.

        Returns:
            float32 (images, classes).

        Raises:
            InputError: as `predict`, if there is no image, or at the first that cannot be read.
        """
        outputs = []
        for answer in self.predict(images):
            if answer.error is not None:
                raise InputError(f"{answer.name} cannot be read: {answer.error}")
            outputs.append(answer.outputs)
        if not outputs:
            raise InputError("There is no image to predict.")
        return np.stack(outputs)

    def inputs(self, image: Any, views: Views | None = None) -> np.ndarray:
        """Read and prepare one image.

        Args:
            image: a path, encoded bytes, or an array (height, width, 3) with values 0..255.
            views: as for `predict`.

        Returns:
            (views, height, width, 3), ready for `run`.

        Raises:
            InputError: if it is broken, or no image, or not of the size or the values that a
                network which takes images as they are wants.
            OSError: if the file cannot be read.
        """
        image = pixels(image)
        if views is not None:
            prepared = np.asarray(views(image, self.preprocessing), "float32")
        elif self.preprocessing is None:
            self._check(image)
            prepared = image[None]
        else:
            prepared = self.preprocessing(image)[None]
        if self.runtime.input_dtype == "uint8" and prepared.dtype != "uint8":
            return np.rint(np.clip(prepared, 0, 255)).astype("uint8")  # bicubic overshoots
        return prepared

    def run(self, inputs: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Compute inputs that are prepared already, as many as there are, in batches.

        Where the runtime takes batches of one size only, the last is padded, its outputs cut.

        Args:
            inputs: (height, width, 3) each, as `inputs` makes them; neighbours of one size are
                computed together.

        Returns:
            float32 (inputs, classes).

        Raises:
            InputError: if there is none.
        """
        if not len(inputs):
            raise InputError("There is no input to compute.")
        if isinstance(inputs, np.ndarray):
            parts = [inputs]
        else:
            parts = [np.stack(list(neighbours)) for _, neighbours in groupby(inputs, np.shape)]
        return np.concatenate(
            [
                self._batch(part[first : first + self.batch_size])
                for part in parts
                for first in range(0, len(part), self.batch_size)
            ]
        )

    def close(self) -> None:
        """Let go of the network."""
        self.runtime.close()

    def __enter__(self) -> Self:
        """Return the predictor."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _check(self, image: np.ndarray) -> None:
        """Refuse an image that the network cannot take as it is."""
        wanted = self.runtime.input_shape[1:]
        fits = len(wanted) == image.ndim and all(
            length in (None, got) for length, got in zip(wanted, image.shape, strict=True)
        )
        if not fits:
            raise InputError(
                f"{self.name} takes images of {wanted} as they are, but this one is {image.shape}. "
                "Bring it to that size, or pass preprocessing=."
            )
        is_raw = self.runtime.input_dtype == "uint8"
        if is_raw and not (image.min() >= 0 and image.max() <= 255):  # NaN is neither
            raise InputError(
                f"{self.name} takes raw pixels, 0 to 255, but this image has values from "
                f"{image.min():g} to {image.max():g}. Pass it before it is scaled."
            )

    def _ahead(self, views: Views | None) -> int:
        """Return how many images may wait: two batches, or a few that have many views each."""
        return 2 * self.batch_size if views is None else _AHEAD_WITH_VIEWS

    def _answers(self, group: list[_Prepared], transform: Transform | None) -> Iterator[Prediction]:
        rows = [row for image in group for row in image.inputs]
        outputs = iter(self.run(rows) if rows else ())
        for image in group:
            if image.error is not None:
                yield Prediction(image.name, error=image.error)
            else:
                own = [next(outputs) for _ in image.inputs]
                own = own if transform is None else list(map(transform, own))
                yield Prediction(image.name, np.mean(own, axis=0))

    def _batch(self, rows: np.ndarray) -> np.ndarray:
        count, wanted = len(rows), self.runtime.input_shape[0] or len(rows)
        if count < wanted:
            rows = np.concatenate([rows, np.zeros((wanted - count, *rows.shape[1:]), rows.dtype)])
        outputs = self.runtime.run(rows)
        if len(outputs) > 1 and "predictions" not in outputs:
            raise InputError(
                f"{self.name} has several outputs, {', '.join(outputs)}, and none is called "
                "'predictions'."
            )
        (first, *_) = outputs.values()
        answers = outputs.get("predictions", first)[:count]
        if self.class_names is not None and len(self.class_names) != answers.shape[-1]:
            raise _other_count(self.class_names, self.name, answers.shape[-1])
        return answers


@dataclass(frozen=True)
class _Prepared:
    """An image ready to compute: its inputs, or why it has none."""

    name: str
    inputs: Sequence[np.ndarray] | np.ndarray
    error: str | None = None


def _other_count(names: Sequence[str], network: str, classes: int) -> InputError:
    return InputError(f"{len(names)} class names were given, but {network} has {classes} classes.")


def _reason(error: Exception) -> str:
    strerror = getattr(error, "strerror", None)
    return strerror or " ".join(str(error).split())
