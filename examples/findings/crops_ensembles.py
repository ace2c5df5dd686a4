"""Finding 5: what do more crops and more networks give?

    python examples/findings/crops_ensembles.py --data path/to/class/folders

Szegedy et al. 2016 (arXiv:1602.07261), tables 3 to 5: 1, 10, 12 and 144 crops; one network against
an ensemble of one Inception-v4 and three Inception-ResNet-v2. The networks are those of finding 1;
what each answers is kept beside it, so that every ensemble is an average of stored answers.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import reporting
import residual_speed
import tensorflow as tf
import trainings

import keras_inception as ki
from keras_inception.files import atomic_path
from keras_inception.training.records import MODEL_FILE

NAME = "crops_ensembles"
SHOWS = "Test error by number of crops"
CROPS = (1, 10, 12, 144)
ENSEMBLE = "InceptionV4 + 3 x InceptionResNetV2"
# Single-crop, 10/12-crop and 144-crop top-1 errors of the v4 paper, in %.
PAPER = {
    "InceptionV3": {1: 21.2, 12: 19.8, 144: 18.9},
    "InceptionResNetV1": {1: 21.3, 12: 19.8, 144: 18.8},
    "InceptionV4": {1: 20.0, 12: 18.7, 144: 17.7},
    "InceptionResNetV2": {1: 19.9, 12: 18.7, 144: 17.8},
    ENSEMBLE: {144: 16.5},
}


class Answers:
    """The class probabilities of runs' networks for the test images, computed once and kept.

    Args:
        test: the images.
        predict: whether to compute answers that are not there.
    """

    def __init__(self, test: ki.data.Split, predict: bool = True) -> None:
        self.test = test
        self.predict = predict

    def of(self, run: trainings.Run, numbers: Sequence[int]) -> dict[int, np.ndarray]:
        """Return the answers of a run's network, (images, classes), by number of crops."""
        model = None
        for crops in numbers:
            if self.file(run, crops).exists() or not self.predict:
                continue
            if model is None:
                model = keras.saving.load_model(run.folder / MODEL_FILE, compile=False)
                model.call = tf.function(model.call)  # traced once, whatever the number of crops
            print(f"{run.folder.name}: {crops} crops of {len(self.test)} images", flush=True)
            images = (ki.data.decode_image(one["image"]).numpy() for one in self.test.examples())
            found = ki.evaluation.predict(model, images, crops, batch_size=128)
            with atomic_path(self.file(run, crops)) as temporary, temporary.open("wb") as file:
                np.save(file, found.astype("float32"))
        if model is not None:
            keras.utils.clear_session()
        files = {crops: self.file(run, crops) for crops in numbers}
        return {crops: np.load(file) for crops, file in files.items() if file.exists()}

    def file(self, run: trainings.Run, crops: int) -> Path:
        """Return where a run's answers are kept."""
        return run.folder / f"answers-{crops}-crops-{len(self.test)}-images.npy"


def all_answers(
    options: argparse.Namespace, runs: dict[str, list[trainings.Run]]
) -> tuple[np.ndarray, dict[tuple[str, int, int], np.ndarray]]:
    """Return the labels of the test images, and the answers by network, seed and crops."""
    data = trainings.load_data(options)
    test = trainings.part(data.test, options.test_images, "--test-images")
    labels = np.array([int(example["label"]) for example in test.examples()])
    answers = Answers(test, predict=not options.report_only)
    found = {
        (name, run.facts["seed"], crops): probabilities
        for name, networks in runs.items()
        for run in networks
        for crops, probabilities in answers.of(run, options.crops).items()
    }
    return labels, dict(sorted(found.items(), key=lambda item: item[0][2]))


def errors(
    labels: np.ndarray, found: dict[tuple[str, int, int], np.ndarray]
) -> list[dict[str, Any]]:
    """Return a row for each network, ensemble, seed and number of crops."""

    def row(network: str, seed: int, crops: int, probabilities: np.ndarray) -> dict[str, Any]:
        wrong = int(np.sum(np.argmax(probabilities, axis=1) != labels))
        counts = {"wrong": wrong, "images": len(labels), "error": wrong / len(labels)}
        return {"network": network, "seed": seed, "crops": crops} | counts

    rows = [row(*key, probabilities) for key, probabilities in found.items()]
    for network, seed, crops in found:
        others = [key for key in found if key[0] == "InceptionResNetV2" and key[2] == crops][:3]
        if network == "InceptionV4" and len(others) == 3:
            members = [(network, seed, crops), *others]
            together = np.mean([found[member] for member in members], axis=0)
            rows.append(row(ENSEMBLE, seed, crops, together))
    return rows


def report(
    options: argparse.Namespace,
    rows: list[dict[str, Any]],
    runs: list[trainings.Run],
    failed: Sequence[trainings.Run],
) -> None:
    """Write the results."""
    numbers = sorted({row["crops"] for row in rows})
    by_network: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        by_network.setdefault(row["network"], {}).setdefault(row["crops"], []).append(row["error"])
    results = {
        name: {str(crops): reporting.spread(found[crops]) for crops in numbers if crops in found}
        for name, found in by_network.items()
    }
    lines = []
    for name, by_crops in results.items():
        found = [by_crops.get(str(crops)) for crops in numbers]
        paper = PAPER.get(name, {})
        said = [f"{paper[crops]:.1f}" if crops in paper else "-" for crops in (1, 12, 144)]
        cells = (reporting.percent(errors) if errors else "-" for errors in found)
        lines.append([name, *cells, " / ".join(said)])
    header = ["network", *(f"{crops} crop{'s' * (crops > 1)}, %" for crops in numbers)]
    table = reporting.markdown([*header, "paper (ImageNet): 1 / 12 / 144, %"], lines)
    sentence = said_of(results, *(str(numbers[i]) for i in (0, -1)))
    content = {
        "settings": reporting.settings(runs, failed) | {"test_images": rows[0]["images"]},
        "networks": results,
        "sentence": sentence,
    }
    notes = f"On {rows[0]['images']:,} test images."
    text = reporting.page_text(sentence, table, runs, failed, notes)
    reporting.write_results(options, NAME, content, rows, picture(results), SHOWS, text)


def said_of(results: dict[str, dict[str, Any]], few: str, many: str) -> str:
    """Say what the most crops and the ensemble changed."""
    single = [name for name in results if name != ENSEMBLE and {few, many} <= results[name].keys()]
    if not single:
        return f"No network was asked for both {few} and {many} crops."
    change = 100 * np.mean([results[n][many]["mean"] - results[n][few]["mean"] for n in single])
    best = min(results[name][few]["mean"] for name in single)
    text = (
        f"{many} crops instead of {few} changed the error by {change:+.1f} points, the mean over "
        f"{len(single)} network{'s' * (len(single) > 1)}. The best network with "
        f"{few} crop{'s' * (few != '1')} has {100 * best:.1f} % error"
    )
    if many not in results.get(ENSEMBLE, {}):
        return f"{text}."
    return f"{text}, the ensemble with {many} crops {100 * results[ENSEMBLE][many]['mean']:.1f} %."


def picture(results: dict[str, dict[str, Any]]) -> Any:
    """Draw the error by the number of crops, a line for each network."""
    figure, axes = reporting.new_figure(1, 1, 7.5, 4.2)
    here = axes[0, 0]
    numbers = sorted({crops for by_crops in results.values() for crops in by_crops}, key=int)
    shift = -0.05 * (len(results) - 1)  # so that error bars do not hide each other
    for (name, by_crops), colour in zip(results.items(), reporting.COLOURS, strict=False):
        means = [100 * errors["mean"] for errors in by_crops.values()]
        deviations = [100 * (errors["deviation"] or 0) for errors in by_crops.values()]
        style = {"fmt": "o-", "capsize": 3, "linewidth": 3 if name == ENSEMBLE else 1.5}
        places = [numbers.index(crops) + shift for crops in by_crops]
        here.errorbar(places, means, deviations, color=colour, label=name, **style)
        shift += 0.1
    here.set_xticks(range(len(numbers)), numbers)
    here.set(xlabel="crops of an image", ylabel="test error, %")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def main() -> None:
    """Train what is not trained yet, ask every network, and report."""
    parser = trainings.parser(__doc__.splitlines()[0])
    parser.add_argument("--test-images", type=int, default=200)
    parser.add_argument("--crops", type=int, nargs="+", default=CROPS, choices=CROPS)
    options = parser.parse_args()
    networks = trainings.Trainings(options, residual_speed.variants(options))
    networks.train()
    runs, failed = networks.finished(), networks.failed()
    if not runs:
        print(reporting.nothing_to_report("No run", failed))
        return
    labels, found = all_answers(options, runs)
    if not found:
        print("No network has been asked: nothing to report yet. Leave out --report-only.")
        return
    shown = [run for group in runs.values() for run in group]
    report(options, errors(labels, found), shown, failed)


if __name__ == "__main__":
    main()
