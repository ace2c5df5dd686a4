"""Which names a list of exclusions means."""

import numpy as np
import pytest

from keras_inception.errors import InputError
from keras_inception.evaluation.exclusion import exclusions

NAMES = [
    "val/n01440764/ILSVRC2012_val_00000017.JPEG",
    "val\\n01440764\\ILSVRC2012_val_00000018.JPEG",
    "ILSVRC2012_val_00000019",
    "1",
    "cats/one.png",
]


@pytest.mark.parametrize(
    ("exclude", "left_out"),
    [
        (None, []),
        ([], []),
        ([17, 18], [0, 1]),
        ([np.int64(19)], [2]),
        ([1], [3]),
        (["ILSVRC2012_val_00000017.JPEG"], [0]),
        (["ILSVRC2012_val_00000018"], [1]),
        (["cats/one.png", "one.png"], [4]),
        (["one"], [4]),
        (["cats", "17"], []),
    ],
)
def test_names_and_numbers(exclude, left_out):
    found = exclusions(exclude)
    assert [i for i, name in enumerate(NAMES) if found.leave_out(name)] == left_out
    assert found.met == len(left_out)
    assert found.listed == len(exclude or [])


def test_file_with_one_entry_a_line(tmp_path):
    path = tmp_path / "blacklist.txt"
    path.write_text("# validation numbers\n17\n\n  cats/one.png  \n17\n")
    for exclude in (path, str(path)):
        found = exclusions(exclude)
        assert found.listed == 2
        assert [found.leave_out(name) for name in NAMES] == [True, False, False, False, True]


def test_a_number_with_zeros_in_front_is_a_name(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("00017\n18\n")
    found = exclusions(path)
    names = ["cats/00017.jpg", "cats/17.jpg", "00018.jpg", "18.jpg"]
    assert [found.leave_out(name) for name in names] == [True, False, False, True]


@pytest.mark.parametrize("entry", [0, -1, 1.5, "", None, True])
def test_other_entries_are_refused(entry):
    with pytest.raises(InputError, match=f"exclude lists {entry!r}; expected names"):
        exclusions([entry])


def test_file_without_entries_is_refused(tmp_path):
    path = tmp_path / "blacklist.txt"
    path.write_text("# nothing yet\n\n")
    with pytest.raises(InputError, match="exclude, .*blacklist.txt, is empty; expected a name or"):
        exclusions(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read: .*no-such-list.txt"):
        exclusions(tmp_path / "no-such-list.txt")
