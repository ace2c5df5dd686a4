"""The manifest: its form, its facts against each other and against Keras, and its reader."""

import copy
import dataclasses
import importlib.util
import inspect
import json
import re
from pathlib import Path

import jsonschema
import keras
import pytest

import keras_inception as ki
from keras_inception.errors import InputError
from keras_inception.networks import NETWORKS
from keras_inception.preprocessing import Preprocessing
from keras_inception.weights import manifest as reader
from keras_inception.weights.manifest import (
    architectures,
    default_weights,
    info,
    list_weights,
    manifest,
)

ROOT = Path(__file__).parents[2]
DOCUMENT = json.loads((ROOT / "weights_manifest.json").read_text("utf-8"))
ENTRIES = list_weights()
IDS = [entry.id for entry in ENTRIES]

text = {"type": "string", "minLength": 1}
maybe_text = {"type": ["string", "null"], "minLength": 1}
maybe_count = {"type": ["integer", "null"], "minimum": 0}
maybe_flag = {"type": ["boolean", "null"]}
maybe_percent = {"type": ["number", "null"], "minimum": 0, "maximum": 100}
url = {"type": "string", "pattern": "^https?://[^ ]+$"}
digits = {"md5": 32, "sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}
three = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}


def record(**fields):
    """An object with exactly these fields."""
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def listed(items, **more):
    return {"type": "array", "items": items, **more}


CHECKSUM = record(
    algorithm={"enum": [*digits, "sha256-prefix"]},
    value={"type": "string", "pattern": "^[0-9a-f]{8,128}$"},
    of={"enum": ["file", "archive", "member"]},
    source=text,
    confidence={"enum": ["publisher", "third-party", "corroborated", "file-name"]},
)
PREPROCESSING = record(
    resize=text, crop_fraction={"type": "number"}, rounding=text, interpolation=text,
    antialias={"type": "boolean"}, mean=three, std=three, channel_order=text,
)  # fmt: skip
ENTRY = record(
    id={"type": "string", "pattern": "^[a-z_]+[.][A-Za-z0-9_.-]+$"},
    model=text,
    architecture=text,
    publisher=text,
    origin=text,
    urls=listed(url, uniqueItems=True),
    manual_url={"oneOf": [url, {"type": "null"}]},
    archive={"enum": ["tar.gz", "zip", None]},
    members=listed({"type": "string", "pattern": "^[^/]+$"}),
    format=text,
    size_bytes={"type": ["integer", "null"], "minimum": 10_000_000},
    checksums=listed(CHECKSUM, uniqueItems=True),
    classes=maybe_count,
    background_class=maybe_flag,
    aux_heads=maybe_flag,
    embedding_size=maybe_count,
    input_size=listed({"type": "integer", "minimum": 1}, minItems=3, maxItems=3),
    preprocessing=PREPROCESSING,
    preprocessing_note=maybe_text,
    epsilon={"type": ["number", "null"], "exclusiveMinimum": 0},
    accuracy=listed(
        record(
            dataset=text, top1=maybe_percent, top5=maybe_percent, pairs=maybe_percent,
            protocol=text, source=text,
        )
    ),
    licence=maybe_text,
    licence_note=text,
    deviations=listed(text),
    notes=maybe_text,
    sources={"type": "object", "additionalProperties": text},
)  # fmt: skip
SCHEMA = record(
    models={"type": "object", "additionalProperties": record(default=maybe_text, reason=text)},
    weights=listed(ENTRY),
    unsupported=listed(record(id=text, publisher=text, format=text, url=text, reason=text)),
)

# ------------------------------------------------------------------------------ form and facts


def test_document_fits_its_schema():
    jsonschema.validate(DOCUMENT, SCHEMA)


def test_ids_are_unique():
    ids = IDS + [entry.id for entry in manifest().unsupported]
    assert len(ids) == len(set(ids)) and len({entry.file_name for entry in ENTRIES}) == len(IDS)


def test_every_checkpoint_that_was_asked_for_is_there():
    origins = ("tf_slim", "keras", "torchvision", "timm", "cadene", "osmr")
    assert [sum(i.startswith(f"{o}.") for i in IDS) for o in origins] == [10, 4, 3, 7, 3, 5]
    assert set(IDS) > {
        "facenet.20180402-114759",
        "facenet.20180408-102900",
        "facenet_pytorch.20180402-114759-vggface2",
        "facenet_pytorch.20180408-102900-casia-webface",
        "bvlc.googlenet",
        "onnx.googlenet",
        "pytorch_fid.pt_inception-2015-12-05",
    }


def test_truncated_inception_resnet_v2_is_refused_with_the_reason():
    (entry,) = (
        u for u in manifest().unsupported if u.id == "tflite.inception_resnet_v2_2018_04_27"
    )
    assert "ends at the auxiliary head" in entry.reason


def test_models_are_those_of_the_package():
    assert list(manifest().models) == ki.list_models()
    for name, network in NETWORKS.items():
        assert (default_weights(name) is None) == (network.default_weights is None)


def test_one_default_for_each_model_with_weights():
    defaults = {entry.model: entry.id for entry in ENTRIES if entry.default}
    assert len(defaults) == sum(entry.default for entry in ENTRIES) == 6
    for model, weights_id in defaults.items():
        entry = default_weights(model)
        assert entry.id == weights_id and entry.classes in (1000, 1001)
        assert entry.default_reason == DOCUMENT["models"][model]["reason"]
        assert entry.strongest_checksum() or entry.strongest_checksum("member")
    assert all(entry.default_reason is None for entry in ENTRIES if not entry.default)


@pytest.mark.parametrize("entry", ENTRIES, ids=IDS)
def test_entry_agrees_with_itself_and_with_the_networks(entry):
    architecture = NETWORKS[entry.model].architectures[entry.architecture]
    assert architecture.style.epsilon == (entry.epsilon or 1e-3)
    assert architecture.bottleneck == (entry.embedding_size or 0)
    assert entry.urls or entry.manual_url
    assert bool(entry.archive) == bool(entry.members)
    assert entry.preprocessing.size == entry.input_size[:2] and entry.input_size[2] == 3
    assert entry.background_class == (True if entry.classes == 1001 else entry.background_class)
    assert entry.extra == {"torch": "torch", "onnx": "onnx"}.get(entry.format)
    assert {"urls", "preprocessing"} <= set(entry.sources)
    for accuracy in entry.accuracy:
        assert (accuracy.pairs is None) != (accuracy.top1 is None)
        assert accuracy.pairs or accuracy.top1 < accuracy.top5


@pytest.mark.parametrize("entry", ENTRIES, ids=IDS)
def test_checksums_are_whole_and_agree(entry):
    legal = {"member", "archive"} if entry.archive else {"file"}
    for checksum in entry.checksums:
        assert checksum.of in legal
        assert len(checksum.value) == digits.get(checksum.algorithm, len(checksum.value))
        if checksum.confidence == "file-name":
            assert checksum.algorithm == "sha256-prefix"
            assert checksum.value in entry.urls[0].rsplit("/", 1)[-1]
        if checksum.algorithm == "sha1" and checksum.of == "member":
            assert checksum.value[:8] in entry.members[0]  # so osmr names his files
    whole = [c.value for c in entry.checksums if c.algorithm == "sha256"]
    prefixes = [c.value for c in entry.checksums if c.algorithm == "sha256-prefix"]
    assert all(value.startswith(prefix) for value in whole for prefix in prefixes)


@pytest.mark.parametrize("name", ["inception_v3", "inception_resnet_v2"])
def test_keras_files_are_those_of_the_installed_keras(name):
    module = inspect.getmodule(inspect.unwrap(getattr(keras.applications, name).preprocess_input))
    code = inspect.getsource(module)
    hashes = re.findall(r'file_hash="([0-9a-f]{32})"', code)
    entries = [info(f"keras.{name}"), info(f"keras.{name}_notop")]
    assert [e.checksums[0].value for e in entries] == hashes
    for entry in entries:
        folder, file = entry.urls[0].rsplit("/", 1)
        assert folder in re.sub(r'"\s+"', "", code) and file.rsplit("kernels")[-1] in code


def test_known_preprocessing():
    slim = reader.preprocessing("tf_slim.inception_v4_2016_09_09")
    assert slim == Preprocessing(
        (299, 299), "central_crop_squash", interpolation="bilinear_tf1", antialias=False
    )
    caffe = reader.preprocessing("bvlc.googlenet")
    assert (caffe.channel_order, caffe.mean, caffe.std) == ("BGR", (104, 117, 123), (1, 1, 1))
    gluon = reader.preprocessing("timm.inception_v3.gluon_in1k")
    assert gluon.mean == pytest.approx([255 * m for m in (0.485, 0.456, 0.406)])
    assert gluon.std == pytest.approx([255 * s for s in (0.229, 0.224, 0.225)])
    assert reader.preprocessing("facenet.20180408-102900").std == (128, 128, 128)


# ------------------------------------------------------------------------------ looking up


def test_list_weights_filters_by_model():
    assert len(list_weights("BNInception")) == 3
    assert {entry.model for entry in list_weights("InceptionV4")} == {"InceptionV4"}
    assert list_weights("InceptionV2") == [] and default_weights("InceptionV2") is None
    assert sum(len(list_weights(model)) for model in ki.list_models()) == len(IDS)


def test_other_names_of_a_model_are_known():
    assert ki.InceptionV1 is ki.GoogLeNet
    assert list_weights("InceptionV1") == list_weights("GoogLeNet")
    assert default_weights("InceptionV1") is default_weights("GoogLeNet")
    assert architectures("InceptionV1", "caffe") == ("caffe",)
    assert ki.smallest_input("InceptionV1") == ki.smallest_input("GoogLeNet")


def test_architectures_of_a_publisher():
    assert architectures("InceptionV3", "keras") == ("paper",)
    assert architectures("InceptionResNetV2", "keras") == ("slim",)
    assert architectures("InceptionV3", "caffe") == ()
    pairs = {(entry.model, entry.publisher) for entry in ENTRIES}
    assert all(len(architectures(*pair)) == 1 for pair in pairs)  # `weights convert` needs no more


def test_list_of_weights_shows_a_table():
    shown = repr(list_weights("InceptionV3"))
    lines = shown.splitlines()
    assert lines[0] == "Public weights; * is what weights='imagenet' means"
    assert "*  keras.inception_v3" in shown and "77.898 / 93.72" in shown
    assert [line for line in lines if line.startswith("Inc")] == [
        "InceptionV3, paper", "InceptionV3, torchvision", "InceptionV3, fid",
    ]  # fmt: skip
    assert len({len(line) for line in lines if line[1:3] == "  "}) == 1
    assert str(list_weights("InceptionV2")).endswith("\nnone")


def test_manifest_is_read_once():
    assert manifest() is manifest() and info(IDS[0]) is info(IDS[0])


@pytest.mark.parametrize("function", [info, reader.preprocessing])
def test_unknown_id_is_refused_with_its_neighbours(function):
    with pytest.raises(InputError) as error:
        function("timm.inception_v4.tf")
    words = "Unknown weights: 'timm.inception_v4.tf'. Did you mean timm.inception_v4.tf_in1k"
    assert words in str(error.value)
    assert "InceptionV4: timm.inception_v4.tf_in1k" in str(error.value)  # its default
    assert f"keras-inception weights list, names all {len(IDS)}." in str(error.value)
    assert len(str(error.value)) < 600


def test_imagenet_is_no_id_and_the_error_says_what_it_means():
    with pytest.raises(InputError, match="Unknown weights: 'imagenet'.") as error:
        reader.preprocessing("imagenet")
    defaults = {model: default_weights(model) for model in ki.list_models()}
    meant = [f"{model}: {entry.id}" for model, entry in defaults.items() if entry is not None]
    assert f"What weights='imagenet' means: {', '.join(meant)}. " in str(error.value)


@pytest.mark.parametrize("function", [list_weights, default_weights])
def test_unknown_model_is_refused(function):
    with pytest.raises(InputError, match="Unknown model: 'InceptionV5'. Did you mean Inception"):
        function("InceptionV5")


def test_strongest_checksum():
    def checksum(algorithm, of="archive"):
        return reader.Checksum(algorithm, "0" * 8, of, "a test", "publisher")

    rising = ("sha256-prefix", "md5", "sha1", "sha256", "sha384", "sha512")
    entry = dataclasses.replace(info(IDS[0]), checksums=())
    assert entry.strongest_checksum() is None
    for algorithm in rising:
        more = (checksum(algorithm), *entry.checksums)
        entry = dataclasses.replace(entry, checksums=more)
        assert entry.strongest_checksum().algorithm == algorithm
    assert entry.strongest_checksum("member") is None
    inside = dataclasses.replace(entry, checksums=(checksum("md5", "member"), *entry.checksums))
    assert str(inside.strongest_checksum("member")) == "md5:00000000"
    with pytest.raises(InputError, match="Unknown subject of a checksum: 'zip'"):
        entry.strongest_checksum("zip")


# ------------------------------------------------------------------------------ reading


def damaged(**changes):
    """The document with one entry, changed."""
    document = copy.deepcopy(DOCUMENT)
    document["models"] = {"GoogLeNet": document["models"]["GoogLeNet"]}
    document["weights"] = [document["weights"][0] | changes]
    document["weights"][0] = {k: v for k, v in document["weights"][0].items() if v is not ...}
    document["unsupported"] = document["unsupported"][:1]
    return document


def damage(what, value):
    document = damaged()
    document[what] = value
    return document


FIRST = IDS[0]
CASES = [
    (damaged(licence=...), f"{FIRST} lacks licence."),
    (damaged(license="MIT"), f"Unknown field of {FIRST}: 'license'. Did you mean licence"),
    (damaged(size_bytes="1"), f"{FIRST}: size_bytes is '1', but must be of type int."),
    (damaged(classes=True), f"{FIRST}: classes is True, but must be of type int."),
    (damaged(urls="http://x"), f"{FIRST}: urls is 'http://x', but must be of type list."),
    (damaged(urls=[1]), f"{FIRST}: urls is 1, but must be of type str."),
    (damaged(sources={"urls": 1}), f"{FIRST}: sources: urls is 1, but must be of type str."),
    (damaged(input_size=[1, 2]), f"{FIRST}: input_size has 3 values, but got [1, 2]."),
    (damaged(format="pkl"), f"Unknown value of {FIRST}: format: 'pkl'."),
    (damaged(checksums=[{}]), f"{FIRST}: checksums lacks algorithm, confidence, of"),
    (damaged(preprocessing=None), f"{FIRST}: preprocessing is None, but must be of type dict."),
    (damaged(preprocessing={}), f"{FIRST}: preprocessing lacks antialias, channel_order"),
    (
        damaged(preprocessing=DOCUMENT["weights"][0]["preprocessing"] | {"resize": "fit"}),
        f"{FIRST}: preprocessing: Unknown value of resize: 'fit'.",
    ),
    (damaged(model="InceptionV9"), f"Unknown model of {FIRST}: 'InceptionV9'."),
    (damaged(id="other"), f"the default of GoogLeNet, {FIRST}, is no entry of that model."),
    (damage("weights", damaged()["weights"] * 2), f"{FIRST}: the id stands twice."),
    (damage("weights", [3]), "an entry is 3, but must be of type dict."),
    (damage("weights", {}), "weights is {}, but must be of type list."),
    (damage("unsupported", [{}]), "unsupported lacks format, id, publisher, reason, url."),
    (damage("models", {"GoogLeNet": {}}), "model GoogLeNet lacks default, reason."),
    ([], "the document is [], but must be of type dict."),
    ({}, "the document lacks models, unsupported, weights."),
]


@pytest.mark.parametrize(("document", "words"), CASES, ids=range(len(CASES)))
def test_damaged_manifest_is_refused(document, words, tmp_path):
    path = tmp_path / "weights_manifest.json"
    path.write_text(json.dumps(document), "utf-8")
    with pytest.raises(InputError) as error:
        reader.read_manifest(path)
    assert f"The manifest {path} is damaged: " in str(error.value)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_undamaged_part_is_read(tmp_path):
    path = tmp_path / "weights_manifest.json"
    path.write_text(json.dumps(damaged()), "utf-8")
    assert reader.read_manifest(path).weights == {FIRST: info(FIRST)}


@pytest.mark.parametrize("content", ["{", None])
def test_file_that_is_no_json_or_missing_is_refused(content, tmp_path):
    path = tmp_path / "weights_manifest.json"
    if content:
        path.write_text(content)
    with pytest.raises(InputError, match="Cannot read the manifest .*(line 1|No such file)"):
        reader.read_manifest(path)


# ------------------------------------------------------------------------------ the page


def test_page_is_fresh():
    script = ROOT / "docs" / "render_weights.py"
    spec = importlib.util.spec_from_file_location("render_weights", script)
    renderer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(renderer)
    page = renderer.render(manifest())
    assert page == renderer.PAGE.read_text("utf-8"), "run: python docs/render_weights.py"
    assert all(f"`{name}`" in page for name in (*IDS, *(u.id for u in manifest().unsupported)))
