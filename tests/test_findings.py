"""The findings: their arithmetic is recomputed, from made-up runs and from what is committed."""

import csv
import dataclasses
import json
import statistics
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import keras_inception as ki
from keras_inception.inspection import multiply_adds

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "examples" / "findings"
PAGE = ROOT / "docs" / "findings" / "index.md"
sys.path.insert(0, str(SCRIPTS))

import crops_ensembles  # noqa: E402
import ladder  # noqa: E402
import receptive_field  # noqa: E402
import residual_scaling  # noqa: E402
import residual_speed  # noqa: E402
import trainings  # noqa: E402
import weight_average  # noqa: E402

FINDINGS = (
    residual_speed,
    residual_scaling,
    ladder,
    receptive_field,
    crops_ensembles,
    weight_average,
)
EPOCHS = 4


def options(folder, *arguments, images=12):
    (folder / "docs").mkdir(exist_ok=True)
    return [
        "--data", str(folder / "images"), "--output", str(folder / "docs"),
        "--runs", str(folder / "runs"), "--images", str(images), "--validation-images", "5",
        "--batch-size", "4", "--dtype", "float32", *map(str, arguments),
    ]  # fmt: skip


def write_images(folder, count=30):
    rng = np.random.default_rng(0)
    for kind in ("dark", "light", "red"):
        (folder / "images" / kind).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype="uint8")
            Image.fromarray(pixels).save(folder / "images" / kind / f"{number}.png")


def write_run(folder, variant, seed, rng, outcome="finished"):
    """Write what a training would leave, with made-up errors that fall with the epochs."""
    run = folder / "runs" / f"{variant.name}-{seed}"
    run.mkdir(parents=True)
    facts = {
        **dataclasses.asdict(variant),
        "multiply_adds": int(rng.integers(1e7, 2e7)), "parameters": int(rng.integers(1e6, 2e6)),
        "seed": seed, "data": "made-up", "images": 12, "validation_images": 5, "batch_size": 4,
        "area_range": trainings.AREA_RANGE, "dtype": "float32", "outcome": outcome, "versions": {},
    }  # fmt: skip
    (run / "run.json").write_text(json.dumps(facts))
    rows = [
        {
            "epoch": epoch,
            "loss": 3 / epoch,
            "val_accuracy": 0.2 * epoch + rng.uniform(-0.05, 0.05),
            "raw_val_accuracy": 0.2 * epoch + rng.uniform(-0.1, 0.05),
        }
        for epoch in range(1, EPOCHS + 1)
    ]
    write_csv(run / "history.csv", rows)
    steps = [{"step": n, "loss": 2.0, "alive_features": rng.uniform()} for n in range(1, 30)]
    write_csv(run / "steps.csv", [*steps, steps[5] | {"loss": 1.0}])


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def results(finding, output):
    folder = output / finding.NAME
    return json.loads((folder / "results.json").read_text()), read_csv(folder / "results.csv")


def column(rows, name, **where):
    return [
        float(row[name])
        for row in rows
        if all(row[key] == str(value) for key, value in where.items())
    ]


def check_spread(found, expected):
    assert found["values"] == pytest.approx(expected)
    assert found["mean"] == pytest.approx(np.mean(expected))
    assert found["deviation"] == (
        None if len(expected) == 1 else pytest.approx(np.std(expected, ddof=1))
    )


def check_residual_speed(found, rows):
    last = max(int(row["epoch"]) for row in rows)
    for pair in found["pairs"]:
        finals = {
            name: column(rows, "validation_error", network=name, epoch=last)
            for name in pair["networks"]
        }
        assert pair["threshold"] == max(max(errors) for errors in finals.values())
        means = []
        for name, network in pair["networks"].items():
            check_spread(network["final_error"], finals[name])
            seeds = sorted({row["seed"] for row in rows if row["network"] == name}, key=int)
            reached = []
            for seed in seeds:
                errors = column(rows, "validation_error", network=name, seed=seed)
                at = next(i for i, error in enumerate(errors) if error <= pair["threshold"])
                part = np.interp(-pair["threshold"], [-errors[at - 1], -errors[at]], [at, at + 1])
                reached.append(part if at else 1.0)
            check_spread(network["epochs_to_threshold"], reached)
            means.append(np.mean(reached))
            if network["seconds_per_epoch"]:
                seconds = [epochs * network["seconds_per_epoch"] for epochs in reached]
                check_spread(network["seconds_to_threshold"], seconds)
        assert pair["epochs_ratio"] == pytest.approx(means[0] / means[1])
        if pair["seconds_ratio"]:
            seconds = [network["seconds_per_epoch"] for network in pair["networks"].values()]
            ratio = means[0] * seconds[0] / (means[1] * seconds[1])
            assert pair["seconds_ratio"] == pytest.approx(ratio)


def check_residual_scaling(found, rows):
    for result in found["results"]:
        assert sum(result["ends"].values()) == result["runs"]
        assert result["failed_share"] == pytest.approx(
            (result["ends"]["dead"] + result["ends"]["not finite"]) / result["runs"]
        )
        where = {name: result[name] for name in ("scale", "learning_rate")}
        alive = [column(rows, "alive_features", seed=seed, **where)[-10:] for seed in range(3)]
        alive = [statistics.fmean(shares) for shares in alive if shares]
        if alive:
            check_spread(result["alive_at_end"], alive)
        else:
            assert result["alive_at_end"] is None


def check_ladder(found, rows):
    last = max(int(row["epoch"]) for row in rows)
    for name, step in found["steps"].items():
        errors = column(rows, "validation_error", step=name, epoch=last)
        check_spread(step["final_error"], errors)


def check_receptive_field(found, rows):
    last = max(int(row["epoch"]) for row in rows)
    for size in found["sizes"]:
        errors = column(rows, "validation_error", image_size=size["image_size"], epoch=last)
        check_spread(size["final_error"], errors)


def check_crops_ensembles(found, rows):
    for row in rows:
        assert float(row["error"]) == int(row["wrong"]) / int(row["images"])
    for name, by_crops in found["networks"].items():
        assert list(by_crops) == ["1", "10", "12", "144"]
        for crops, spread in by_crops.items():
            check_spread(spread, column(rows, "error", network=name, crops=crops))


def check_weight_average(found, rows):
    last = max(int(row["epoch"]) for row in rows)
    at_the_end = []
    for name, network in found["networks"].items():
        for label in ("raw_error", "averaged_error"):
            for when, epoch in (("first", 1), ("last", last)):
                errors = column(rows, label, network=name, epoch=epoch)
                check_spread(network[label][when], errors)
        raw = np.array(column(rows, "raw_error", network=name))
        averaged = np.array(column(rows, "averaged_error", network=name))
        assert network["mean_gain"] == pytest.approx(np.mean(raw - averaged))
        assert network["epochs_won"] == np.sum(averaged < raw)
        assert network["epochs"] == len(raw)
        ends = [np.array(column(rows, label, network=name, epoch=last))
                for label in ("raw_error", "averaged_error")]  # fmt: skip
        at_the_end += list(ends[0] - ends[1])
    check_spread(found["gain_at_the_end"], at_the_end)


CHECKS = {finding: globals()[f"check_{finding.NAME}"] for finding in FINDINGS}
every_finding = pytest.mark.parametrize("finding", FINDINGS, ids=lambda finding: finding.NAME)


def run_main(finding, monkeypatch, arguments):
    monkeypatch.setattr(sys, "argv", [f"{finding.NAME}.py", *arguments])
    finding.main()


def made_up(finding, folder, monkeypatch, seeds=(0, 1, 2)):
    """Write made-up runs of all variants of a finding, and answers of their networks."""
    parsed = []
    train = trainings.Trainings.train
    monkeypatch.setattr(trainings.Trainings, "train", lambda self: parsed.append(self))
    if not (folder / "images").exists():
        write_images(folder)
    run_main(finding, monkeypatch, options(folder))
    monkeypatch.setattr(trainings.Trainings, "train", train)
    rng = np.random.default_rng(1)
    variants = parsed[0].variants
    for variant in variants:
        for seed in seeds:
            dies = finding is residual_scaling and variant.name == "rate-0.5-scale-1" and seed == 0
            write_run(folder, variant, seed, rng, "dead" if dies else "finished")
            if finding is crops_ensembles:
                for crops in crops_ensembles.CROPS:
                    answers = rng.dirichlet(np.ones(3), 9).astype("float32")
                    name = f"answers-{crops}-crops-9-images.npy"
                    np.save(folder / "runs" / f"{variant.name}-{seed}" / name, answers)
    return variants


def extra(finding):
    return ("--test-images", 9) if finding is crops_ensembles else ()


@every_finding
def test_reports_what_the_runs_say(finding, tmp_path, monkeypatch, capsys):
    made_up(finding, tmp_path, monkeypatch)
    assert "nothing to report yet" in capsys.readouterr().out
    page = tmp_path / "docs" / "index.md"
    markers = f"<!-- finding: {finding.NAME} -->\n", f"<!-- end: {finding.NAME} -->"
    page.write_text(f"before\n{markers[0]}old\n{markers[1]}\nafter\n")
    if finding is residual_speed:
        names = [name for pair in residual_speed.PAIRS for name, _ in pair]
        seconds = {name: {"median": 0.1 * number} for number, name in enumerate(names, 1)}
        folder = tmp_path / "docs" / finding.NAME
        folder.mkdir()
        (folder / "step_seconds.json").write_text(json.dumps({"networks": seconds}))
    run_main(finding, monkeypatch, options(tmp_path, "--report-only", *extra(finding)))
    found, rows = results(finding, tmp_path / "docs")
    CHECKS[finding](found, rows)
    assert found["settings"]["seeds"] == [0, 1, 2]
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    sentences = found.get("sentences") or [found["sentence"]]
    assert all(sentence in text for sentence in sentences)
    assert "seeds 0, 1, 2" in text
    picture = Image.open(tmp_path / "docs" / finding.NAME / "picture.png")
    assert np.asarray(picture.convert("L")).std() > 5  # something is drawn


def test_seconds_are_left_out_if_they_were_not_measured(tmp_path, monkeypatch):
    made_up(residual_speed, tmp_path, monkeypatch, seeds=(0,))
    run_main(residual_speed, monkeypatch, options(tmp_path, "--report-only"))
    found, rows = results(residual_speed, tmp_path / "docs")
    check_residual_speed(found, rows)
    assert [pair["seconds_ratio"] for pair in found["pairs"]] == [None, None]


def test_ensemble_is_the_mean_of_its_members(tmp_path, monkeypatch):
    made_up(crops_ensembles, tmp_path, monkeypatch)
    run_main(crops_ensembles, monkeypatch, options(tmp_path, "--report-only", "--test-images", 9))
    _, rows = results(crops_ensembles, tmp_path / "docs")
    test = ki.data.load(tmp_path / "images").test
    chosen = np.sort(np.random.default_rng(0).permutation(len(test))[:9])
    labels = [int(example["label"]) for example in test.select(chosen).examples()]

    def answers(name, seed):
        return np.load(tmp_path / "runs" / f"{name}-{seed}" / "answers-144-crops-9-images.npy")

    for seed in range(3):
        members = [answers("InceptionV4", seed)]
        members += [answers("InceptionResNetV2", other) for other in range(3)]
        wrong = np.sum(np.mean(members, axis=0).argmax(1) != labels)
        ensemble = crops_ensembles.ENSEMBLE
        assert column(rows, "wrong", network=ensemble, seed=seed, crops=144) == [wrong]


def test_runs_of_another_setting_are_refused(tmp_path, monkeypatch):
    made_up(residual_speed, tmp_path, monkeypatch, seeds=(0,))
    with pytest.raises(ki.InputError, match="V3-0 was trained with recipe .* the arguments say"):
        run_main(residual_speed, monkeypatch, options(tmp_path, "--report-only", "--epochs", 3))
    with pytest.raises(ki.InputError, match="images 12, but the arguments say 13. Give the same"):
        run_main(residual_speed, monkeypatch, options(tmp_path, "--report-only", images=13))


def test_too_few_images_are_refused(tmp_path):
    write_images(tmp_path)
    parsed = trainings.parser("test").parse_args(options(tmp_path, images=64))
    with pytest.raises(ki.InputError, match="--images asks for 64 images, but there are 63"):
        trainings.load_data(parsed)


@pytest.mark.parametrize(
    "errors, threshold, expected",
    [
        ([0.9, 0.5, 0.3], 0.4, 2.5),
        ([0.9, 0.5, 0.3], 0.5, 2),
        ([0.4, 0.5], 0.6, 1),
        ([0.9, 0.5], 0.4, None),
    ],
)
def test_epochs_to_an_error(errors, threshold, expected):
    found = residual_speed.epochs_to(errors, threshold)
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.slow
def test_pairs_cost_the_same():
    for pair in residual_speed.PAIRS:
        costs = [
            multiply_adds(
                ki.build(name, weights=None, input_shape=(75, 75, 3), classes=10, width=width)
            )
            for name, width in pair
        ]
        assert costs[0] == pytest.approx(costs[1], rel=0.02)


def test_image_sizes_give_the_paper_s_ratio():
    rows = [(stride, pool) for stride, pool, _, _ in receptive_field.ROWS]
    assert [receptive_field.image_size(299, *row) for row in rows] == [77, 151, 299]
    sizes = [receptive_field.image_size(75, *row) for row in rows]
    assert sizes == [21, 39, 75]
    grids = set()
    for (stride, pool), size in zip(rows, sizes, strict=True):
        model = ki.InceptionV3(weights=None, input_shape=(size, size, 3), classes=3, width=0.05,
                               stem_stride=stride, stem_pool=pool)  # fmt: skip
        shapes = ki.endpoints(model)
        grids.add(tuple(shapes[name][0] for name in ("conv2d_4a", "mixed_5b", "mixed_7c")))
    assert len(grids) == 1


def test_a_shortened_recipe_decays_as_often():
    recipe = ki.recipes.inception_resnet_v2
    short = trainings.shortened(recipe, 8)
    decays = [one.epochs / one.epochs_per_decay for one in (recipe, short)]
    assert decays[0] == pytest.approx(decays[1]) and short.epochs == 8
    assert short.label_smoothing == recipe.label_smoothing


def tiny_network(variant, classes):
    image = keras.Input((variant.image_size, variant.image_size, 3))
    x = keras.layers.Conv2D(4, 3, strides=4, activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(classes, activation="softmax")(x))


def test_trains_once_and_probes_every_step(tmp_path, monkeypatch, capsys):
    write_images(tmp_path)
    recipe = trainings.shortened(ki.recipes.inception_v4, 2)
    variant = trainings.Variant(name="tiny", model="GoogLeNet", recipe=recipe, image_size=32)
    monkeypatch.setattr(trainings.Variant, "build", tiny_network)
    parsed = trainings.parser("test").parse_args(options(tmp_path, "--seeds", 7, "--epochs", 2))
    runs = trainings.Trainings(parsed, [variant], probe=True)
    runs.train()
    assert "1 runs of 1 variants, 1 of them to be trained" in capsys.readouterr().out
    (run,) = runs.finished()["tiny"]
    assert run.facts["outcome"] == "finished" and run.facts["seed"] == 7
    assert run.facts["multiply_adds"] == multiply_adds(variant.build(3))
    assert run.errors() == [1 - row["val_accuracy"] for row in run.history]
    assert len(run.errors("raw_val_accuracy")) == 2
    steps = trainings.read_steps(run.folder)
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    for epoch, row in enumerate(run.history):
        mine = steps[3 * epoch : 3 * epoch + 3]
        for name in ("loss", "alive_features"):
            assert np.mean([step[name] for step in mine]) == pytest.approx(row[name], rel=1e-5)
    assert not (run.folder / "checkpoints").exists()
    monkeypatch.setattr(ki.training, "fit", None)  # it is not called again
    runs.train()
    assert "0 of them to be trained" in capsys.readouterr().out


@pytest.mark.parametrize("error, outcome", [
    (ki.training.DeadNetworkError, "dead"), (ki.training.NonFiniteError, "not finite"),
])  # fmt: skip
def test_a_failed_run_is_a_result(error, outcome, tmp_path, monkeypatch):
    write_images(tmp_path)
    recipe = trainings.shortened(ki.recipes.inception_v4, 2)
    variant = trainings.Variant(name="doomed", model="GoogLeNet", recipe=recipe, image_size=32)
    parsed = trainings.parser("test").parse_args(options(tmp_path, "--seeds", 0))

    def fit(*arguments, **named):
        raise error("Step 5: it happened.")

    monkeypatch.setattr(ki.training, "fit", fit)
    runs = trainings.Trainings(parsed, [variant])
    runs.train()
    (run,) = runs.finished()["doomed"]
    assert run.facts["outcome"] == outcome and run.facts["message"] == "Step 5: it happened."
    assert run.history == []


@every_finding
def test_page_and_committed_results_add_up(finding):
    begin, end = f"<!-- finding: {finding.NAME} -->", f"<!-- end: {finding.NAME} -->"
    section = PAGE.read_text().partition(begin)[2].partition(end)[0]
    if not (PAGE.parent / finding.NAME / "results.json").exists():
        assert section.strip() == "*Not run yet.*"
        return
    found, rows = results(finding, PAGE.parent)
    CHECKS[finding](found, rows)
    assert all(one in section for one in found.get("sentences") or [found["sentence"]])
    assert f"![{finding.SHOWS}]({finding.NAME}/picture.png)" in section


ONLY = {
    residual_speed: ["InceptionV3", "InceptionResNetV1"],
    residual_scaling: ["rate-0.5-scale-1", "rate-0.5-scale-0.1"],
    ladder: ["ladder-inception_v2", "ladder-factorized"],
    receptive_field: ["stem-1-nopool", "stem-2-pool"],
    crops_ensembles: ["InceptionResNetV2"],
    weight_average: ["InceptionV4"],
}


@pytest.mark.parametrize("finding", [
    pytest.param(finding, id=finding.NAME,
                 marks=[] if finding is crops_ensembles else pytest.mark.slow)
    for finding in FINDINGS
])  # fmt: skip
def test_trains_and_reports(finding, tmp_path, monkeypatch, capsys):
    write_images(tmp_path)
    monkeypatch.setattr(trainings.Variant, "build", tiny_network)
    arguments = ["--epochs", 2, "--seeds", 0, "--only", *ONLY[finding]]
    if finding is crops_ensembles:
        arguments += ["--test-images", 4]
    run_main(finding, monkeypatch, options(tmp_path, *arguments))
    assert "learning rate by epoch" in capsys.readouterr().out  # the plan
    found, rows = results(finding, tmp_path / "docs")
    CHECKS[finding](found, rows)
    if finding is crops_ensembles:
        check_against_evaluation(tmp_path, rows)


def check_against_evaluation(folder, rows):
    """Compare with one evaluation for each number of crops, which stores nothing."""
    trained = keras.saving.load_model(folder / "runs" / "InceptionResNetV2-0" / "model.keras")
    test = ki.data.load(folder / "images").test
    chosen = test.select(np.sort(np.random.default_rng(0).permutation(len(test))[:4]))
    for crops in crops_ensembles.CROPS:
        expected = ki.evaluation.evaluate(trained, chosen, crops).top1_error
        assert column(rows, "error", network="InceptionResNetV2", crops=crops) == [expected]


@pytest.mark.slow
def test_steps_are_measured(tmp_path, monkeypatch):
    write_images(tmp_path)
    monkeypatch.setattr(trainings.Variant, "build", tiny_network)
    monkeypatch.setattr(residual_speed, "MEASURED_STEPS", 5)
    monkeypatch.setattr(residual_speed, "WARM_UP_STEPS", 1)
    run_main(residual_speed, monkeypatch, options(tmp_path, "--measure", images=40))
    file = tmp_path / "docs" / "residual_speed" / "step_seconds.json"
    networks = json.loads(file.read_text())["networks"]
    assert list(networks) == [name for pair in residual_speed.PAIRS for name, _ in pair]
    for network in networks.values():
        assert 0 < network["least"] <= network["median"] <= network["most"]
        assert network["steps"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("finding", [residual_speed, receptive_field], ids=lambda f: f.NAME)
def test_scripts_train_the_real_networks(finding, tmp_path):
    write_images(tmp_path)
    arguments = options(tmp_path, "--epochs", 1, "--seeds", 0, "--only", *ONLY[finding])
    done = subprocess.run(
        [sys.executable, SCRIPTS / f"{finding.NAME}.py", *arguments],
        capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found, rows = results(finding, tmp_path / "docs")
    CHECKS[finding](found, rows)
