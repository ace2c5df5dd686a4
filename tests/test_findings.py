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
EPOCHS = 6


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
        "seed": seed, "data": "images", "images": 12, "validation_images": 5, "batch_size": 4,
        "area_range": trainings.AREA_RANGE, "dtype": "float32", "outcome": outcome, "versions": {},
    }  # fmt: skip
    (run / "run.json").write_text(json.dumps(facts))
    rows = [
        {
            "epoch": epoch,
            "loss": 3 / epoch,
            "val_accuracy": 0.15 * epoch + rng.uniform(-0.05, 0.05),
            "raw_val_accuracy": 0.15 * epoch + rng.uniform(-0.1, 0.05),
        }
        for epoch in range(1, EPOCHS + 1)
    ]
    write_csv(run / "history.csv", rows if outcome == "finished" else rows[:2])
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
        worst, seed = pair["threshold_run"].rsplit("-", 1)
        at_the_end = column(rows, "validation_error", network=worst, seed=seed, epoch=last)
        assert at_the_end == [pair["threshold"]]
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
            firsts = column(rows, "validation_error", network=name, epoch=1)
            assert network["within_first_epoch"] == sum(e <= pair["threshold"] for e in firsts)
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
        assert set(by_crops) <= {"1", "10", "12", "144"}
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
        seconds = {name: 0.1 * number for number, name in enumerate(names, 1)}
        write_step_seconds(tmp_path, seconds)
    run_main(finding, monkeypatch, options(tmp_path, "--report-only", *extra(finding)))
    found, rows = results(finding, tmp_path / "docs")
    CHECKS[finding](found, rows)
    assert found["settings"]["seeds"] == [0, 1, 2]
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    sentences = found.get("sentences") or [found["sentence"]]
    assert all(sentence in text for sentence in sentences)
    assert "seeds 0, 1, 2" in text
    for name, variant in found["settings"]["variants"].items():
        assert variant["recipe"]["epochs"] and variant["image_size"], name
        assert f"{variant['model']} at width {variant['options']['width']:g}" in text
    rates = {
        variant["recipe"]["learning_rate"] for variant in found["settings"]["variants"].values()
    }
    assert ("learning_rate" in found["settings"]["recipe"]) == (len(rates) == 1)
    picture = Image.open(tmp_path / "docs" / finding.NAME / "picture.png")
    assert np.asarray(picture.convert("L")).std() > 5  # something is drawn


def write_step_seconds(folder, medians, **facts):
    """Write made-up times of steps, measured as the made-up runs were trained."""
    widths = {name: width for pair in residual_speed.PAIRS for name, width in pair}
    networks = {name: {"width": widths[name], "median": median} for name, median in medians.items()}
    facts = {"image_size": 75, "batch_size": 4, "dtype": "float32"} | facts
    file = folder / "docs" / "residual_speed" / "step_seconds.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(facts | {"networks": networks}))


@pytest.mark.parametrize("measured, said", [
    (None, "The time of a step was not measured."),
    ({"image_size": 299}, "steps of InceptionV3 were measured with image_size 299, but the runs "
     "have 75."),
    ({"dtype": "mixed_bfloat16"}, "measured with dtype mixed_bfloat16, but the runs have float32."),
    ({"networks": {}}, "of InceptionV3 were measured with width None, but the runs have 0.25."),
])  # fmt: skip
def test_seconds_are_left_out_if_they_are_not_those_of_the_runs(
    measured, said, tmp_path, monkeypatch, capsys
):
    made_up(residual_speed, tmp_path, monkeypatch, seeds=(0,))
    if measured is not None:
        names = [name for pair in residual_speed.PAIRS for name, _ in pair]
        write_step_seconds(tmp_path, dict.fromkeys(names, 0.1))
        file = tmp_path / "docs" / "residual_speed" / "step_seconds.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | measured))
    run_main(residual_speed, monkeypatch, options(tmp_path, "--report-only"))
    found, rows = results(residual_speed, tmp_path / "docs")
    check_residual_speed(found, rows)
    assert [pair["seconds_ratio"] for pair in found["pairs"]] == [None, None]
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    "finding", [one for one in FINDINGS if one is not residual_scaling], ids=lambda one: one.NAME
)
def test_failed_runs_are_left_out_and_named(finding, tmp_path, monkeypatch, capsys):
    variants = made_up(finding, tmp_path, monkeypatch, seeds=(0, 1))
    rng = np.random.default_rng(2)
    write_run(tmp_path, variants[0], 2, rng, "not finite")
    write_run(tmp_path, variants[1], 2, rng, "dead")
    run_main(finding, monkeypatch, options(tmp_path, "--report-only", *extra(finding)))
    found, rows = results(finding, tmp_path / "docs")
    CHECKS[finding](found, rows)
    failed = {f"{variants[0].name}-2": "not finite", f"{variants[1].name}-2": "dead"}
    assert found["settings"]["failed_runs"] == failed
    named = ", ".join(f"{name} ({how})" for name, how in failed.items())
    assert f"2 runs failed and are left out: {named}." in capsys.readouterr().out
    assert {row["seed"] for row in rows} == {"0", "1"}


def test_a_report_of_failed_runs_alone_says_so(tmp_path, monkeypatch, capsys):
    variants = made_up(ladder, tmp_path, monkeypatch, seeds=())
    write_run(tmp_path, variants[0], 0, np.random.default_rng(0), "dead")
    run_main(ladder, monkeypatch, options(tmp_path, "--report-only"))
    assert capsys.readouterr().out.endswith(
        "nothing to report yet. 1 run failed and is left out: ladder-inception_v2-0 (dead).\n"
    )


@pytest.mark.parametrize("plain, residual, said", [
    ([0.9, 0.7, 0.5], [0.8, 0.5, 0.4], "50.0 %, after 2.0 epochs, V after 3.0 epochs: 1.50 x as"),
    ([0.9, 0.7, 0.5], [0.4, 0.5, 0.4], "first epoch, V after 3.0 epochs: at least 3.00 x as fast"),
    ([0.5, 0.7, 0.4], [0.9, 0.8, 0.6], "3.0 epochs, V within the first epoch: at most 0.33 x as"),
    ([0.5, 0.7, 0.4], [0.5, 0.8, 0.6], "R reached the worst final error of its pair, 60.0 %, "
     "within the first epoch, V within the first epoch: not told apart by epoch."),
])  # fmt: skip
def test_no_more_is_said_of_the_first_epoch_than_is_known(plain, residual, said, tmp_path):
    facts = {
        "images": 8, "batch_size": 4, "multiply_adds": 1, "parameters": 1, "seed": 0,
        "options": {"width": 1},
    }  # fmt: skip
    runs = {
        name: [
            trainings.Run(tmp_path / f"{name}-0", facts, [{"val_accuracy": 1 - e} for e in errors])
        ]
        for name, errors in (("V", plain), ("R", residual))
    }
    result = residual_speed.compared(("V", "R"), runs, {})
    assert said in residual_speed.sentence(("V", "R"), result)


def test_an_error_that_rose_is_said_to_have_risen(tmp_path, monkeypatch):
    variants = made_up(ladder, tmp_path, monkeypatch, seeds=())
    rng = np.random.default_rng(0)
    for variant in variants[:2]:
        write_run(tmp_path, variant, 0, rng)
    history = tmp_path / "runs" / f"{variants[1].name}-0" / "history.csv"
    write_csv(history, [{"epoch": 1, "loss": 3.0, "val_accuracy": 0.1, "raw_val_accuracy": 0.1}])
    run_main(ladder, monkeypatch, options(tmp_path, "--report-only"))
    found, rows = results(ladder, tmp_path / "docs")
    errors = [column(rows, "validation_error", step=variant.name)[-1] for variant in variants[:2]]
    assert f"rose by {100 * (errors[1] - errors[0]):.1f} points." in found["sentence"]


def test_a_network_is_loaded_once_for_all_numbers_of_crops(tmp_path, monkeypatch, capsys):
    write_images(tmp_path)
    monkeypatch.setattr(trainings.Variant, "build", tiny_network)
    arguments = ["--epochs", 1, "--seeds", 0, "--only", "InceptionV4", "--test-images", 4]
    loaded = []
    load = keras.saving.load_model
    monkeypatch.setattr(
        keras.saving, "load_model", lambda *a, **k: loaded.append(a) or load(*a, **k)
    )
    run = [*options(tmp_path, *arguments)]
    run_main(crops_ensembles, monkeypatch, [*run, "--report-only"])
    assert "nothing to report yet" in capsys.readouterr().out
    run_main(crops_ensembles, monkeypatch, [*run, "--crops", "1", "12"])
    assert len(loaded) == 1
    found, rows = results(crops_ensembles, tmp_path / "docs")
    check_crops_ensembles(found, rows)
    assert list(found["networks"]["InceptionV4"]) == ["1", "12"]
    assert found["sentence"].startswith("12 crops instead of 1 changed the error by ")
    run_main(crops_ensembles, monkeypatch, [*run, "--report-only"])
    assert len(loaded) == 1  # it reports what was asked, and asks no more
    assert results(crops_ensembles, tmp_path / "docs")[1] == rows
    for file in tmp_path.rglob("answers-*.npy"):
        file.unlink()
    run_main(crops_ensembles, monkeypatch, [*run, "--report-only"])
    assert "No network has been asked: nothing to report yet." in capsys.readouterr().out


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
    other = [*options(tmp_path, "--report-only"), "--data", "mnist"]
    with pytest.raises(ki.InputError, match="with data 'images', but the arguments say 'mnist'"):
        run_main(residual_speed, monkeypatch, other)


def test_settings_are_checked_before_anything_is_trained(tmp_path, monkeypatch):
    made_up(ladder, tmp_path, monkeypatch, seeds=(0,))
    monkeypatch.setattr(ki.training, "fit", None)  # it is not called
    with pytest.raises(
        ki.InputError,
        match="ladder-inception_v2-0 was trained with recipe epochs_per_decay 0.12, but",
    ):
        run_main(ladder, monkeypatch, options(tmp_path, "--seeds", 5, "--epochs", 3))


def test_data_have_one_name_wherever_they_are(tmp_path, monkeypatch):
    (tmp_path / "cifar10").mkdir()
    monkeypatch.chdir(tmp_path / "cifar10")
    for data in (tmp_path / "cifar10", "../cifar10", ".", "cifar10", "/not/there/cifar10"):
        assert trainings.data_name(str(data)) == "cifar10"
    assert trainings.data_name("beans/small:1.0.0") == "beans/small:1.0.0"


def test_unknown_variants_are_refused(tmp_path, monkeypatch):
    with pytest.raises(
        ki.InputError, match="Unknown variant in --only: 'InceptionV5'. Did you mean"
    ):
        run_main(residual_speed, monkeypatch, options(tmp_path, "--only", "InceptionV5"))


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
def test_receptive_fields_cost_about_the_same():
    parsed = trainings.parser("test").parse_args([])
    costs = [multiply_adds(variant.build(10)) for variant in receptive_field.variants(parsed)]
    assert [round(1 - cost / max(costs), 2) for cost in costs] == [0.14, 0.0, 0.0]
    for place in (receptive_field.__doc__, PAGE.read_text()):
        assert "14 % less at 21 pixels" in place.replace("\n", " ")


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
    assert runs.finished() == {}
    (run,) = runs.ended()["doomed"]
    assert runs.failed() == [run]
    assert run.facts["outcome"] == outcome and run.facts["message"] == "Step 5: it happened."
    assert run.history == []


@every_finding
def test_page_and_committed_results_add_up(finding):
    begin, end = f"<!-- finding: {finding.NAME} -->", f"<!-- end: {finding.NAME} -->"
    section = PAGE.read_text().partition(begin)[2].partition(end)[0]
    by_hand = PAGE.read_text().partition(end)[2].partition("\n## ")[0].strip().partition("\n\n")[0]
    assert by_hand.startswith("**Against the paper.** ")
    if not (PAGE.parent / finding.NAME / "results.json").exists():
        assert section.strip() == "*Not run yet.*"
        return
    assert len(by_hand) > 200, "say whether it agrees, how sure that is, what full size would need"
    found, rows = results(finding, PAGE.parent)
    CHECKS[finding](found, rows)
    assert all(one in section for one in found.get("sentences") or [found["sentence"]])
    assert f"![{finding.SHOWS}]({finding.NAME}/picture.png)" in section


@every_finding
def test_the_page_s_command_is_the_setting_of_what_is_committed(finding, monkeypatch):
    command = f"python examples/findings/{finding.NAME}.py --data cifar10\n"
    assert command in PAGE.read_text()
    file = PAGE.parent / finding.NAME / "results.json"
    if not file.exists():
        return
    found = []
    monkeypatch.setattr(trainings.Trainings, "train", lambda self: found.append(self))
    monkeypatch.setattr(trainings.Trainings, "ended", lambda self: {})
    run_main(finding, monkeypatch, ["--data", "cifar10"])
    (runs,) = found
    settings = json.loads(file.read_text())["settings"]
    for variant in runs.variants:
        if variant.name in settings["variants"]:
            asked = json.loads(json.dumps(runs._setting(variant)))
            assert asked.items() >= settings["variants"][variant.name].items()
            same = settings.keys() & asked.keys() - {"recipe"}
            assert {name: asked[name] for name in same} == {name: settings[name] for name in same}


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


def test_too_few_steps_to_measure_are_refused(tmp_path, monkeypatch):
    arguments = options(tmp_path, "--measure", images=44)
    with pytest.raises(
        ki.InputError, match="needs 12 steps, .* 44 images are 11 steps of 4. Give --images 48"
    ):
        run_main(residual_speed, monkeypatch, arguments)


@pytest.mark.slow
def test_steps_are_measured(tmp_path, monkeypatch):
    write_images(tmp_path)
    monkeypatch.setattr(trainings.Variant, "build", tiny_network)
    monkeypatch.setattr(residual_speed, "MEASURED_STEPS", 5)
    monkeypatch.setattr(residual_speed, "WARM_UP_STEPS", 1)
    run_main(residual_speed, monkeypatch, options(tmp_path, "--measure", images=17))
    file = tmp_path / "docs" / "residual_speed" / "step_seconds.json"
    written = json.loads(file.read_text())
    assert (written["image_size"], written["batch_size"], written["dtype"]) == (75, 4, "float32")
    networks = written["networks"]
    assert list(networks) == [name for pair in residual_speed.PAIRS for name, _ in pair]
    for network in networks.values():
        assert 0 < network["least"] <= network["median"] <= network["most"]
        assert network["steps"] == 2  # four steps have three times between them, one warms up
    widths = {name: width for pair in residual_speed.PAIRS for name, width in pair}
    assert {name: network["width"] for name, network in networks.items()} == widths


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
