"""Show that memory does not grow with the number of crops, of images or of networks.

Each case evaluates small-width Inception-v3 networks at 299 pixels in a process of its own and
tells by how much the process grew beyond what it held when the networks were built. The first case,
single crops, is the reference: the others may need at most `ALLOWANCE` more. (All 144 crops of four
images, which are in flight together, would be 590 MiB.)

    python benchmarks/crops_memory.py

Takes a minute or two on two CPU cores; the exit code is 1 if a case needs more than it may.
"""

import argparse
import json
import resource
import subprocess
import sys

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
        ki.InceptionV3(weights=None, classes=1000, width=0.25, name=f"network_{number}")
        for number in range(networks)
    ]
    photograph = np.random.default_rng(0).integers(0, 256, (375, 500, 3)).astype(np.uint8)
    dataset = tf.data.Dataset.from_tensors((photograph, 0)).repeat(images)
    before = _peak()
    report = evaluate(models, dataset, crops, batch_size=BATCH_SIZE)
    return {"MiB": _peak() - before, "seconds": report.seconds}


def _peak() -> float:
    """Return the largest memory this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Measure every case and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", type=int, nargs=3, help="measure one case in this process")
    case = parser.parse_args().case
    if case:
        print(json.dumps(measure(*case)))
        return 0
    print("crops  networks  images  MiB gained  seconds")
    gained = {}
    for case in CASES:
        command = [sys.executable, __file__, "--case", *map(str, case)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = json.loads(output.splitlines()[-1])
        gained[case] = found["MiB"]
        print("{:5}  {:8}  {:6}  {MiB:10.0f}  {seconds:7.1f}".format(*case, **found))
    limit = gained[CASES[0]] + ALLOWANCE
    too_much = [case for case in CASES if gained[case] > limit]
    print(f"limit {limit:.0f} MiB: {'exceeded by ' + str(too_much) if too_much else 'kept'}")
    return bool(too_much)


if __name__ == "__main__":
    sys.exit(main())
