"""One device, two devices, two processes: the same training."""

import numpy as np
import pytest
import tensorflow as tf

from keras_inception.training import optimizers
from tests.training import run_fit, small
from tests.training.processes import Training

TWENTY_STEPS = {"data": {"images": 160}, "recipe": {"epochs": 2, "clip_norm": 0.2}}
PLAIN = {"net": "plain_net", **TWENTY_STEPS}
NORM = {"net": "norm_net", "batch_statistics": "synchronized", **TWENTY_STEPS}
# Momentum 0 and a learning rate of nothing: the statistics are those of the last batch.
# Fewer batches of validation images than processes.
LOCAL = {
    "net": "norm_net",
    "validation": {"images": 5},
    "data": {"images": 16},
    "recipe": {"epochs": 1, "learning_rate": 1e-30, "batch_norm_momentum": 0.0},
    "dropout": 0.5,
}
FUSED = LOCAL | {"net": "blocks_net"}

# The network, its side in pixels, precision, learning rate, the bound of the relative difference.
# From random weights the gradients of v3 are so steep that a rounding in float32 shows within two
# steps, and one in float64 within twenty large ones.
NETWORKS = [
    ("googlenet", 32, "float32", 0.05, 1e-5),
    ("inception_v3", 75, "float64", 0.001, 1e-4),
]


def in_folders(folder, *runs):
    return [run | {"run_dir": str(folder / str(i))} for i, run in enumerate(runs)]


def train(folder, strategy, *runs):
    devices = 2 if strategy == "mirrored" else 1
    return Training(folder, in_folders(folder / "runs", *runs), strategy=strategy, devices=devices)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What PLAIN came to, by strategy."""
    folder = tmp_path_factory.mktemp("plain")
    others = {name: train(folder / name, name, PLAIN) for name in ("mirrored", "multi_worker")}
    one = run_fit.train(PLAIN | {"run_dir": str(folder / "none")})
    return {"none": one} | {name: training.results()[0] for name, training in others.items()}


@pytest.fixture
def gradient_norms(monkeypatch):
    """The norm before it is clipped, in every step of the trainings in this process."""
    norms, plain = [], optimizers.RMSProp._clip_factor

    def noted(optimizer, square):
        tf.numpy_function(lambda value: norms.append(value**0.5), [square], [])
        return plain(optimizer, square)

    monkeypatch.setattr(optimizers.RMSProp, "_clip_factor", noted)
    return norms


def largest_difference(a, b):
    """Largest difference relative to the largest value, over all tensors."""
    return max(np.abs(x - y).max() / max(np.abs(x).max(), 1e-12) for x, y in zip(a, b, strict=True))


def check_history(one, several):
    """27 validation images in batches of 8: each counts once."""
    for row, other in zip(one["history"], several["history"], strict=True):
        assert other == pytest.approx(row, rel=1e-4)


def check_copies(result):
    for copies in result["copies"]:
        assert len(copies) == 2
        np.testing.assert_array_equal(copies[0], copies[1])


@pytest.mark.parametrize("strategy", ["mirrored", "multi_worker"])
def test_replicas_train_as_one_device_does(trained, strategy):
    """20 steps of a net without batch norm: weights, optimizer and averages within 1e-5."""
    one, several = trained["none"], trained[strategy]
    assert largest_difference(one["raw"], several["raw"]) < 1e-5
    assert largest_difference(one["averaged"], several["averaged"]) < 1e-5
    check_history(one, several)


@pytest.mark.slow
def test_four_replicas_train_as_one_device_does(trained, tmp_path):
    runs = in_folders(tmp_path / "runs", PLAIN)
    (four,) = Training(tmp_path / "four", runs, strategy="mirrored", devices=4).results()
    assert largest_difference(trained["none"]["raw"], four["raw"]) < 1e-5
    check_history(trained["none"], four)


def test_copies_on_the_replicas_are_alike(trained):
    check_copies(trained["mirrored"])


def test_clipping_was_active_in_those_trainings(trained, tmp_path):
    recipe = TWENTY_STEPS["recipe"] | {"clip_norm": None}
    free = run_fit.train(PLAIN | {"recipe": recipe, "run_dir": str(tmp_path)})
    assert largest_difference(trained["none"]["raw"], free["raw"]) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["mirrored", "multi_worker"])
def test_batch_statistics_are_synchronised_or_averaged(strategy, tmp_path):
    both = train(tmp_path / "both", strategy, NORM, LOCAL, FUSED)
    one = run_fit.train(NORM | {"run_dir": str(tmp_path / "one")})
    norm, local, fused = both.results()
    assert largest_difference(one["raw"], norm["raw"]) < 1e-4
    assert largest_difference(one["averaged"], norm["averaged"]) < 1e-4
    check_history(one, norm)
    assert norm["synchronized"] == []  # what is saved must not ask for replicas
    check_local_statistics(local["raw"], small.norm_net())
    check_local_statistics(fused["raw"], small.blocks_net())
    if strategy == "mirrored":
        check_copies(local)
        (seeds,) = local["seeds"]  # the replicas drop other units
        assert seeds[0, 0] != seeds[1, 0]
        assert seeds[0, 1] == seeds[1, 1] > 0


def check_local_statistics(raw, model):
    """Each replica normalises by its own half of the batch; the statistics are the mean."""
    images, _ = small.Batches(images=16).arrays(0)
    for weight, value in zip(model.weights, raw, strict=False):
        weight.assign(value)
    convolution, norm = model.layers[1:3]
    convolved = convolution(images).numpy().reshape(2, -1, 8)
    mean, variance = norm.moving_mean.numpy(), norm.moving_variance.numpy()
    np.testing.assert_allclose(mean, convolved.mean((0, 1)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(variance, convolved.var(1).mean(0), rtol=1e-4)
    assert np.abs(convolved.reshape(-1, 8).var(0) / variance - 1).max() > 1e-4


@pytest.mark.slow
def test_plain_keras_on_replicas_trains_as_one_device_does(trained, tmp_path):
    """`model.fit` under a MirroredStrategy: the optimizer clips the sum over the replicas."""
    (plain,) = train(tmp_path / "plain", "mirrored", PLAIN | {"plain": True}).results()
    assert largest_difference(trained["none"]["averaged"], plain["averaged"]) < 1e-5


@pytest.mark.parametrize("decay", [None, 0.9])
def test_plain_keras_keeps_the_statistics_of_replicas_alike(decay, tmp_path):
    recipe = {"recipe": {"epochs": 1, "average_decay": decay}}
    run = NORM | recipe | {"plain": True, "data": {"images": 32}}
    (plain,) = train(tmp_path, "mirrored", run).results()
    check_copies(plain)


@pytest.mark.slow
def test_a_run_goes_on_with_more_replicas(trained, tmp_path):
    first = PLAIN | {"recipe": TWENTY_STEPS["recipe"] | {"epochs": 1}}
    run_fit.train(first | {"run_dir": str(tmp_path / "two" / "runs" / "0")})
    (rest,) = train(tmp_path / "two", "mirrored", PLAIN).results()
    assert largest_difference(trained["none"]["raw"], rest["raw"]) < 1e-5
    check_history(trained["none"], rest)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["mirrored", "multi_worker"])
@pytest.mark.parametrize(("net", "side", "dtype", "rate", "bound"), NETWORKS)
def test_the_networks_train_on_replicas_as_on_one_device(
    strategy, net, side, dtype, rate, bound, gradient_norms, tmp_path
):
    """20 steps, dropout 0, clipping active in every one."""
    run = {"net": net, "dtype": dtype, "batch_statistics": "synchronized", **TWENTY_STEPS}
    run["data"] = run["data"] | {"side": side}
    run["recipe"] = run["recipe"] | {"learning_rate": rate}
    several = train(tmp_path / "several", strategy, run)
    one = run_fit.train(run | {"run_dir": str(tmp_path / "one")})
    assert len(gradient_norms) == 20
    assert min(gradient_norms) > TWENTY_STEPS["recipe"]["clip_norm"]
    (several,) = several.results()
    assert largest_difference(one["raw"], several["raw"]) < bound
    assert largest_difference(one["averaged"], several["averaged"]) < bound
    check_history(one, several)
