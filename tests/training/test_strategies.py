import json

import numpy as np
import pytest
import tensorflow as tf

from keras_inception.errors import InputError
from keras_inception.training import WorkerLostError, make_strategy
from keras_inception.training.strategies import resolve
from keras_inception.training.tensorflow_cluster import TensorFlowCluster

TASK = {"type": "worker", "index": 0}


def test_one_device_is_the_default():
    for cluster in (make_strategy("none"), resolve(None), resolve("none")):
        assert (cluster.replicas, cluster.local_replicas, cluster.workers) == (1, 1, 1)
        assert cluster.is_chief
    assert resolve(cluster) is cluster


def test_a_mirrored_strategy_of_tensorflow_is_taken():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    assert resolve(strategy).strategy is strategy


def test_one_process_sums_and_broadcasts_to_itself():
    cluster = make_strategy("none")
    np.testing.assert_array_equal(cluster.sum_over_workers([1.0, 2.0]), [1.0, 2.0])
    assert cluster.broadcast(b"state") == b"state"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mirrord", {}, "Unknown strategy: 'mirrord'. Did you mean mirrored"),
        (
            "none",
            {"devices": ["CPU:0"]},
            "devices belongs to the strategy 'mirrored', not to 'none'",
        ),
        ("none", {"workers": ["a:1"]}, "workers and index belong to 'multi_worker', not to 'none'"),
        ("mirrored", {"index": 0}, "workers and index belong to 'multi_worker', not to 'mirrored'"),
        ("mirrored", {"devices": ["GPU:7"]}, "Unknown device: 'GPU:7'..*Known: cpu:0"),
        ("mirrored", {"devices": []}, "devices is empty; this machine has cpu:0"),
        ("multi_worker", {"index": 0}, "needs both workers and index, or TF_CONFIG"),
        ("multi_worker", {"workers": ["a:1", "b:1"]}, "needs both workers and index, or TF_CONFIG"),
        (
            "multi_worker",
            {"workers": ["a:1", "b:1"], "index": 2},
            "index must be 0 to 1 for 2 work",
        ),
        ("multi_worker", {"workers": ["a"], "index": 0}, "A worker is host:port, .* not 'a'"),
        ("multi_worker", {"workers": ["a:b"], "index": 0}, "A worker is host:port, .* not 'a:b'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        make_strategy(name, **options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "The environment variable TF_CONFIG is not set. Expected {"),
        ("{", "TF_CONFIG is not understood: '{'. Expected {"),
        ("[]", "TF_CONFIG is not understood"),
        (json.dumps({"cluster": {"worker": ["a:1"]}}), "TF_CONFIG is not understood"),
        (
            json.dumps({"cluster": {"worker": ["a:1"]}, "task": TASK | {"index": 1}}),
            "TF_CONFIG names no such task of this training",
        ),
        (
            json.dumps({"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": TASK}),
            "TF_CONFIG names no such task of this training",
        ),
        (
            json.dumps({"cluster": {"worker": ["a:1"]}, "task": TASK | {"type": "evaluator"}}),
            "TF_CONFIG names no such task of this training",
        ),
    ],
)
def test_a_tf_config_that_makes_no_sense_is_refused(text, message, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match=message):
        make_strategy("multi_worker")


@pytest.mark.parametrize(
    ("task", "number"),
    [({"type": "chief", "index": 0}, 0), (TASK, 1), ({"type": "worker", "index": "1"}, 2)],
)
def test_a_chief_in_tf_config_is_the_first_worker(task, number, monkeypatch):
    cluster = {"chief": ["c:1"], "worker": ["a:1", "b:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    resolvers = []

    def stop(cluster_resolver):
        resolvers.append(cluster_resolver)
        raise RuntimeError

    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", stop)
    with pytest.raises(InputError):
        make_strategy("multi_worker")
    assert resolvers[0].cluster_spec().as_dict() == {"worker": ["c:1", "a:1", "b:1"]}
    assert (resolvers[0].task_type, resolvers[0].task_id) == ("worker", number)


def test_several_workers_must_be_set_up_first(monkeypatch):
    tf.constant(1.0) + 1.0
    with pytest.raises(InputError, match="must be made before anything else is done with the back"):
        make_strategy("multi_worker", workers=["localhost:1", "localhost:2"], index=0)


@pytest.mark.parametrize("strategy", [3, tf.distribute.OneDeviceStrategy("CPU:0")])
def test_what_is_no_strategy_is_refused(strategy):
    with pytest.raises(
        InputError, match="strategy must be one of none, mirrored, multi_worker, a C"
    ):
        resolve(strategy)


def test_pytorch_is_pointed_to_plain_keras(monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "torch")
    with pytest.raises(
        InputError, match="runs on the backends TensorFlow and JAX, not on torch. The"
    ):
        make_strategy("none")


def test_a_lost_worker_is_told_from_other_errors():
    cluster = TensorFlowCluster(strategy=tf.distribute.get_strategy(), workers=3, worker=2)
    text = "Error at node x\nCollective ops is aborted by: connection reset\nmore"
    with pytest.raises(WorkerLostError) as error, cluster.watching_workers():
        raise tf.errors.UnavailableError(None, None, text)
    assert str(error.value).startswith("Worker 2 of 3 cannot reach another worker")
    assert str(error.value).endswith(
        "TensorFlow says: Collective ops is aborted by: connection reset"
    )
    with pytest.raises(tf.errors.ResourceExhaustedError), cluster.watching_workers():
        raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
