"""`keras-inception benchmark`: what it measures, merges, draws and says."""

import dataclasses
import json
import math
import multiprocessing
import os
import re

import keras
import numpy as np
import pytest
from PIL import Image

import keras_inception as ki
from keras_inception import inspection
from keras_inception.errors import InputError
from keras_inception.facts import facts
from keras_inception.inference.precision import native_bfloat16
from keras_inception.jobs import benchmark
from keras_inception.jobs.benchmark import report
from keras_inception.jobs.benchmark.gauge import Gauge, machine_gauge, take_turns
from keras_inception.jobs.benchmark.sides import (
    FORMS,
    SIDES,
    Task,
    as_if_trained,
    build,
    forms,
    in_openvino,
)
from keras_inception.jobs.benchmark.worker import Worker
from keras_inception.networks import NETWORKS
from tests import scripts

OURS = "keras_inception, tensorflow, float32"
render_speed = scripts.load("docs", "render_speed")


def measurement(network="InceptionV3", batch_size=16, speed=50.0, **changes):
    facts = {
        "network": network, "architecture": "paper", "size": 299, "width": 1.0,
        "batch_size": batch_size, "library": "keras_inception", "runtime": "openvino",
        "dtype": "bfloat16", "images_per_second": speed,
        "slowest": speed - 1, "fastest": speed + 2, "turns": 7, "undisturbed": 5,
        "p50": 16 / speed, "p99": 20 / speed,
        "memory": 900_000_000, "operations_per_second": speed * 1e10, "share_of_peak": 0.8,
        "date": "2026-07-01",
    }  # fmt: skip
    return benchmark.Measurement(**facts | changes)


def results(*measurements, left_out=None, quick=False, **changes):
    facts = {
        "cpu": "A processor", "cores": 2, "native_bfloat16": "amx_bf16", "system": "Linux x86_64",
        "python": "3.11", "packages": {"keras": "3.15.1"},
    }  # fmt: skip
    rates = {"float32": 400e9, "bfloat16": 1900e9}
    return benchmark.Results(facts | changes, rates, measurements, left_out or {}, quick)


STOCK = measurement(
    speed=10.0,
    library="keras.applications",
    runtime="tensorflow",
    dtype="float32",
    share_of_peak=0.5,
)
TORCH = measurement(speed=40.0, library="torchvision", runtime="torch.compile")


@pytest.mark.slow
def test_quick_run(run_cli, tmp_path):
    file, chart = tmp_path / "results.json", tmp_path / "chart.png"
    here = benchmark.machine()
    older = measurement("InceptionV4", size=75, width=0.1)
    dataclasses.replace(results(older, quick=True), machine=here).write(file)
    code, output, error = run_cli(
        "benchmark", "InceptionV3", "--quick", "--side", OURS, "--json", file, "--chart", chart
    )
    assert code == 0, error
    assert multiprocessing.active_children() == []
    kept, found = json.loads(file.read_text())["measurements"]
    assert kept["network"] == "InceptionV4"  # from the file; this run measured another network
    model = ki.InceptionV3(weights=None, input_shape=(75, 75, 3), width=0.1)
    operations = 2 * inspection.multiply_adds(model)
    speed = found["images_per_second"]
    assert (found["network"], found["size"], found["batch_size"]) == ("InceptionV3", 75, 2)
    assert found["operations_per_second"] == pytest.approx(speed * operations)
    assert found["slowest"] <= speed <= found["fastest"]
    assert 0 < found["p50"] <= found["p99"] < 60
    assert 1e8 < found["memory"] < 1e10
    rates = json.loads(file.read_text())["peak"]
    assert 0 <= found["undisturbed"] <= found["turns"] == 2
    assert found["share_of_peak"] >= 0.999 * speed * operations / rates["float32"]
    assert set(rates) == ({"float32", "bfloat16"} if native_bfloat16() else {"float32"})
    assert all(rate > 1e8 for rate in rates.values())
    assert found["architecture"] == "paper"
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", found["date"])
    assert "keras_inception  tensorflow  float32" in output
    assert "matrix peak" in output and "preparing" in error
    with Image.open(chart) as image:
        assert min(image.size) > 150


@pytest.mark.slow  # importing NNCF alone takes long
def test_the_side_in_int8_runs_what_was_exported():
    (found,) = benchmark.benchmark(
        batch_sizes=[2], sides=["int8"], architectures=["paper"], image_size=75, width=0.1,
        effort=benchmark.QUICK,
    ).measurements  # fmt: skip
    assert found.side == "keras_inception, openvino, int8"
    assert found.images_per_second > 0 and found.share_of_peak is None


def test_only_the_tasks_that_were_measured_are_replaced(tmp_path):
    others = [
        measurement(batch_size=1),
        measurement(architecture="torchvision"),
        measurement(size=75),
        measurement(width=0.1),
    ]
    merged = results(STOCK, *others).merged(results(measurement(speed=60.0)))
    kept = [each.task for each in merged.measurements]
    assert kept == [each.task for each in (*others, STOCK)]
    assert merged.measurements[-1].images_per_second == 60.0
    merged.write(tmp_path / "results.json")
    assert benchmark.read(tmp_path / "results.json") == merged


class Machine:
    """One whose speed changes after so many measurements.

    Args:
        *speeds: of bfloat16, float32 staying as it is, one after the other; the last one stays.
    """

    def __init__(self, *speeds):
        self.speeds = list(speeds)
        self.gauge = Gauge(self.measure)

    def measure(self):
        speed = self.speeds[0]
        if len(self.speeds) > 1:
            del self.speeds[0]
        return {"float32": 10.0, "bfloat16": speed}


def test_on_a_quiet_machine_every_side_takes_its_turns_in_order():
    order = []
    turns = take_turns(
        "ab", lambda side: order.append(side) or side, Machine(50.0).gauge, rounds=3, most=9
    )
    assert order == list("ababab")
    assert {side: [each.value for each in found] for side, found in turns.items()} == {
        "a": ["a"] * 3,
        "b": ["b"] * 3,
    }
    assert all(each.quietness == 1 and each.undisturbed for each in turns["a"])
    assert turns["b"][0].peak == {"float32": 10.0, "bfloat16": 50.0}


def test_disturbed_turns_are_taken_again_and_do_not_count():
    """The gauge is read once before the first turn and after each."""
    machine = Machine(50.0, 50.0, 20.0, 20.0, 44.0, 48.0)
    numbers = iter(range(100))
    turns = take_turns("a", lambda side: next(numbers), machine.gauge, rounds=2, most=9)
    assert [each.value for each in turns["a"]] == [0, 4]  # 1, 2 and 3 had 20 before or after
    assert [each.quietness for each in turns["a"]] == [1.0, 0.88]
    assert turns["a"][1].peak == {"float32": 10.0, "bfloat16": 46.0}
    assert machine.gauge.highest == {"float32": 10.0, "bfloat16": 50.0}


def test_turns_taken_before_the_machine_showed_its_speed_are_judged_by_that_too():
    """The first looks undisturbed until the second ends."""
    numbers = iter(range(100))
    machine = Machine(20.0, 20.0, 50.0)
    turns = take_turns("a", lambda side: next(numbers), machine.gauge, rounds=2, most=9)
    assert [each.value for each in turns["a"]] == [2, 3]


def test_on_a_machine_that_is_never_quiet_the_least_disturbed_turns_count():
    machine = Machine(50.0, 10.0, 12.0, 20.0, 20.0, 10.0)
    numbers = iter(range(100))
    turns = take_turns("a", lambda side: next(numbers), machine.gauge, rounds=2, most=5)
    assert next(numbers) == 5
    assert [each.value for each in turns["a"]] == [2, 3]
    assert [each.quietness for each in turns["a"]] == [0.24, 0.4]
    assert not any(each.undisturbed for each in turns["a"])


def test_a_side_that_fails_in_a_turn_is_out():
    calls = []

    def turn(side):
        calls.append(side)
        return None if (side, calls.count("b")) == ("b", 2) else 1.0

    turns = take_turns("ab", turn, Machine(50.0).gauge, rounds=3, most=3)
    assert set(turns) == {"a"} and calls == list("abab") + ["a"]


def test_the_gauge_of_this_machine():
    with machine_gauge(64, 0.001) as gauge:
        first, second = gauge.rates(), gauge.rates()
    assert set(first) == set(second) == set(gauge.highest)
    assert set(first) == ({"float32", "bfloat16"} if native_bfloat16() else {"float32"})
    for dtype, rate in gauge.highest.items():
        assert 1e6 < rate == max(first[dtype], second[dtype]) < 1e15
    assert 0 < gauge.quietness(first) <= 1
    assert multiprocessing.active_children() == []


def test_the_higher_peak_counts():
    older = results(measurement(batch_size=1))
    newer = dataclasses.replace(results(STOCK), peak={"float32": 500e9, "bfloat16": 1000e9})
    merged = older.merged(newer)
    assert merged.peak == {"float32": 500e9, "bfloat16": 1900e9}


def test_sides_that_run_now_are_no_longer_left_out():
    stock = "keras.applications, tensorflow, float32"
    name = "InceptionV3 (paper), 299 px, batches of 16"
    older = results(
        measurement(),
        left_out={
            stock: "needs it",
            f"{stock}: {name}": "no memory",
            f"{stock}: {name.replace('16', '1')}": "no memory",
            "timm, torch, float32": "needs timm",
        },
    )
    merged = older.merged(results(STOCK, left_out={"b": "new"}))
    assert merged.left_out == {
        f"{stock}: {name.replace('16', '1')}": "no memory",
        "timm, torch, float32": "needs timm",
        "b": "new",
    }


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"cpu": "Another"}, "cpu is A processor, but here it is Another.*Write to another file"),
        ({"cores": 4}, "cores is 2, but here it is 4"),
        ({"packages": {"keras": "3.16"}}, "keras is 3.15.1, but here it is 3.16"),
        ({"quick": True}, "results of a full run, beside which those of a quick one say nothing"),
    ],
)
def test_results_of_another_machine_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        results(STOCK).merged(results(measurement(), **changes))


def test_another_machine_is_refused_before_anything_is_measured(run_cli, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "benchmark", lambda *_, **__: pytest.fail("measured"))
    results(STOCK, quick=True).write(tmp_path / "results.json")
    code, _, error = run_cli("benchmark", "--quick", "--json", tmp_path / "results.json")
    assert (code, "The file's results were measured where" in error) == (2, True), error


def test_packages_that_only_one_run_had_are_all_named():
    merged = results(STOCK).merged(results(measurement(), packages={"timm": "1.0"}))
    assert merged.machine["packages"] == {"keras": "3.15.1", "timm": "1.0"}


def test_bounds_that_a_run_can_judge_are_judged():
    def ours(runtime, dtype, speed, **more):
        return measurement(speed=speed, runtime=runtime, dtype=dtype, **more)

    sides = [
        ours("openvino", "bfloat16", 60.0),
        ours("tensorflow", "bfloat16", 44.0),
        ours("tensorflow", "float32", 11.0),
    ]
    found = benchmark.bounds(results(STOCK, *sides))
    start = "InceptionV3 (paper), 299 px, batches of 16: keras_inception, "
    stock = "as fast as keras.applications, tensorflow, float32"
    assert found == [
        f"{start}tensorflow, bfloat16 is 4.400 times {stock}; at least 4.5 is the goal: missed.",
        f"{start}tensorflow, float32 is 1.100 times {stock}; at least 1.05 is the goal: reached.",
        f"{start}openvino, bfloat16 is 6.000 times {stock}; at least 5.5 is the goal: reached.",
        f"{start}openvino, bfloat16 reaches 80% of the peak; at least 80% is the goal: reached.",
    ]
    without = benchmark.bounds(results(STOCK, *sides, native_bfloat16=None))
    assert without == found[1:2]
    torch = [
        dataclasses.replace(TORCH, architecture="torchvision", network=network, size=size)
        for network, size in (("InceptionV3", 299), ("GoogLeNet", 224), ("GoogLeNet", 32))
    ]
    ours_too = [
        dataclasses.replace(each, library="keras_inception", images_per_second=38.0)
        for each in torch
    ]
    (first, second) = benchmark.bounds(results(*torch, *ours_too, native_bfloat16=None))
    assert first.startswith("InceptionV3 (torchvision), 299 px, batches of 16: keras_inception, ")
    assert first.endswith(
        "is 0.950 times as fast as torchvision, torch.compile, bfloat16; "
        "at least 0.97 is the goal: missed."
    )
    assert second.startswith("GoogLeNet (torchvision), 224 px")
    assert benchmark.bounds(results(STOCK, *sides, quick=True)) == []
    assert found[0] in benchmark.text(results(STOCK, *sides))


def test_forms_are_the_papers_and_those_of_the_other_sides():
    assert forms("InceptionV3", SIDES) == ["paper", "torchvision"]
    assert forms("InceptionResNetV2", SIDES) == ["paper", "slim"]
    assert forms("GoogLeNet", SIDES) == ["paper", "torchvision"]
    assert forms("InceptionV4", SIDES) == forms("BNInception", SIDES) == ["paper"]
    assert forms("InceptionV3", [side for side in SIDES if side.library == "keras_inception"]) == [
        "paper"
    ]


@pytest.mark.parametrize(
    "library, network, form",
    [(library, network, form) for library, nets in FORMS.items() for network, form in nets.items()],
)
def test_other_libraries_compute_what_the_form_of_their_network_computes(library, network, form):
    """By its multiply-adds, where the library is at hand: Keras's always is."""
    assert form in NETWORKS[network].architectures
    if library != "keras.applications":
        return
    theirs = getattr(keras.applications, network)(weights=None)
    assert inspection.multiply_adds(theirs) == facts()[network][form].multiply_adds


def test_networks_are_measured_as_training_leaves_them():
    """No shift is 0, which TensorFlow would leave out of a frozen function."""
    model = as_if_trained(build(Task("InceptionV3", "paper", 75, 1, 0.1)))
    shifts = [w for w in model.weights if w.name in ("beta", "bias", "moving_mean")]
    assert len(shifts) > 100
    assert all(np.abs(shift.numpy()).min() > 0 for shift in shifts)
    again = as_if_trained(build(Task("InceptionV3", "paper", 75, 1, 0.1)))
    np.testing.assert_array_equal(shifts[-1], again.weights[-1])


@pytest.mark.parametrize("runtime", ["openvino", "openvino THROUGHPUT"])
def test_openvino_runs_batches_by_either_hint_in_order(runtime):
    openvino = pytest.importorskip("openvino")
    from openvino import opset8 as ops

    asked = []

    def convert(shape):
        asked.append(shape)
        images = ops.parameter(shape, np.float32)
        doubled = ops.multiply(images, np.float32(2))
        return openvino.Model([doubled], [images])

    side = next(s for s in SIDES if (s.library, s.runtime, s.dtype) == ("timm", runtime, "float32"))
    run = in_openvino(convert, Task("InceptionV3", "torchvision", 8, 4), side)
    for seed in range(3):
        images = np.random.default_rng(seed).uniform(-1, 1, (4, 8, 8, 3)).astype("float32")
        np.testing.assert_allclose(run(images), 2 * images.transpose(0, 3, 1, 2))
    parts = 1 if runtime == "openvino" else math.gcd(4, os.cpu_count())
    assert asked == [(4 // parts, 3, 8, 8)]


def test_tables_name_the_fastest_first_and_the_speedup():
    found = results(STOCK, measurement(), TORCH, measurement(batch_size=1, memory=None))
    lines = benchmark.markdown(found).splitlines()
    tasks = [
        "InceptionV3 (paper), 299 px, batches of 16",
        "InceptionV3 (paper), 299 px, batches of 1",
    ]
    assert [line for line in lines if line.startswith("**")] == [f"**{task}**" for task in tasks]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith(("| keras", "| torch"))
    ]
    assert [row[0] for row in rows] == ["keras_inception", "torchvision", "keras.applications"] + [
        "keras_inception"
    ]
    assert [row[-1] for row in rows] == ["5.00x", "4.00x", "1.00x", "-"]
    assert rows[0][1:10] == ["openvino", "bfloat16", "50.0", "49.0-52.0", "5 of 7"] + [
        "320.0", "400.0", "900", "80%",
    ]  # fmt: skip
    assert rows[3][8] == "-"
    plain = benchmark.text(found).splitlines()
    assert [plain[0], plain[6]] == tasks
    assert re.split(r"  +", plain[2]) == rows[0]
    said = "Measured on 2026-07-01 on 2 cores of A processor (native bfloat16: amx_bf16)"
    assert said in benchmark.text(found)
    assert "on 2026-07-01 to 2026-07-03 on" in benchmark.text(
        results(STOCK, measurement(date="2026-07-03"))
    )
    assert "matrix peak 400 GFLOP/s float32, 1900 GFLOP/s bfloat16" in benchmark.text(found)
    heading, rule, *short = benchmark.summary(found).splitlines()[:4]
    assert heading == (  # nothing in TensorFlow, and no mixed_bfloat16
        "| network | form | pixels | batch | keras.applications float32 | here, fastest "
        "| over Keras | of peak | fastest of others |"
    )
    assert rule == "| --- | --- |" + " ---: |" * 7
    assert short[0] == (
        "| InceptionV3 | paper | 299 | 16 | 10.0 | 50.0 (openvino bfloat16) | 5.00x | 80% "
        "| 40.0 (torchvision, torch.compile, bfloat16) |"
    )
    assert short[1] == (
        "| InceptionV3 | paper | 299 | 1 | - | 50.0 (openvino bfloat16) | - | 80% | - |"
    )


def test_int8_has_columns_and_goals_of_its_own():
    """It is less exact: the fastest are told apart, and other libraries' floats are not beaten."""
    int8 = measurement(speed=70.0, dtype="int8", share_of_peak=None)
    found = results(STOCK, measurement(speed=45.0), int8)
    assert benchmark.summary(found).splitlines()[2] == (
        "| InceptionV3 | paper | 299 | 16 | 10.0 | 45.0 (openvino bfloat16) | 4.50x | 80% "
        "| 70.0 (openvino) | 7.00x |"
    )
    assert [row[9] for row in report.rows(found.measurements)] == ["50%", "80%", "-"]
    goals = [line for line in benchmark.bounds(found) if "at least 5.5" in line]
    assert [line.endswith("missed.") for line in goals] == [True, False]
    assert "keras_inception, openvino, int8 is 7.000 times as fast as keras.app" in goals[1]
    ours, theirs = (dataclasses.replace(each, architecture="torchvision") for each in (int8, TORCH))
    assert benchmark.bounds(results(ours, theirs)) == []


def test_chart_of_several_networks(tmp_path):
    benchmark.chart(results(STOCK, measurement(), TORCH), tmp_path / "one.png")
    benchmark.chart(results(STOCK, measurement(), measurement("GoogLeNet")), tmp_path / "two.png")
    sizes = [Image.open(tmp_path / name).size for name in ("one.png", "two.png")]
    assert sizes[0][0] == sizes[1][0] and sizes[0][1] < sizes[1][1]


def test_what_cannot_run_is_said_and_the_rest_measured(monkeypatch, tmp_path):
    """A side whose packages are missing, and one that fails in its process."""
    missing = next(side for side in SIDES if side.library == "torchvision")
    monkeypatch.setattr(
        benchmark.run, "SIDES", (dataclasses.replace(missing, needs=("no_such_package",)),)
    )
    with pytest.raises(
        InputError, match="No side can run these networks. .*'needs no_such_package'"
    ):
        benchmark.benchmark(effort=benchmark.QUICK)
    stock = next(side for side in SIDES if side.library == "keras.applications")
    worker = Worker(stock, Task("InceptionV3", "paper", 20, 1))
    with pytest.raises(InputError, match=r"keras.applications, tensorflow, float32: ValueError"):
        worker.wait()
    with pytest.raises(InputError, match="its process ended with code"):
        worker.turn(0.1)
    worker.close()
    assert multiprocessing.active_children() == []


def test_libraries_run_only_the_networks_and_forms_they_have():
    able = {
        (network, form): {side.library for side in SIDES if side.runs(Task(network, form, 299, 1))}
        for network in ki.list_models()
        for form in forms(network, SIDES)
    }
    ours, stock = "keras_inception", "keras.applications"
    assert able["InceptionResNetV1", "paper"] == {ours}
    assert able["GoogLeNet", "paper"] == able["InceptionResNetV2", "paper"] == {ours}
    assert able["GoogLeNet", "torchvision"] == {ours, "torchvision"}
    assert able["InceptionV3", "paper"] == {ours, stock}
    assert able["InceptionV3", "torchvision"] == {ours, "torchvision"}
    assert able["InceptionV4", "paper"] == {ours, "timm"}
    assert able["InceptionResNetV2", "slim"] == {ours, stock, "timm"}
    narrow = Task("InceptionV3", "paper", 75, 1, 0.1)
    assert {side.library for side in SIDES if side.runs(narrow)} == {ours}
    assert len({side.name for side in SIDES}) == len(SIDES)


def test_rendered_tables_are_fresh():
    for path, content in render_speed.render().items():
        fresh = path.read_text(encoding="utf-8") == content
        assert fresh, f"{path.name}: run `python docs/render_speed.py`"
    assert "<!-- speed: " in render_speed.SPEED.read_text(encoding="utf-8")


def test_rendered_tables_are_those_of_the_record(tmp_path):
    record = tmp_path / "results.json"
    assert render_speed.short(record) == render_speed.full(record) == render_speed.NOT_YET
    results(STOCK, measurement(), left_out={"timm, torch, float32": "needs timm"}).write(record)
    assert render_speed.short(record) == benchmark.summary(benchmark.read(record))
    for part in (
        render_speed.short(record),
        benchmark.markdown(benchmark.read(record)),
        "- InceptionV3 (paper), 299 px, batches of 16: keras_inception, openvino, bfloat16 is 5.00",
        "- timm, torch, float32: needs timm",
    ):
        assert part in render_speed.full(record)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["InceptionV5"], "Unknown model: 'InceptionV5'. Did you mean InceptionV"),
        (["--side", "tensorflw"], "Unknown side: 'tensorflw'"),
        (["--architecture", "slin"], "Unknown architecture of InceptionV3: 'slin'"),
        (["--json", "not.json"], "not.json holds no benchmark's results"),
    ],
)
def test_mistakes_are_one_line(run_cli, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "not.json").write_text("[]")
    code, _, error = run_cli("benchmark", "--quick", *arguments)
    assert (code, message in error) == (2, True), error
