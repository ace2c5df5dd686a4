"""Train each of the seven networks by its own recipe on the embedded digits.

    python benchmarks/seven_recipes.py runs/seven_recipes benchmarks/seven_recipes.json

Each recipe keeps its optimizer, regularisation, label smoothing and running average;
`dataclasses.replace` shortens what is meant for a million images: epochs, the steps of the learning
rate, and the memories of the batch statistics and of the average. The networks are narrow. Only
GoogLeNet has its auxiliary heads: that of Inception-v2 and v3 needs images of 299 pixels, so the
weight that their recipes give it is not used here. An interrupted run goes on where it was.

Report, for each network: test accuracy, accuracy and loss of the averaged and of the raw weights on
the validation images, seconds. It fails if a test accuracy is below 95 %, or if the averaged
weights do worse than the raw ones: have a larger loss, which says more than the accuracy on so few
images, in the mean over the last epochs, since that of the raw weights goes up and down.
"""

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import keras_inception as ki
from keras_inception import data, evaluation, recipes, training
from keras_inception.files import atomic_path
from keras_inception.jobs.benchmark.results import machine
from keras_inception.preprocessing import Preprocessing

BATCH = 32
SHORT = {
    "epochs_per_decay": 1,
    "learning_rate_decay": 0.9,
    "average_decay": 0.99,
    "augmentation": "light",
}
LOWEST_ACCURACY = 0.95
LAST_EPOCHS = 4  # whose losses are compared


@dataclasses.dataclass(frozen=True)
class Case:
    """A network, its recipe and what is changed in it."""

    network: str
    recipe: recipes.Recipe
    learning_rate: float
    side: int
    width: float
    aux_heads: bool = False
    epochs: int = 16

    def build(self):
        """Return the network, narrow, for ten digits."""
        return ki.build(
            self.network,
            weights=None,
            input_shape=(self.side, self.side, 3),
            classes=10,
            width=self.width,
            aux_heads=self.aux_heads,
        )

    @property
    def preprocessing(self) -> Preprocessing:
        """The whole image at the network's size."""
        return Preprocessing(size=(self.side, self.side), crop_fraction=1.0)

    @property
    def shortened(self) -> recipes.Recipe:
        """The recipe for a few hundred steps."""
        momentum = None if self.recipe.batch_norm_momentum is None else 0.9
        return dataclasses.replace(
            self.recipe,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            batch_norm_momentum=momentum,
            **SHORT,
        )


CASES = [
    Case("GoogLeNet", recipes.googlenet, 0.02, 65, 0.25, aux_heads=True, epochs=32),
    Case("BNInception", recipes.bn_inception, 0.045, 48, 0.25),
    Case("InceptionV2", recipes.inception_v2, 0.045, 75, 0.15),
    Case("InceptionV3", recipes.inception_v3, 0.045, 75, 0.15),
    Case("InceptionV4", recipes.inception_v4, 0.01, 107, 0.15, epochs=28),
    Case("InceptionResNetV1", recipes.inception_resnet_v1, 0.045, 75, 0.15),
    Case("InceptionResNetV2", recipes.inception_resnet_v2, 0.045, 75, 0.15),
]


def chosen(names: Sequence[str] | None) -> list[Case]:
    """Return the cases of some networks; all without names."""
    return [case for case in CASES if not names or case.network in names]


def run(case: Case, folder: Path) -> dict:
    """Train one network; return its line of the report."""
    digits = data.load("digits")
    preprocessing = case.preprocessing
    batches = data.training_batches(
        digits.train,
        preprocessing=preprocessing,
        global_batch_size=BATCH,
        mode=case.shortened.augmentation,
    )
    validation = data.evaluation_batches(
        digits.validation, preprocessing=preprocessing, batch_size=BATCH
    )
    trained = training.fit(
        case.build, case.shortened, batches, validation, run_dir=folder, evaluate_raw=True
    )
    report = evaluation.evaluate(trained.model, digits.test, preprocessing=preprocessing)
    last = {
        name: statistics.fmean(row[name] for row in trained.history[-LAST_EPOCHS:])
        for name in ("val_accuracy", "val_loss", "raw_val_accuracy", "raw_val_loss")
    }
    return {
        "network": case.network,
        "recipe": dataclasses.asdict(case.shortened),
        "input_pixels": case.side,
        "width": case.width,
        "auxiliary_heads": case.aux_heads,
        "batch": BATCH,
        "test_images": report.images,
        "test_accuracy": 1 - report.top1_error,
        "validation_accuracy": last["val_accuracy"],
        "validation_loss": last["val_loss"],
        "raw_validation_accuracy": last["raw_val_accuracy"],
        "raw_validation_loss": last["raw_val_loss"],
        "seconds": round(sum(row["seconds"] for row in trained.history), 1),
    }


def failures(lines: list[dict]) -> list[str]:
    """Return what does not hold in a report."""
    wrong = []
    for line in lines:
        if line["test_accuracy"] < LOWEST_ACCURACY:
            wrong.append(f"{line['network']}: test accuracy {line['test_accuracy']:.4f}")
        if line["validation_loss"] > line["raw_validation_loss"]:
            wrong.append(f"{line['network']}: averaged weights worse than raw ones")
    return wrong


def main() -> None:
    """Run all cases, write the report, fail if it is not good."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="folder for the runs; they go on from there")
    parser.add_argument("report", type=Path, help="JSON file to write")
    parser.add_argument("--only", nargs="*", help="names of networks")
    arguments = parser.parse_args()
    lines = []
    for case in chosen(arguments.only):
        lines.append(run(case, arguments.runs / case.network))
        print({k: v for k, v in lines[-1].items() if k != "recipe"}, flush=True)
    with atomic_path(arguments.report) as temporary:
        temporary.write_text(json.dumps({"machine": machine(), "results": lines}, indent=1) + "\n")
    sys.exit("\n".join(failures(lines)) or 0)


if __name__ == "__main__":
    main()
