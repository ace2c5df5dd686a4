"""What 16-bit and 8-bit exports of all seven networks lose on the digits.

    python benchmarks/seven_recipes.py runs/seven_recipes benchmarks/seven_recipes.json
    python benchmarks/export_accuracy.py runs/seven_recipes

Takes the networks that the first command trained, exports each in every format and in every
precision but float32, runs the files in their own runtimes on the digits that were not trained on,
and writes accuracies to `benchmarks/export_accuracy.json`. It fails if an export finds fewer of
them than the network does, by more than half a point. With `--only` the lines of those networks are
replaced in the record, if the same machine wrote it. Needs the extras onnx, openvino and litert.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
from seven_recipes import CASES, Case, chosen

import keras_inception as ki
from keras_inception.files import MODEL_FILE, atomic_path
from keras_inception.inference.export import FORMATS, export
from keras_inception.inference.runtimes import open_runtime
from keras_inception.jobs.benchmark.results import machine
from keras_inception.preprocessing import Preprocessing

RESULT = Path(__file__).with_suffix(".json")
POINTS = 0.005
BATCH = 64


def unseen(digits: ki.data.Dataset, preprocessing: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of the validation and test splits, and their labels."""
    parts = []
    for split in (digits.validation, digits.test):
        batches = ki.data.evaluation_batches(
            split, preprocessing=preprocessing, batch_size=len(split)
        )
        parts += [(images.numpy(), labels.numpy()) for images, labels in batches]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return images, labels


def outputs_of(model: keras.Model, images: np.ndarray, form: str, **options: Any) -> np.ndarray:
    """Export a network and return what the file gives."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"network{FORMATS[form].ending}"
        export(model, path, format=form, include_preprocessing=False, **options)
        with open_runtime(path) as runtime:
            batches = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
            return np.concatenate([runtime.run(batch)["predictions"] for batch in batches])


def measure(case: Case, folder: Path) -> dict:
    """Return the accuracy of a trained network and of its exports."""
    digits = ki.data.load("digits")
    preprocessing = case.preprocessing
    images, labels = unseen(digits, preprocessing)
    model = keras.saving.load_model(folder / MODEL_FILE, compile=False)
    model = keras.Model(model.inputs, model.get_layer("predictions").output, name=model.name)

    def score(outputs: np.ndarray) -> float:
        return float((outputs.argmax(1) == labels).mean())

    exports = {}
    for form, facts in FORMATS.items():
        for precision in facts.precisions:
            options = {"precision": precision}
            if precision == "int8":
                options |= {"calibration": digits.train, "preprocessing": preprocessing}
            if precision != "float32":
                exports[f"{form} {precision}"] = score(outputs_of(model, images, form, **options))
    return {
        "network": case.network,
        "width": case.width,
        "pixels": case.side,
        "images": len(images),
        "accuracy": score(model.predict(images, BATCH, verbose=0)),
        "exports": exports,
    }


def main() -> None:
    """Measure every network that is trained, write the record, fail if an export loses too much."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="folder of the runs of seven_recipes.py")
    parser.add_argument("--only", nargs="*", help="names of networks")
    options = parser.parse_args()
    record = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    known = record["results"] if record.get("machine") == machine() else []
    lines = {line["network"]: line for line in known}
    for case in chosen(options.only):
        lines[case.network] = measure(case, options.runs / case.network)
        print(json.dumps(lines[case.network]), flush=True)
        keras.utils.clear_session()
    in_order = [lines[case.network] for case in CASES if case.network in lines]
    with atomic_path(RESULT) as temporary:
        record = {"machine": machine(), "results": in_order}
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    too_much = [
        f"{line['network']}, {form}: {accuracy:.4f}, the network itself {line['accuracy']:.4f}"
        for line in in_order
        for form, accuracy in line["exports"].items()
        if accuracy < line["accuracy"] - POINTS
    ]
    sys.exit("\n".join(too_much) or 0)


if __name__ == "__main__":
    main()
