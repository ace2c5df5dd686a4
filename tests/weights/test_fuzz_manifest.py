"""No crafted manifest gets past its check with anything but an `InputError`."""

import copy
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_inception.errors import InputError
from keras_inception.weights.manifest import Checkpoint, manifest, read_manifest

DOCUMENT = json.loads((Path(__file__).parents[2] / "weights_manifest.json").read_text())
SMALL = DOCUMENT | {"weights": DOCUMENT["weights"][:3], "unsupported": DOCUMENT["unsupported"][:1]}

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


def places(value, path=()):
    """Yield the path of everything in a JSON document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()  # fmt: skip  # noqa: E501
    for key, inner in items:
        yield from places(inner, (*path, key))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.sampled_from(list(places(SMALL))), value=ANYTHING)
def test_any_value_anywhere_is_checked(place, value, tmp_path_factory):
    document = copy.deepcopy(SMALL)
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    if place:
        inner[place[-1]] = value
    else:
        document = value
    path = tmp_path_factory.getbasetemp() / "manifest.json"
    path.write_text(json.dumps(document))
    try:
        read = read_manifest(path)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert all(isinstance(entry, Checkpoint) for entry in read.weights.values())
        assert all("/" not in entry.file_name for entry in read.weights.values())


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "bytes.json"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_manifest(path)


def test_deep_nesting_is_refused(tmp_path):
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="Cannot read the manifest"):
        read_manifest(tmp_path / "deep.json")


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "a/b", "", ".hidden", "a\\b"])
def test_an_id_cannot_name_a_file_elsewhere(name, tmp_path):
    document = copy.deepcopy(SMALL)
    document["weights"][0]["id"] = name
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(InputError):
        read_manifest(tmp_path / "manifest.json")


def test_the_real_one_passes():
    assert len(manifest().weights) > 30
