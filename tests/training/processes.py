"""Starting, killing and waiting for trainings in other processes."""

import json
import multiprocessing
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT = 900  # a busy machine
QUICK_TO_COMPILE = (  # JAX compiles longer than these small networks train
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
)


_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    ["tests.training.small", "keras_inception.training.tensorflow_engine", "matplotlib.figure"]
)


class Forked:
    """A `subprocess.Popen` that starts in less time: what it imports is in memory already.

    It leaves out what Python and TensorFlow do when a process ends.
    """

    def __init__(self, options, environment, log):
        log.touch()
        arguments = (options, environment, str(log))
        self._process = _forks.Process(target=_run, args=arguments, daemon=True)
        self._process.start()

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self._process.exitcode

    def wait(self, timeout=None):
        self._process.join(timeout)
        return self._process.exitcode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self._process.pid, number)


def _run(options, environment, log):
    os.environ.update(environment)
    with open(log, "w") as file:
        for output in (1, 2):
            os.dup2(file.fileno(), output)
    from tests.training import run_fit

    run_fit.main(options)


class Training:
    """The processes of one training: one, or two for the strategy "multi_worker".

    Args:
        folder: of logs and results.
        runs: see `run_fit`.
        forked: start the processes as `Forked`; TensorFlow only.
        options: see `run_fit`; "backend".
    """

    def __init__(self, folder, runs, forked=False, **options):
        self.forked = forked
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
        backend = options.pop("backend", "tensorflow")
        devices = f"--xla_force_host_platform_device_count={options.get('devices', 1)}"
        environment = os.environ | {
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "KERAS_BACKEND": backend,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": " ".join([devices, *(QUICK_TO_COMPILE if backend == "jax" else ())]),
        }
        environment.pop("TF_CONFIG", None)
        if self.forked:
            return Forked(options, environment, self.folder / f"{i}.log")
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
        """Wait until the first process has told of this step or a later one, or has ended."""
        until = time.monotonic() + TIMEOUT
        while self.processes[0].poll() is None and self.last_step() < step:
            assert time.monotonic() < until, self.log()
            time.sleep(0.005)

    def last_step(self):
        return max(map(int, re.findall("step ([0-9]+)\n", self.log())), default=0)

    def kill(self, which=slice(None)):
        """Kill -9."""
        for process in self.processes[which]:
            process.send_signal(signal.SIGKILL)
        for process in self.processes[which]:
            process.wait()

    def check_loss_ends_the_other(self, lost, number):
        """Send one of two processes a signal; the other must say within a minute what happened."""
        self.processes[lost].send_signal(number)
        left = 1 - lost
        try:
            assert self.processes[left].wait(60) == 1
        finally:
            self.kill()
        log = self.log(left)
        assert f"WorkerLostError: Worker {left} of 2 cannot reach another worker, which has" in log
        assert "start all of them again to go on from the last checkpoint" in log

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
