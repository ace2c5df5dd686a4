"""Where training runs: one device, several devices, several machines."""

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras

from keras_inception.errors import InputError, unknown
from keras_inception.training.cluster import Cluster

if TYPE_CHECKING:
    import tensorflow as tf

STRATEGIES = ("none", "mirrored", "multi_worker")


def make_strategy(
    name: str,
    *,
    devices: Sequence[str] | None = None,
    workers: Sequence[str] | None = None,
    index: int | None = None,
) -> Cluster:
    """Return where training runs, for the `strategy` argument of `ki.training.fit`.

    Args:
        name: "none", one device; "mirrored", all GPUs of this machine or the given devices;
            "multi_worker", one process on each of several machines with all their GPUs. The last
            must be made before anything else is done with the backend.
        devices: for "mirrored", for example ["GPU:0", "GPU:1"].
        workers: for "multi_worker", "host:port" of every process, in the same order everywhere;
            None reads the environment variable TF_CONFIG.
        index: for "multi_worker" with `workers`, the number of this process, from 0.

    Raises:
        InputError: if the name is unknown, an argument belongs to another strategy or is missing,
            TF_CONFIG makes no sense, a device does not exist, the backend was used before, or
            the backend is neither TensorFlow nor JAX.
    """
    if name not in STRATEGIES:
        raise unknown("strategy", name, STRATEGIES)
    if devices is not None and name != "mirrored":
        raise InputError(f"devices belongs to the strategy 'mirrored', not to {name!r}.")
    if (workers is not None or index is not None) and name != "multi_worker":
        raise InputError(f"workers and index belong to 'multi_worker', not to {name!r}.")
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _on_tensorflow(name, devices, workers, index)
    if backend == "jax":
        return _on_jax(name, devices, workers, index)
    raise InputError(
        f"ki.training.fit runs on the backends TensorFlow and JAX, not on {backend}. There, use "
        "recipe.compile(model, ...) and model.fit(callbacks=recipe.callbacks(...))."
    )


def resolve(strategy: "str | Cluster | tf.distribute.Strategy | None") -> Cluster:
    """Return the cluster of a strategy's name, of a `tf.distribute` strategy, or as it is.

    Raises:
        InputError: if it is none of these, or a strategy that `fit` does not run on.
    """
    if strategy is None or isinstance(strategy, str):
        return make_strategy(strategy or "none")
    if isinstance(strategy, Cluster):
        return strategy
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        from keras_inception.training.tensorflow_cluster import TensorFlowCluster

        kinds = tf.distribute.MirroredStrategy | tf.distribute.MultiWorkerMirroredStrategy
        if isinstance(strategy, kinds):
            return TensorFlowCluster.of(strategy)
    raise InputError(
        f"strategy must be one of {', '.join(STRATEGIES)}, a Cluster from make_strategy, or, on "
        "TensorFlow, a tf.distribute MirroredStrategy or MultiWorkerMirroredStrategy, "
        f"not {strategy!r}."
    )


def _on_tensorflow(name, devices, workers, index) -> Cluster:
    import tensorflow as tf

    from keras_inception.training.tensorflow_cluster import TensorFlowCluster

    if name == "none":
        return TensorFlowCluster.of(tf.distribute.get_strategy())
    if name == "mirrored":
        known = [device.name for device in tf.config.list_logical_devices()]
        strategy = tf.distribute.MirroredStrategy(_checked_devices(devices, known))
        return TensorFlowCluster.of(strategy)
    workers, index = _place(workers, index)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": workers}),
        task_type="worker",
        task_id=index,
        rpc_layer="grpc",
    )
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except RuntimeError as error:
        raise _too_late(error) from error
    return TensorFlowCluster.of(strategy)


def _on_jax(name, devices, workers, index) -> Cluster:
    from keras_inception.training.jax_cluster import JaxCluster

    if name == "none":
        return JaxCluster()
    if name == "mirrored":
        return JaxCluster.over(_checked_devices(devices, keras.distribution.list_devices()))
    workers, index = _place(workers, index)
    try:
        return JaxCluster.join(workers, index)
    except RuntimeError as error:
        raise _too_late(error) from error


def _too_late(error: RuntimeError) -> InputError:
    return InputError(
        "The strategy 'multi_worker' must be made before anything else is done with the backend: "
        f"make it first in the program. The backend says: {error}"
    )


def _checked_devices(devices: Sequence[str] | None, known: Sequence[str]) -> list[str] | None:
    """Return devices in the backend's spelling, without TensorFlow's "/device:"."""
    if devices is None:
        return None
    known = {name.removeprefix("/device:").lower(): name for name in known}
    short = [device.lower().removeprefix("/").removeprefix("device:") for device in devices]
    for device, given in zip(short, devices, strict=True):
        if device not in known:
            raise unknown("device", given, known)
    if not short:
        raise InputError(f"devices is empty; this machine has {', '.join(known)}.")
    return [known[device] for device in short]


def _place(workers: Sequence[str] | None, index: int | None) -> tuple[list[str], int]:
    """Return the addresses of all processes and the number of this one."""
    if workers is None and index is None:
        return _place_from_environment()
    if not workers or index is None:
        raise InputError("The strategy 'multi_worker' needs both workers and index, or TF_CONFIG.")
    if not 0 <= index < len(workers):
        raise InputError(f"index must be 0 to {len(workers) - 1} for {len(workers)} workers.")
    for address in workers:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise InputError(f"A worker is host:port, for example 10.0.0.1:2222, not {address!r}.")
    return list(workers), index


def _place_from_environment() -> tuple[list[str], int]:
    """Read TF_CONFIG; a chief, if there is one, comes first."""
    text = os.environ.get("TF_CONFIG")
    hint = (
        'Expected {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", '
        '"index": 0}}, or give workers and index.'
    )
    if not text:
        raise InputError(f"The environment variable TF_CONFIG is not set. {hint}")
    try:
        config = json.loads(text)
        jobs = {job: list(addresses) for job, addresses in config["cluster"].items()}
        job, index = config["task"]["type"], int(config["task"]["index"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"TF_CONFIG is not understood: {text!r}. {hint}") from error
    if set(jobs) - {"chief", "worker"} or not 0 <= index < len(jobs.get(job, ())):
        raise InputError(f"TF_CONFIG names no such task of this training: {text!r}. {hint}")
    chiefs = jobs.get("chief", [])
    first = len(chiefs) if job == "worker" else 0
    return _place([*chiefs, *jobs.get("worker", [])], first + index)
