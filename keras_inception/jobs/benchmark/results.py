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
    "keras-inception", "keras", "tensorflow", "tensorflow-cpu", "openvino", "onnxruntime", "torch",
    "torchvision", "timm",
)  # fmt: skip


@dataclass(frozen=True)
class Measurement:
    """How fast a side ran a network.

    Attributes:
        network: name of the builder.
        size: height and width of the images in pixels.
        batch_size: images of a call.
        library: whose network it is.
        runtime: what computed it.
        dtype: in which.
        images_per_second: median of the turns.
        slowest: images a second of the slowest turn.
        fastest: images a second of the fastest turn.
        p50: median seconds of a call.
        p99: seconds that 99 % of the calls stayed below.
        memory: most bytes that the process ever had, preparing included.
        operations_per_second: floating-point operations of the convolutions and dense layers.
        share_of_peak: these by the machine's matrix peak of the dtype.
    """

    network: str
    size: int
    batch_size: int
    library: str
    runtime: str
    dtype: str
    images_per_second: float
    slowest: float
    fastest: float
    p50: float
    p99: float
    memory: int | None
    operations_per_second: float
    share_of_peak: float


@dataclass(frozen=True)
class Results:
    """A benchmark of one machine.

    Attributes:
        machine: what it is, and the versions of the packages.
        peak: floating-point operations a second in matrix products, by dtype.
        measurements: by network, batch size and side.
        left_out: sides that could not run, and why.
    """

    machine: dict[str, Any]
    peak: dict[str, float]
    measurements: tuple[Measurement, ...]
    left_out: dict[str, str]

    def merged(self, newer: Results) -> Results:
        """Return these results with those networks and batch sizes replaced that `newer` has."""
        done = {(m.network, m.batch_size) for m in newer.measurements}
        kept = [m for m in self.measurements if (m.network, m.batch_size) not in done]
        return dataclasses.replace(
            newer,
            measurements=(*kept, *newer.measurements),
            left_out=self.left_out | newer.left_out,
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
