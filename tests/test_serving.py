"""The example server: batches, refuses what it must, loses nothing at its end."""

import asyncio
import http.client
import importlib.util
import json
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from keras_inception.inference.predictor import predictor
from keras_inception.preprocessing import Preprocessing
from tests.inference.small import lively

ROOT = Path(__file__).parents[1]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


serve = load(ROOT / "examples" / "serve.py")
serving = load(ROOT / "benchmarks" / "serving.py")


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input((24, 24, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, strides=3)(inputs))
    x = layers.Dense(3, activation="softmax")(layers.Flatten()(x))
    return lively(keras.Model(inputs, x, name="tiny"))


class Slow:
    """A predictor whose batches take a while, and which notes their sizes."""

    def __init__(self, network, seconds):
        self.network, self.seconds, self.sizes = network, seconds, []

    def __getattr__(self, name):
        return getattr(self.network, name)

    def run(self, rows):
        self.sizes.append(len(rows))
        time.sleep(self.seconds)
        return self.network.run(rows)


@pytest.fixture(scope="module")
def network(model):
    with predictor(model, "tensorflow", "float32", 8, class_names=["cat", "dog", "owl"]) as network:
        yield network


@pytest.fixture
def running():
    """Return a function that serves in a thread and gives server and port; ends it."""
    ends = []

    def run(network, **limits):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = serve.Server(network, serve.Limits(**limits))
        listener = serve.listener(server, "127.0.0.1", port)
        thread = threading.Thread(target=listener.run)
        thread.start()

        def end():
            listener.should_exit = True  # what SIGTERM does
            thread.join()

        ends.append(end)
        server.end = end
        while not listener.started:
            time.sleep(0.01)
        return server, port

    yield run
    for end in ends:
        end()


def ask(port, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET" if body is None else "POST", path, body)
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    return answer.status, json.loads(content) if content.startswith("{") else content, answer


def begun(port, body):
    """Send only the beginning of a request and return its connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    connection.send(body[:10])
    return connection


@pytest.fixture(scope="module")
def pictures():
    return serving.pictures(4, 60)


def test_answers_are_the_predictors(network, model, pictures, running):
    _, port = running(network)
    for picture in pictures:
        status, said, _ = ask(port, "/predict?top=2", picture)
        prepared = network.inputs(picture)
        np.testing.assert_allclose(
            prepared, Preprocessing(size=(24, 24))(decoded(picture))[None], atol=1e-4
        )
        truth = np.asarray(model(prepared))[0]
        best = np.argsort(-truth)[:2]
        assert status == 200
        assert [c["name"] for c in said["classes"]] == [("cat", "dog", "owl")[i] for i in best]
        found = [c["probability"] for c in said["classes"]]
        np.testing.assert_allclose(found, truth[best], atol=1e-5)


def decoded(picture):
    import tensorflow as tf

    return tf.io.decode_jpeg(picture).numpy()


def test_refusals_say_why(network, pictures, running):
    _, port = running(network, max_bytes=3000, max_pixels=5000)
    for body, path, status, reason in (
        (b"no picture", "/predict", 400, "not a JPEG, PNG, BMP, GIF or WebP image"),
        (pictures[0][:300], "/predict", 400, ""),
        (b"", "/predict", 400, "an empty file"),
        (pictures[0], "/predict?top=0", 400, "top must be a whole number from 1, got '0'"),
        (pictures[0], "/predict?top=x", 400, "got 'x'"),
        (b"x" * 5000, "/predict", 413, "more than 3000 bytes"),
        (serving.pictures(1, 90)[0], "/predict", 413, "the image has 10800 pixels, more than 5000"),
    ):
        found, said, _ = ask(port, path, body)
        assert (found, reason in said["error"]) == (status, True), said
    assert ask(port, "/predict")[0] == 405
    status, said, _ = ask(port, "/metrics")
    assert status == 200
    assert 'requests_total{status="400"} 5' in said
    assert 'requests_total{status="413"} 2' in said
    assert ask(port, "/health")[1] == {"network": network.description}


def test_requests_that_come_together_are_computed_together(network, pictures, running):
    slow = Slow(network, 0.05)
    _, port = running(slow)
    done = serving.send(port, pictures, clients=16, seconds=1.0)
    assert set(done.statuses) == {"200"}
    assert sum(slow.sizes) == done.statuses["200"]
    assert max(slow.sizes) == 8
    alone = 1 / 0.05
    assert done.rate > 2 * alone
    said = ask(port, "/metrics")[1]
    assert f"images_total {sum(slow.sizes)}" in said
    assert f"batches_total {len(slow.sizes)}" in said
    assert 'request_seconds{quantile="0.99"}' in said


def test_a_lone_request_waits_no_longer_than_the_bound(network, pictures, running):
    _, port = running(network, max_delay=0.3)
    began = time.perf_counter()
    assert ask(port, "/predict", pictures[0])[0] == 200
    assert 0.3 <= time.perf_counter() - began < 5


def test_a_failing_batch_whose_requests_are_gone_is_survived():
    """Futures that were cancelled meanwhile take no result and no error."""

    class Failing:
        batch_size, fails = 4, True

        def run(self, rows):
            time.sleep(0.2)
            if self.fails:
                self.fails = False
                raise RuntimeError("out of luck")
            return np.zeros((len(rows), 2))

    async def scenario():
        batcher = serve.Batcher(Failing(), serve.Limits())
        row = np.zeros((1, 2, 2, 3))
        async with batcher.computing():
            waiting = asyncio.create_task(batcher.outputs(row))
            await asyncio.sleep(0.1)  # its batch is being computed
            waiting.cancel()
            assert len(await batcher.outputs(row)) == 2
            assert batcher.computes

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_server_that_computes_no_more_says_so(network, pictures, running, monkeypatch):
    server, port = running(network)
    assert ask(port, "/health")[0] == 200

    async def broken(self):
        raise MemoryError

    monkeypatch.setattr(serve.Batcher, "_batch", broken)
    assert ask(port, "/predict", pictures[0])[0] == 200  # the batch that was being waited for
    for path, body in (("/predict", pictures[0]), ("/predict", pictures[0]), ("/health", None)):
        status, said, _ = ask(port, path, body)
        assert status == 503
    assert said == {"network": network.description}
    assert "computes no more" in ask(port, "/predict", pictures[0])[1]["error"]
    assert not server.batcher.computes
    assert server.in_flight == 0


def test_pictures_that_are_bombs_are_too_large(network, pictures, running, monkeypatch):
    monkeypatch.setattr(serve.Image, "MAX_IMAGE_PIXELS", 1000)
    _, port = running(network)
    status, said, _ = ask(port, "/predict", pictures[0])
    assert (status, "the image has too many pixels" in said["error"]) == (413, True)


def test_requests_that_are_being_read_count(network, pictures, running):
    """A client that sends slowly takes a place, though nothing of it is to be computed yet."""
    server, port = running(network, max_waiting=1)
    slow = begun(port, pictures[0])
    while not server.in_flight:
        time.sleep(0.01)
    status, said, answer = ask(port, "/predict", pictures[0])
    assert (status, said["error"]) == (503, "1 requests are under way already; try again later")
    assert answer.headers["Retry-After"] == "1"
    slow.send(pictures[0][10:])
    assert slow.getresponse().status == 200
    slow.close()
    assert ask(port, "/predict", pictures[0])[0] == 200


def test_too_many_waiting_are_told_to_come_back(network, pictures, running):
    slow = Slow(network, 0.5)
    _, port = running(slow, max_waiting=4)
    done = serving.send(port, pictures, clients=40, seconds=0.4)
    assert set(done.statuses) == {"200", "503"}
    assert sum(slow.sizes) == done.statuses["200"]


def test_a_failing_batch_is_answered_and_the_next_goes_well(network, pictures, running):
    class Failing(Slow):
        def run(self, rows):
            if not self.sizes:
                self.sizes.append(len(rows))
                raise RuntimeError("out of luck")
            return super().run(rows)

    _, port = running(Failing(network, 0))
    status, said, _ = ask(port, "/predict", pictures[0])
    assert (status, said) == (500, {"error": "RuntimeError: out of luck"})
    assert ask(port, "/predict", pictures[0])[0] == 200


def test_nothing_is_lost_at_the_end(network, pictures, running):
    """What the server received before its end is answered, and every answer arrives."""
    slow = Slow(network, 0.2)
    server, port = running(slow)
    threading.Timer(0.7, server.end).start()
    done = serving.send(port, pictures, clients=24, seconds=20)
    server.end()
    assert done.seconds < 15
    assert (server.in_flight, dict(server.statuses)) == (0, {200: done.statuses["200"]})
    assert sum(slow.sizes) == done.statuses["200"] >= 24


@pytest.mark.slow
def test_the_process_ends_well_on_sigterm(tmp_path, model, pictures):
    model.save(tmp_path / "model.keras")
    plain = ("--runtime", "tensorflow", "--dtype", "float32")
    process, port = serving.start(str(tmp_path / "model.keras"), 4, *plain)
    threading.Timer(1, process.send_signal, [signal.SIGTERM]).start()
    done = serving.send(port, pictures, clients=8, seconds=30)
    assert serving.answered(process) == done.statuses["200"] >= 8
    assert process.returncode == 0


def test_batches_wait_from_the_arrival_of_their_first():
    """What waited while another batch was computed is not made to wait again."""

    class Recorder:
        batch_size, sizes = 4, []

        def run(self, rows):
            self.sizes.append(len(rows))
            time.sleep(0.3)
            return np.zeros((len(rows), 2))

    async def arrive():
        batcher = serve.Batcher(Recorder(), serve.Limits(max_delay=0.2))
        row = np.zeros((1, 2, 2, 3))
        async with batcher.computing():
            first = asyncio.create_task(batcher.outputs(row))
            await asyncio.sleep(0.25)  # the first is being computed
            began = time.perf_counter()
            await batcher.outputs(row)
            await first
            return time.perf_counter() - began

    seconds = asyncio.run(arrive())
    assert Recorder.sizes == [1, 1]
    assert seconds < 0.75  # the first's rest, 0.25, and its own 0.3; no 0.2 of waiting


def test_a_body_that_does_not_arrive_is_given_up(network, pictures, running):
    server, port = running(network, max_body_seconds=0.2)
    slow = begun(port, pictures[0])
    answer = slow.getresponse()
    assert answer.status == 408
    assert "the body had not arrived after 0.2 seconds" in answer.read().decode()
    slow.close()
    assert (server.in_flight, dict(server.statuses)) == (0, {408: 1})


def test_clients_that_go_away_are_no_fault_of_the_servers(network, pictures, running):
    server, port = running(network)
    with socket.create_connection(("127.0.0.1", port)) as gone:
        gone.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        while not server.in_flight:
            time.sleep(0.01)
    while server.in_flight:
        time.sleep(0.01)
    assert dict(server.statuses) == {499: 1}
    status, said, _ = ask(port, f"/predict?top={'9' * 5000}", pictures[0])
    assert status == 400 and "top must be a whole number from 1" in said["error"]
    assert 'request_seconds{quantile="0.5"}' not in ask(port, "/metrics")[1]
    assert ask(port, "/predict", pictures[0])[0] == 200
    assert 'request_seconds{quantile="0.5"}' in ask(port, "/metrics")[1]
