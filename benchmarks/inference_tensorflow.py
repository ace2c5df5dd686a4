"""How fast inference is in TensorFlow: `python benchmarks/inference_tensorflow.py`.

Every side is InceptionV3, a TensorFlow function made by `compiled`, for batches of any size as the
predictor makes it, and fed the same images: stock Keras in float32 and mixed_bfloat16, its weights
variables as in `predict`; the folded network, its weights constants; and exact rewritings of that.
Each side of a group runs in a process of its own,
and the processes take turns, so that what else the machine does falls on all. Prints medians, and
writes them to `benchmarks/inference_tensorflow.json`, where groups that were not measured stay as
they were.
"""

import argparse
import json
import os
from pathlib import Path

from turns import Side, in_turns

GROUPS = {
    "precision": (
        "keras.applications float32",
        "keras.applications mixed_bfloat16",
        "folded float32",
        "folded bfloat16",
    ),
    "rewritings": (
        "folded bfloat16",
        "folded bfloat16 not_frozen",
        "folded bfloat16 pool_first",
        "folded bfloat16 merge_pointwise",
    ),
    "scaling": ("folded bfloat16 rescale_first", "folded bfloat16 rescale_in_kernel"),
}
RESULT = Path(__file__).with_suffix(".json")


def build(side: str, size: int):
    """Return the model of a side: the words of its name are what is done to it."""
    import graph_algebra
    import keras

    from keras_inception import InceptionV3
    from keras_inception.inference.folding import fold_batch_norm
    from keras_inception.jobs.benchmark.sides import as_if_trained

    kind, dtype, *steps = side.split()
    shape = (size, size, 3)
    if kind == "keras.applications":
        keras.config.set_dtype_policy(dtype)
        return as_if_trained(keras.applications.InceptionV3(weights=None, input_shape=shape))
    model = as_if_trained(InceptionV3(weights=None, input_shape=shape))
    model = fold_batch_norm(model, dtype)
    for step in steps:
        if step != "not_frozen":
            model = getattr(graph_algebra, step)(model)
    return model


def prepare(side: str, batch: int, size: int):
    """Return what runs a batch on a side."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import keras
    import numpy as np

    from keras_inception.inference.tensorflow_function import compiled

    keras.utils.set_random_seed(0)
    freeze = side.startswith("folded") and "not_frozen" not in side
    run = compiled(build(side, size), freeze=freeze)
    images = np.random.default_rng(0).uniform(-1, 1, (batch, size, size, 3)).astype("float32")
    return lambda: run(images)


def main() -> None:
    """Measure every batch size, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", nargs="+", type=int, default=[16, 1])
    parser.add_argument("--size", type=int, default=299)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    options = parser.parse_args()
    results = json.loads(RESULT.read_text())["results"] if RESULT.exists() else {}
    for group in options.groups:
        for batch in options.batches:
            found = in_turns(
                prepare,
                GROUPS[group],
                batch,
                options.size,
                rounds=options.rounds,
                steps=max(1, 8 // batch),
            )
            table = rates(found, batch)
            results.setdefault(group, {})[f"batch {batch}"] = table
            for side, row in table.items():
                rate, speedup = row["images_per_second"], row["speedup"]
                print(f"batch {batch:3} {side:35} {rate:7.1f} images/s {speedup:5.2f}x", flush=True)
    from keras_inception.jobs.benchmark.results import machine

    settings = {"network": "InceptionV3", "size": options.size, "rounds": options.rounds}
    record = {"machine": machine(), **settings, "results": results}
    RESULT.write_text(json.dumps(record, indent=2) + "\n")


def rates(found: dict[str, Side], batch: int) -> dict[str, dict]:
    """Return images/s and the speedup over the first side; of medians, and their spread."""
    first = next(iter(found.values())).median
    return {
        name: {
            "images_per_second": batch / side.median,
            "spread": [batch / max(side.seconds), batch / min(side.seconds)],
            "undisturbed_turns": side.undisturbed,
            "speedup": first / side.median,
        }
        for name, side in found.items()
    }


if __name__ == "__main__":
    main()
