"""What every runtime offers."""

import abc
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np

from keras_inception.errors import InputError


class Runtime(abc.ABC):
    """A network in a program that computes it: images in, named outputs back.

    A context manager. One call of `run` at a time; close it when done.

    Attributes:
        name: of the runtime, one of `RUNTIMES`.
        dtype: in which it computes, such as "float32" or "bfloat16"; of an exported file its
            precision, which may be "int8"; "as exported" if nothing says.
        precision: in which the file was exported; None if nothing says. OpenVINO computes its
            files in another dtype: those of "float16" have their weights so, those of "int8" what
            was quantised.
        input_shape: of a batch of images; None for the axes that are free.
        input_dtype: of the images: "float32" or "uint8".
        metadata: what the export noted in the file; None if there is none.
    """

    name: ClassVar[str]

    def __init__(
        self,
        input_shape: tuple[int | None, ...],
        input_dtype: str,
        *,
        dtype: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.input_shape = input_shape
        self.input_dtype = input_dtype
        self.precision = (metadata or {}).get("precision")
        self.dtype = dtype or self.precision or "as exported"
        self.metadata = metadata
        self._closed = False

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the outputs of a batch of images.

        Args:
            images: of `input_shape` and `input_dtype` (or a dtype that loses nothing of note in
                it, as float64 in float32).

        Returns:
            The outputs by their names, float32.

        Raises:
            InputError: if the images have another shape or dtype, or the runtime is closed.
        """
        if self._closed:
            raise InputError(f"This {self.name} runtime is closed; open another.")
        images = np.asarray(images)
        fits = len(images.shape) == len(self.input_shape) and all(
            wanted in (None, length)
            for wanted, length in zip(self.input_shape, images.shape, strict=True)
        )
        if not (fits and np.can_cast(images.dtype, self.input_dtype, "same_kind")):
            raise InputError(
                f"This network takes images of shape {self.input_shape} {self.input_dtype}, "
                f"but got {images.shape} {images.dtype}."
            )
        images = np.ascontiguousarray(images, self.input_dtype)
        return {name: np.asarray(y, "float32") for name, y in self._run(images).items()}

    @abc.abstractmethod
    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the outputs of images of the right shape and dtype."""

    def close(self) -> None:
        """Let go of the network; a second time does nothing."""
        if not self._closed:
            self._closed = True
            self._close()

    @abc.abstractmethod
    def _close(self) -> None:
        """Drop what holds memory."""

    def __enter__(self) -> Self:
        """Return the runtime."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()
