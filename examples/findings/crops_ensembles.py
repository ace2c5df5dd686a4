"""Finding 5: what do more crops and more networks give?

    python examples/findings/crops_ensembles.py --data path/to/class/folders

Szegedy et al. 2016 (arXiv:1602.07261), tables 3 to 5: 1, 10, 12 and 144 crops; one network against
an ensemble of one Inception-v4 and three Inception-ResNet-v2. The networks are those of finding 1;
what each answers is kept beside it, so that every ensemble is an average of stored answers.
"""

import argparse
import itertools
from typing import Any

import keras
import numpy as np
import reporting
import residual_speed
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
    "InceptionV4": {1: 20.0, 12: 18.7, 144: 17.7},
    "InceptionResNetV2": {1: 19.9, 12: 18.7, 144: 17.8},
    ENSEMBLE: {144: 16.5},
}


def answers(run: trainings.Run, crops: int, test: ki.data.Split) -> np.ndarray:
    """Return the class probabilities of a run's network, (images, classes); computed once."""
    path = run.folder / f"answers-{crops}-crops-{len(test)}-images.npy"
    if not path.exists():
        print(f"{run.folder.name}: {crops} crops of {len(test)} images", flush=True)
        images = (ki.data.decode_image(one["image"]).numpy() for one in test.examples())
        model = keras.saving.load_model(run.folder / MODEL_FILE, compile=False)
        found = ki.evaluation.predict(model, images, crops, batch_size=128)
        keras.utils.clear_session()
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, found.astype("float32"))
    return np.load(path)


def all_answers(
    options: argparse.Namespace, runs: dict[str, list[trainings.Run]]
) -> tuple[np.ndarray, dict[tuple[str, int, int], np.ndarray]]:
    """Return the labels of the test images, and the answers by network, seed and crops."""
    data = trainings.load_data(options)
    test = trainings.part(data.test, options.test_images, "--test-images")
    labels = np.array([int(example["label"]) for example in test.examples()])
    found = {}
    for crops, (name, networks) in itertools.product(CROPS, runs.items()):
        for run in networks:
            found[name, run.facts["seed"], crops] = answers(run, crops, test)
    return labels, found


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
    options: argparse.Namespace, rows: list[dict[str, Any]], runs: list[trainings.Run]
) -> None:
    """Write the results."""
    names = list(dict.fromkeys(row["network"] for row in rows))
    results = {
        name: {
            str(crops): reporting.spread(
                [r["error"] for r in rows if (r["network"], r["crops"]) == (name, crops)]
            )
            for crops in CROPS
        }
        for name in names
    }
    lines = []
    for name, by_crops in results.items():
        paper = PAPER.get(name, {})
        said = [f"{paper[crops]:.1f}" if crops in paper else "-" for crops in (1, 12, 144)]
        lines.append(
            [name, *(reporting.percent(by_crops[str(c)]) for c in CROPS), " / ".join(said)]
        )
    header = ["network", *(f"{crops} crop{'s' * (crops > 1)}, %" for crops in CROPS)]
    table = reporting.markdown([*header, "paper (ImageNet): 1 / 12 / 144, %"], lines)
    single = [name for name in names if name != ENSEMBLE]
    change = np.mean([results[n]["144"]["mean"] - results[n]["1"]["mean"] for n in single])
    sentence = (
        f"144 crops instead of one changed the error by {100 * change:+.1f} points, "
        f"the mean over {len(single)} networks."
    )
    if ENSEMBLE in results:
        best, together = (
            min(results[name][crops]["mean"] for name in names)
            for crops, names in (("1", single), ("144", [ENSEMBLE]))
        )
        sentence += (
            f" The best network with one crop has {100 * best:.1f} % error, the ensemble with 144 "
            f"crops {100 * together:.1f} %."
        )
    content = {
        "settings": reporting.settings(runs) | {"test_images": rows[0]["images"]},
        "networks": results,
        "sentence": sentence,
    }
    text = (
        f"**{sentence}**\n\n{table}\n\nOn {rows[0]['images']:,} test images. "
        f"{reporting.settings_text(runs)}"
    )
    reporting.write_results(options, NAME, content, rows, picture(results), SHOWS, text)


def picture(results: dict[str, dict[str, Any]]) -> Any:
    """Draw the error by the number of crops, a line for each network."""
    figure, axes = reporting.new_figure(1, 1, 7.5, 4.2)
    here = axes[0, 0]
    shift = -0.05 * (len(results) - 1)  # so that error bars do not hide each other
    for (name, by_crops), colour in zip(results.items(), reporting.COLOURS, strict=False):
        means = [100 * by_crops[str(crops)]["mean"] for crops in CROPS]
        deviations = [100 * (by_crops[str(crops)]["deviation"] or 0) for crops in CROPS]
        style = {"fmt": "o-", "capsize": 3, "linewidth": 3 if name == ENSEMBLE else 1.5}
        places = np.arange(len(CROPS)) + shift
        here.errorbar(places, means, deviations, color=colour, label=name, **style)
        shift += 0.1
    here.set_xticks(range(len(CROPS)), [str(crops) for crops in CROPS])
    here.set(xlabel="crops of an image", ylabel="test error, %")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def main() -> None:
    """Train what is not trained yet, ask every network, and report."""
    parser = trainings.parser(__doc__.splitlines()[0])
    parser.add_argument("--test-images", type=int, default=1_000)
    options = parser.parse_args()
    networks = trainings.Trainings(options, residual_speed.variants(options))
    networks.train()
    runs = networks.finished()
    if not runs:
        print("No run is finished: nothing to report yet.")
        return
    labels, found = all_answers(options, runs)
    report(options, errors(labels, found), [run for group in runs.values() for run in group])


if __name__ == "__main__":
    main()
