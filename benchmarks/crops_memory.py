"""Show that memory does not grow with the number of crops, of images or of networks.

Each case evaluates small-width Inception-v3 networks at 299 pixels in a process of its own and
tells by how much the process grew beyond what it held when the networks were built. The first case,
single crops, is the reference: the others may need at most `ALLOWANCE` more. (All 144 crops of four
images, which are in flight together, would be 590 MiB.)

    python benchmarks/crops_memory.py

Prints the cases and writes `benchmarks/crops_memory.json`; takes a minute or two on two CPU
cores. It fails if a case needs more than it may.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

RESULT = Path(__file__).with_suffix(".json")
SIZE, WIDTH = 299, 0.25
BATCH_SIZE = 36
ALLOWANCE = 250  # MiB

# Crops, networks, images: 288 crops in all, except where one more image or network is the point.
CASES = [(1, 1, 288), (10, 1, 29), (144, 1, 2), (144, 1, 5), (144, 4, 2)]


def measure(crops: int, networks: int, images: int) -> dict:
    """Evaluate in this process.

    Returns:
        MiB gained and seconds.
    """
    import numpy as np
    import tensorflow as tf

    import keras_inception as ki
    from keras_inception.evaluation import evaluate

    models = [
        ki.InceptionV3(
            weights=None,
            input_shape=(SIZE, SIZE, 3),
            classes=1000,
            width=WIDTH,
            name=f"network_{number}",
        )
        for number in range(networks)
    ]
    photograph = np.random.default_rng(0).integers(0, 256, (375, 500, 3)).astype(np.uint8)
    dataset = tf.data.Dataset.from_tensors((photograph, 0)).repeat(images)
    before = _peak()
    report = evaluate(models, dataset, crops, batch_size=BATCH_SIZE)
    return {"mebibytes": _peak() - before, "seconds": report.seconds}


def _peak() -> float:
    """Return the largest memory this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_own_process(case: tuple[int, int, int]) -> dict:
    """Return a case with what `measure` finds in a fresh process."""
    command = [sys.executable, __file__, "--case", *map(str, case)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    facts = dict(zip(("crops", "networks", "images"), case, strict=True))
    return facts | json.loads(output.splitlines()[-1])


def main() -> None:
    """Measure every case, print, write the figures, and fail if a case needs too much."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", type=int, nargs=3, help="measure one case in this process")
    parser.add_argument("--result", type=Path, default=RESULT, help="the JSON file to write")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(*options.case)))
        return
    print("crops  networks  images  MiB gained  seconds")
    rows = []
    for case in CASES:
        rows.append(in_own_process(case))
        line = "{crops:5}  {networks:8}  {images:6}  {mebibytes:10.0f}  {seconds:7.1f}"
        print(line.format(**rows[-1]), flush=True)
    limit = rows[0]["mebibytes"] + ALLOWANCE
    from keras_inception.files import atomic_path
    from keras_inception.jobs.benchmark.results import machine

    settings = {"network": "InceptionV3", "size": SIZE, "width": WIDTH, "batch": BATCH_SIZE}
    record = {"machine": machine(), **settings, "limit_mebibytes": limit, "results": rows}
    with atomic_path(options.result) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    too_much = [row for row in rows if row["mebibytes"] > limit]
    sys.exit("\n".join(f"more than {limit:.0f} MiB: {row}" for row in too_much) or 0)


if __name__ == "__main__":
    main()
