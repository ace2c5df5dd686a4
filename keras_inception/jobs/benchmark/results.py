"""What was measured, in JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from keras_inception.errors import InputError
from keras_inception.files import atomic_path
from keras_inception.inference.precision import native_bfloat16

_PACKAGES = (
    "keras-inception", "keras", "tensorflow", "tensorflow-cpu", "ai-edge-litert", "openvino",
    "nncf", "onnxruntime", "onnx", "tf2onnx", "torch", "torchvision", "timm",
)  # fmt: skip


@dataclass(frozen=True)
class Measurement:
    """How fast a side ran a network.

    Attributes:
        network: name of the builder.
        architecture: the form of the network.
        size: height and width of the images in pixels.
        width: factor on every filter count.
        batch_size: images of a call.
        library: whose network it is.
        runtime: what computed it.
        dtype: in which.
        images_per_second: median of the turns.
        slowest: images a second of the slowest turn.
        fastest: images a second of the fastest turn.
        turns: how many count.
        undisturbed: in how many of these the machine had nearly its full speed; None: not known.
        p50: median seconds of a call.
        p99: seconds that 99 % of the calls stayed below.
        memory: most bytes that the process ever had, preparing included.
        operations_per_second: floating-point operations of the convolutions and dense layers.
        share_of_peak: median over the turns of what share that is of what matrix products of the
            dtype reached just before and after; None where the dtype is not native.
        date: on which it was measured, YYYY-MM-DD, UTC.
    """

    network: str
    architecture: str
    size: int
    width: float
    batch_size: int
    library: str
    runtime: str
    dtype: str
    images_per_second: float
    slowest: float
    fastest: float
    turns: int
    undisturbed: int | None
    p50: float
    p99: float
    memory: int | None
    operations_per_second: float
    share_of_peak: float | None
    date: str

    @property
    def side(self) -> str:
        """The name of the side that was measured."""
        return f"{self.library}, {self.runtime}, {self.dtype}"

    @property
    def task(self) -> tuple[str, str, int, float, int]:
        """What was computed: measurements are compared, and replaced together, where it agrees."""
        return (self.network, self.architecture, self.size, self.width, self.batch_size)


@dataclass(frozen=True)
class Results:
    """A benchmark of one machine.

    Attributes:
        machine: what it is, and the versions of the packages.
        peak: the most floating-point operations a second that matrix products ever reached, by
            native dtype.
        measurements: by network, batch size and side.
        left_out: sides that could not run, and why; one that cannot run a certain network under
            `SIDE: NETWORK (ARCHITECTURE), ...`.
        quick: whether this only shows that everything works.
    """

    machine: dict[str, Any]
    peak: dict[str, float]
    measurements: tuple[Measurement, ...]
    left_out: dict[str, str]
    quick: bool = False

    def check_same(self, machine: dict[str, Any], quick: bool) -> None:
        """Refuse what must not stand beside these results.

        Args:
            machine: on which is measured now.
            quick: whether that only shows that everything works.

        Raises:
            InputError: if the machine or a package is another one, or either is quick and the
                other is not.
        """
        mend = "Write to another file, or remove the old one."
        if quick != self.quick:
            old, new = ("quick", "full") if self.quick else ("full", "quick")
            raise InputError(
                f"The file holds the results of a {old} run, beside which those of a {new} one say "
                f"nothing. {mend}"
            )
        before, now = (_facts(each) for each in (self.machine, machine))
        for name in before.keys() & now.keys():
            if before[name] != now[name]:
                raise InputError(
                    f"The file's results were measured where {name} is {before[name]}, but here it "
                    f"is {now[name]}, so that they cannot be compared. {mend}"
                )

    def merged(self, newer: Results) -> Results:
        """Return these results with those replaced that `newer` has of the same tasks.

        The peak is the higher one.

        Raises:
            InputError: as `check_same` raises it.
        """
        self.check_same(newer.machine, newer.quick)
        done = {each.task for each in newer.measurements}
        kept = [each for each in self.measurements if each.task not in done]
        peak = {dtype: max(rate, newer.peak.get(dtype, 0.0)) for dtype, rate in self.peak.items()}
        packages = self.machine["packages"] | newer.machine["packages"]
        ran = {each.side for each in newer.measurements}
        redone = {task_name(each) for each in newer.measurements}
        left_out = {
            name: why
            for name, why in self.left_out.items()
            if name not in ran and name.partition(": ")[2] not in redone
        }
        return dataclasses.replace(
            newer,
            machine=newer.machine | {"packages": packages},
            peak=peak,
            measurements=(*kept, *newer.measurements),
            left_out=left_out | newer.left_out,
        )

    def write(self, path: str | os.PathLike) -> None:
        """Write JSON; a failure leaves what stood there."""
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n", "utf-8")


def read(path: str | os.PathLike) -> Results:
    """Read what `Results.write` wrote.

    Raises:
        InputError: if it is nothing of the kind.
    """
    try:
        facts = json.loads(Path(path).read_text("utf-8"))
        rows = tuple(Measurement(**row) for row in facts.pop("measurements"))
        return Results(measurements=rows, **facts)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} holds no benchmark's results: {error!r}.") from error


def peak_dtype(dtype: str) -> str:
    """Return in which dtype matrices are multiplied by what computes in another."""
    return dtype.removeprefix("mixed_")


def task_name(task: Any) -> str:
    """Return the name of what a `Task` or a `Measurement` computes, for reports."""
    width = "" if task.width == 1 else f", width {task.width:g}"
    return (
        f"{task.network} ({task.architecture}{width}), {task.size} px, batches of {task.batch_size}"
    )


def _facts(machine: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in machine.items() if k != "packages"} | machine["packages"]


def machine() -> dict[str, Any]:
    """Describe this machine and the packages that are measured."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "native_bfloat16": native_bfloat16(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": dict(_versions(_PACKAGES)),
    }


def _versions(packages: Iterable[str]) -> Iterable[tuple[str, str]]:
    for package in packages:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue


def _cpu_name() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
