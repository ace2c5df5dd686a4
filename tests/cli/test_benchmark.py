"""`keras-inception benchmark`: what it measures, merges, draws and says."""

import dataclasses
import json
import multiprocessing

import pytest
from PIL import Image

import keras_inception as ki
from keras_inception import inspection
from keras_inception.errors import InputError
from keras_inception.jobs import benchmark
from keras_inception.jobs.benchmark.sides import SIDES, Task
from keras_inception.jobs.benchmark.worker import Worker

OURS = "keras_inception, tensorflow, float32"


def measurement(network="InceptionV3", batch_size=16, speed=50.0, **changes):
    facts = {
        "network": network, "size": 299, "batch_size": batch_size, "library": "keras_inception",
        "runtime": "openvino", "dtype": "bfloat16", "images_per_second": speed,
        "slowest": speed - 1, "fastest": speed + 2, "p50": 16 / speed, "p99": 20 / speed,
        "memory": 900_000_000, "operations_per_second": speed * 1e10, "share_of_peak": 0.8,
    }  # fmt: skip
    return benchmark.Measurement(**facts | changes)


def results(*measurements, left_out=None):
    facts = {
        "cpu": "A processor", "cores": 2, "native_bfloat16": "amx_bf16", "system": "Linux x86_64",
        "python": "3.11", "packages": {"keras": "3.15.1"},
    }  # fmt: skip
    peak = {"float32": 400e9, "bfloat16": 1900e9}
    return benchmark.Results(facts, peak, measurements, left_out or {})


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
    results(measurement("InceptionV4")).write(file)
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
    peak = json.loads(file.read_text())["peak"]
    assert found["share_of_peak"] == pytest.approx(speed * operations / peak["float32"])
    assert peak["bfloat16"] > 1e8
    assert "keras_inception  tensorflow  float32" in output
    assert "matrix peak" in output and "preparing" in error
    with Image.open(chart) as image:
        assert min(image.size) > 150


def test_only_the_measured_networks_and_batches_are_replaced(tmp_path):
    older = results(STOCK, measurement(batch_size=1), left_out={"a": "why", "b": "old"})
    newer = results(measurement(speed=60.0), left_out={"b": "new"})
    merged = older.merged(newer)
    assert merged.measurements == (measurement(batch_size=1), measurement(speed=60.0))
    assert merged.left_out == {"a": "why", "b": "new"}
    merged.write(tmp_path / "results.json")
    assert benchmark.read(tmp_path / "results.json") == merged


def test_tables_name_the_fastest_first_and_the_speedup():
    found = results(STOCK, measurement(), TORCH, measurement(batch_size=1, memory=None))
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in benchmark.markdown(found).splitlines()
        if line.startswith("| Inc")
    ]
    assert [row[2] for row in rows] == ["keras_inception", "torchvision", "keras.applications"] + [
        "keras_inception"
    ]
    assert [row[-1] for row in rows] == ["5.00x", "4.00x", "1.00x", "-"]
    assert rows[0][5:11] == ["50.0", "49.0-52.0", "320.0", "400.0", "900", "80%"]
    assert rows[3][9] == "-"
    assert "2 cores of A processor (native bfloat16: amx_bf16)" in benchmark.text(found)
    assert "matrix peak 400 GFLOP/s float32, 1900 GFLOP/s bfloat16" in benchmark.text(found)
    short = benchmark.summary(found).splitlines()[2:4]
    assert short[0] == (
        "| InceptionV3 | 299 | 16 | 10.0 | - | - | 50.0 (openvino bfloat16) | 5.00x | 80% "
        "| 40.0 (torchvision, torch.compile, bfloat16) |"
    )
    assert short[1].startswith("| InceptionV3 | 299 | 1 | - | - | - | 50.0 (openvino bfloat16) | -")


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
    worker = Worker(stock, Task("InceptionV3", 20, 1))
    with pytest.raises(InputError, match=r"keras.applications, tensorflow, float32: ValueError"):
        worker.wait()
    with pytest.raises(InputError, match="its process ended with code"):
        worker.turn(0.1)
    worker.close()
    assert multiprocessing.active_children() == []


def test_libraries_run_only_the_networks_they_have():
    able = {
        network: {side.library for side in SIDES if side.runs(Task(network, 299, 1))}
        for network in ki.list_models()
    }
    assert able["InceptionResNetV1"] == {"keras_inception"}
    assert able["GoogLeNet"] == {"keras_inception", "torchvision"}
    everyone = {"keras_inception", "keras.applications", "torchvision", "timm"}
    assert able["InceptionV3"] == everyone
    assert able["InceptionResNetV2"] == everyone - {"torchvision"}
    assert len({side.name for side in SIDES}) == len(SIDES)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["InceptionV5"], "Unknown model: 'InceptionV5'. Did you mean InceptionV"),
        (["--side", "tensorflw"], "Unknown side: 'tensorflw'"),
        (["--json", "not.json"], "not.json holds no benchmark's results"),
    ],
)
def test_mistakes_are_one_line(run_cli, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "not.json").write_text("[]")
    code, _, error = run_cli("benchmark", "--quick", *arguments)
    assert (code, message in error) == (2, True), error
