import warnings

import keras
import numpy as np
import pytest

from keras_inception.errors import InputError
from keras_inception.files import atomic_path
from keras_inception.training.checkpoints import Checkpoints, Progress, remove_leftovers, restore

SETTINGS = {"learning_rate": 0.1, "seed": 0}


def state(shift=0.0, path="conv2d_3/kernel", shape=(2, 3)):
    values = np.arange(np.prod(shape), dtype="float32").reshape(shape) + shift
    layer, _, name = path.rpartition("/")
    with keras.name_scope(layer):
        kernel = keras.Variable(values, name=name)
    count = keras.Variable(int(shift) + 2**40, dtype="int64")
    return {f"model/0000/{path}": kernel, "optimizer/0000/iteration": count}


def test_what_is_saved_comes_back_bit_by_bit(tmp_path):
    saved = state(shift=1 / 3)
    progress = Progress(
        step=7,
        rows=[{"epoch": 1, "loss": 0.1}],
        sums=[1 / 3, 2.0, 3.0],
        dead_steps=4,
        settings=SETTINGS,
    )
    Checkpoints(tmp_path).save(progress, saved)
    fresh = state()
    assert restore(Checkpoints(tmp_path).read_latest(), fresh, SETTINGS) == progress
    for name, variable in saved.items():
        np.testing.assert_array_equal(variable.numpy(), fresh[name].numpy())


def test_only_the_last_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 9, 10):
        checkpoints.save(Progress(step=step), state())
    names = [path.name for path in checkpoints.files()]
    assert names == ["step_000000010.safetensors", "step_000000009.safetensors"]


def test_an_empty_folder_has_nothing_to_go_on_from(tmp_path):
    assert Checkpoints(tmp_path / "none").read_latest() == b""


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (5, 6):
        checkpoints.save(Progress(step=step, settings=SETTINGS), state(shift=step))
    newest = checkpoints.files()[0]
    newest.write_bytes(newest.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="Left out the damaged checkpoint .*000000006"):
        data = checkpoints.read_latest()
    fresh = state()
    assert restore(data, fresh, SETTINGS).step == 5
    assert fresh["model/0000/conv2d_3/kernel"].numpy()[0, 0] == 5.0


def test_damaged_checkpoints_alone_are_an_error(tmp_path):
    (tmp_path / "step_000000001.safetensors").write_bytes(b"")
    with (
        warnings.catch_warnings(),
        pytest.raises(InputError, match="All checkpoints in .* are dam"),
    ):
        warnings.simplefilter("ignore")
        Checkpoints(tmp_path).read_latest()


def test_names_that_keras_numbered_otherwise_are_the_same_model(tmp_path):
    Checkpoints(tmp_path).save(Progress(settings=SETTINGS), state(shift=2.0))
    fresh = state(path="conv2d_17/kernel")
    restore(Checkpoints(tmp_path).read_latest(), fresh, SETTINGS)
    assert fresh["model/0000/conv2d_17/kernel"].numpy()[0, 0] == 2.0


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (state(shape=(3, 2)), "it has conv2d_3/kernel .2, 3. where the model has conv2d_3/k"),
        (state(path="dense/kernel"), "it has conv2d_3/kernel .2, 3. where the model has nothing"),
        (
            state() | {"model/0001/bias": keras.Variable([0.0])},
            "it has nothing where the model has bias .1,.",
        ),
    ],
)
def test_another_model_is_refused_and_left_as_it_was(tmp_path, other, message):
    Checkpoints(tmp_path).save(Progress(settings=SETTINGS), state(shift=1.0))
    before = [variable.numpy() for variable in other.values()]
    with pytest.raises(InputError, match=f"The checkpoint is of another model: {message}"):
        restore(Checkpoints(tmp_path).read_latest(), other, SETTINGS)
    for variable, value in zip(other.values(), before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_other_settings_are_refused_with_both_values(tmp_path):
    Checkpoints(tmp_path).save(Progress(settings=SETTINGS), state())
    with pytest.raises(InputError, match=r"differ: seed \(0 there, 1 here\)\. Use the same"):
        restore(Checkpoints(tmp_path).read_latest(), state(), SETTINGS | {"seed": 1})


def test_leftovers_of_a_killed_process_are_removed_and_nothing_else(tmp_path):
    unfinished = [atomic_path(tmp_path / name) for name in ("model.keras", "saved_model")]
    for each in unfinished:
        each.__enter__().touch()
    for name in ("tensorboard", ".hidden", ".hidden.model.3ab_x9k1"):
        (tmp_path / name).mkdir()
    (tmp_path / ".some.file.tmp").touch()
    assert len(list(tmp_path.iterdir())) == 6
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".hidden",
        ".hidden.model.3ab_x9k1",
        ".some.file.tmp",
        "tensorboard",
    ]
