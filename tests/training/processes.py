"""Starting, killing and waiting for trainings in other processes."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT = 900  # a busy machine


class Training:
    """The processes of one training: one, or two for the strategy "multi_worker"."""

    def __init__(self, folder, runs, **options):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        places = [{}]
        if options.get("strategy") == "multi_worker":
            workers = free_addresses(2)
            places = [{"workers": workers, "index": i} for i in range(2)]
        self.processes = [
            self._start(i, {"runs": runs} | options | place) for i, place in enumerate(places)
        ]

    def _start(self, i, options):
        options["out"] = str(self.folder / f"{i}.pickle")
        environment = os.environ | {
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "KERAS_BACKEND": options.pop("backend", "tensorflow"),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={options.get('devices', 1)}",
        }
        environment.pop("TF_CONFIG", None)
        with open(self.folder / f"{i}.log", "w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.training.run_fit", json.dumps(options)],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def log(self, i=0):
        return (self.folder / f"{i}.log").read_text()

    def wait_for_step(self, step):
        """Wait until the first process has told of a step, or has ended."""
        until = time.monotonic() + TIMEOUT
        while self.processes[0].poll() is None and f"step {step}\n" not in self.log():
            assert time.monotonic() < until, self.log()
            time.sleep(0.01)

    def kill(self, which=slice(None)):
        """Kill -9."""
        for process in self.processes[which]:
            process.send_signal(signal.SIGKILL)
        for process in self.processes[which]:
            process.wait()

    def results(self):
        """Wait for a good end; return what each run came to, in the first process."""
        for i, process in enumerate(self.processes):
            assert process.wait(TIMEOUT) == 0, self.log(i)[-4000:]
        return pickle.loads((self.folder / "0.pickle").read_bytes())


def free_addresses(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    addresses = [f"localhost:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses
