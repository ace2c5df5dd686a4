"""What dynamic batching brings `examples/serve.py`: `python benchmarks/serving.py`.

Starts the server in a process of its own, once computing every request alone and once together
with those that wait, and sends it JPEGs from many clients at once for a while. Prints requests per
second and latencies, counts requests that were received and whose answer was lost when the server
is told to end under load, and writes `benchmarks/serving.json`.
"""

import argparse
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from keras_inception.jobs.benchmark.results import machine
from keras_inception.jobs.benchmark.sides import as_if_trained

HERE = Path(__file__).parent
RESULT = Path(__file__).with_suffix(".json")
SERVER = HERE.parent / "examples" / "serve.py"
BATCH_SIZES = (1, 16)  # every request alone, and together with those that wait


@dataclass(frozen=True)
class Load:
    """What came of sending requests.

    Attributes:
        seconds: how long it took.
        latencies: seconds of every request whose image was computed.
        statuses: how many requests were answered how; "unanswered" ones met a closed connection.
    """

    seconds: float
    latencies: tuple[float, ...]
    statuses: dict[str, int]

    @property
    def rate(self) -> float:
        """Images computed a second."""
        return len(self.latencies) / self.seconds

    @property
    def answers(self) -> int:
        """Requests that were answered, whatever the answer."""
        return sum(self.statuses.values()) - self.statuses.get("unanswered", 0)


def send(port: int, bodies: list[bytes], clients: int, seconds: float) -> Load:
    """Send requests from several clients, each one after the other, until the time is over.

    A client whose connection is refused ends: the server has been told to.
    """
    statuses, latencies, lock = Counter(), [], threading.Lock()
    end = time.perf_counter() + seconds

    def client(number: int) -> None:
        turn = number
        while time.perf_counter() < end:
            began = time.perf_counter()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                connection.connect()
            except OSError:
                return
            try:
                connection.request("POST", "/predict", bodies[turn % len(bodies)])
                answer = connection.getresponse()
                answer.read()
                status = str(answer.status)
            except (OSError, http.client.HTTPException):
                status = "unanswered"
            finally:
                connection.close()
            turn += 1
            with lock:
                statuses[status] += 1
                if status == "200":
                    latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(time.perf_counter() - began, tuple(latencies), dict(statuses))


def pictures(count: int, size: int) -> list[bytes]:
    """Return JPEG files of smooth noise."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), "uint8"))
        file = io.BytesIO()
        coarse.resize((size * 4 // 3, size), Image.Resampling.BICUBIC).save(file, "JPEG")
        files.append(file.getvalue())
    return files


def start(model: str, batch_size: int, *more: str) -> tuple[subprocess.Popen, int]:
    """Start the server and return it with its port, once it serves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, SERVER, model, "--port", port, "--batch-size", batch_size, *more]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    process = subprocess.Popen(
        list(map(str, command)), env=environment, stdout=subprocess.PIPE, text=True
    )
    while process.poll() is None:
        try:
            http.client.HTTPConnection("127.0.0.1", port, timeout=5).request("GET", "/health")
            return process, port
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the server did not start")


def answered(process: subprocess.Popen) -> int:
    """Wait for the server's end and return how many requests it says that it answered."""
    last = process.communicate()[0].splitlines()[-1]
    count, left = (int(part.split()[-1]) for part in last.split(","))
    if left:
        raise SystemExit(f"the server left {left} requests unanswered")
    return count


def main() -> None:
    """Measure both ways, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="what ki.predictor opens; default: InceptionV3, 299 px")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--image-size", type=int, default=480, help="height in pixels")
    options = parser.parse_args()
    model = options.model or _network()
    bodies = pictures(16, options.image_size)
    results = {}
    for batch_size in BATCH_SIZES:
        process, port = start(model, batch_size)
        warmup = send(port, bodies, options.clients, 1)
        load = send(port, bodies, options.clients, options.seconds)
        threading.Timer(1, process.send_signal, [signal.SIGTERM]).start()
        ending = send(port, bodies, options.clients, 60)
        lost = answered(process) - sum(part.answers for part in (warmup, load, ending))
        p50, p99 = np.quantile(load.latencies, [0.5, 0.99])
        results[f"batch_{batch_size}"] = {
            "requests_per_second": load.rate,
            "p50_seconds": float(p50),
            "p99_seconds": float(p99),
            "statuses": load.statuses,
            "statuses_at_shutdown": ending.statuses,
            "lost": lost,
        }
        print(
            f"batches of up to {batch_size:2}: {load.rate:6.1f} requests/s, p50 {1e3 * p50:5.0f} "
            f"ms, p99 {1e3 * p99:5.0f} ms, lost {lost}"
        )
    settings = {
        "clients": options.clients,
        "seconds": options.seconds,
        "image_size": options.image_size,
    }
    RESULT.write_text(json.dumps({"machine": machine(), **settings, **results}, indent=2) + "\n")


def _network() -> str:
    """Save InceptionV3 with random weights in a temporary folder and return where."""
    import tempfile

    import keras_inception as ki

    path = Path(tempfile.mkdtemp()) / "inception_v3.keras"
    as_if_trained(ki.InceptionV3(weights=None)).save(path)
    return str(path)


if __name__ == "__main__":
    main()
