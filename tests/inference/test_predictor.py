"""Predictors: every source of networks and of images, in order, broken images reported."""

import dataclasses
import threading
import time

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import keras_inception as ki
from keras_inception.errors import InputError
from keras_inception.inference import choice, precision
from keras_inception.inference.export import export
from keras_inception.inference.predictor import predictor
from keras_inception.inference.prefetch import prefetched
from keras_inception.jobs import prediction
from keras_inception.preprocessing import Preprocessing
from tests.inference.small import lively

PREPARE = Preprocessing(size=(24, 20))
ORT = {"onnxruntime", "tf2onnx"}
OPENVINO_BFLOAT16 = ("amx_bf16", "avx512_bf16")
PLAIN = {"runtime": "tensorflow", "dtype": "float32"}


@pytest.fixture(scope="module")
def network():
    inputs = keras.Input((24, 20, 3), name="images")
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Dense(3, activation="softmax", name="predictions")(layers.Flatten()(x))
    return lively(keras.Model(inputs, x, name="tiny"))


@pytest.fixture(scope="module")
def pictures():
    """Pixels of images, each of another size."""
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (30 + n, 40 - n, 3), "uint8") for n in range(7)]


@pytest.fixture(scope="module")
def folder(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "deeper").mkdir()
    for number, pixels in enumerate(pictures):
        inside = folder / "deeper" if number > 4 else folder
        Image.fromarray(pixels).save(inside / f"{number}.png")
    (folder / "._0.png").write_bytes(b"what a Mac leaves")
    (folder / "folder.png").mkdir()
    return folder


def expected(network, pictures):
    """What Keras says of each picture, computed alone."""
    return np.concatenate([network(PREPARE(p)[None]) for p in pictures])


@pytest.mark.parametrize("runtime", ["tensorflow", "openvino", "onnxruntime", "litert"])
def test_every_runtime_says_what_keras_says(network, pictures, runtime):
    with predictor(network, runtime, "float32", 3) as predict:
        assert predict.runtime.name == runtime
        assert predict.description == f"tiny in {runtime}, float32 (as asked), batches of 3"
        found = predict(pictures)
    np.testing.assert_allclose(found, expected(network, pictures), atol=1e-5)


@pytest.mark.parametrize("runtime", ["tensorflow", "openvino"])
def test_bfloat16_is_near(network, pictures, runtime):
    if runtime == "openvino" and precision.native_bfloat16() not in OPENVINO_BFLOAT16:
        pytest.skip("OpenVINO computes in bfloat16 only where the CPU does")
    with predictor(network, runtime, "float32", 4) as predict:
        exact = predict(pictures)
    with predictor(network, runtime, "bfloat16", 4) as predict:
        assert "bfloat16 (as asked)" in repr(predict)
        found = predict(pictures)
    np.testing.assert_allclose(exact, expected(network, pictures), atol=1e-5)
    assert 1e-4 < np.abs(found - exact).max() < 0.05  # so it was rounded, and no more than that


def test_folder_files_bytes_and_arrays_give_the_same_in_order(network, pictures, folder):
    truth = expected(network, pictures)
    files = sorted(folder.rglob("[0-9].png"))
    mixed = [files[0], str(files[1]), files[2].read_bytes(), pictures[3], *files[4:]]
    with predictor(network, **PLAIN, batch_size=3) as predict:
        for source in (folder, files, iter(mixed), pictures):
            np.testing.assert_allclose(predict(source), truth, atol=1e-6)
        names = [answer.name for answer in predict.predict(mixed)]
        same_size = np.stack([pictures[0]] * 4)
        np.testing.assert_allclose(predict(same_size), np.tile(truth[0], (4, 1)), atol=1e-6)
        np.testing.assert_allclose(predict(files[6]), truth[6:], atol=1e-6)
    paths = [str(file) for file in files]
    assert names == [*paths[:2], "image 3", "image 4", *paths[4:]]


def test_broken_images_are_reported_and_the_rest_is_done(network, pictures, folder, tmp_path):
    cut = (folder / "0.png").read_bytes()[:200]
    broken = [tmp_path / "none.png", b"GIF89a nothing", cut, b""]
    tiny = np.zeros((5, 5, 3), "uint8")
    source = [broken[0], pictures[0], *broken[1:], pictures[1], tiny, pictures[2]]
    with predictor(network, **PLAIN, batch_size=2) as predict:
        answers = list(predict.predict(source))
        with pytest.raises(InputError, match=r"none.png cannot be read: There is no file or"):
            predict(source)
    reasons = [answer.error for answer in answers]
    assert [reason is None for reason in reasons] == [False, True, False, False, False] + [True] * 3
    assert reasons[4] == "an empty file"
    assert "truncated" in reasons[3].lower()
    sound = [answer.outputs for answer in answers if answer.error is None]
    truth = expected(network, [pictures[0], pictures[1], tiny, pictures[2]])
    np.testing.assert_allclose(sound, truth, atol=1e-6)
    assert all(answer.outputs is None for answer in answers if answer.error)


def test_nothing_to_predict(network, tmp_path):
    with predictor(network, **PLAIN) as predict:
        assert list(predict.predict([])) == []
        for source, message in (
            ([], "There is no image to predict"),
            (tmp_path, "holds no image"),
            (7, "Images come as paths, folders, encoded bytes, arrays"),
            (np.zeros((4, 4)), r"Images have shape \(height, width, 3\)"),
        ):
            with pytest.raises(InputError, match=message):
                predict(source)
    with pytest.raises(InputError, match="is closed"):
        predict.run(np.zeros((1, 24, 20, 3), "float32"))


def test_views_are_averaged(network, pictures):
    def views(image, preprocessing):
        prepared = preprocessing(image)
        return np.stack([prepared, prepared[:, ::-1], prepared * 0])

    with predictor(network, **PLAIN, batch_size=4) as predict:
        found = [answer.outputs for answer in predict.predict(pictures, views)]
        logs = [answer.outputs for answer in predict.predict(pictures, views, np.log)]
    truth = [np.asarray(network(views(p, PREPARE))) for p in pictures]
    np.testing.assert_allclose(found, np.mean(truth, axis=1), atol=1e-6)
    np.testing.assert_allclose(logs, np.mean(np.log(truth), axis=1), atol=1e-5)


def test_logits_of_an_ensemble_are_averaged_as_probabilities(network, pictures, tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(pictures[0]).save(path)
    keras.utils.set_random_seed(0)
    logits = keras.Model(network.input, layers.Dense(3)(network.layers[-2].output))
    softmax = keras.Model(network.input, layers.Softmax()(logits.output))
    found = []
    for model in (logits, softmax):
        with (
            predictor(model, **PLAIN, preprocessing=PREPARE) as one,
            predictor(network, **PLAIN, preprocessing=PREPARE) as other,
        ):
            (answer,) = prediction.predict([one, other], [path], top=3)
        found.append(dict(answer.classes))
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    assert sum(found[0].values()) == pytest.approx(1, abs=1e-6)


def test_sources_are_read_in_bounded_memory(network, pictures):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield pictures[0]

    with predictor(network, **PLAIN, batch_size=4) as predict:
        answers = predict.predict(endless())
        for _ in range(8):
            next(answers)
        assert taken <= 8 + 2 * 4
        answers.close()
        assert not [t for t in threading.enumerate() if t.name.startswith("prefetched")]


def test_prefetched_keeps_order_works_ahead_and_passes_errors_on():
    started = []

    def slow(number):
        started.append(number)
        time.sleep(0.002 * (7 - number % 7))
        if number == 30:
            raise InputError("thirty")
        return number

    assert list(prefetched(slow, range(25), threads=4, ahead=6)) == list(range(25))
    stream = prefetched(slow, range(100), threads=2, ahead=5)
    with pytest.raises(InputError, match="thirty"):
        list(stream)
    assert max(started) <= 30 + 5


def test_run_folders_and_keras_files_bring_what_they_need(network, pictures, tmp_path):
    network.save(tmp_path / "model.keras")
    with predictor(tmp_path / "model.keras", **PLAIN) as predict:
        assert predict.class_names == ("0", "1", "2")
        np.testing.assert_allclose(predict(pictures), expected(network, pictures), atol=1e-6)
    (tmp_path / "config.json").write_text(
        '{"preprocessing": {"size": [24, 20], "resize": "squash"}, "seed": 0,'
        '"class_names": ["cat", "dog", "owl"]}'
    )
    with predictor(str(tmp_path), **PLAIN) as predict:
        assert predict.class_names == ("cat", "dog", "owl")
        assert predict.preprocessing == Preprocessing(size=(24, 20), resize="squash")
    with predictor(
        tmp_path, **PLAIN, preprocessing=PREPARE, class_names=["x", "y", "z"]
    ) as predict:
        assert (predict.preprocessing, predict.class_names) == (PREPARE, ("x", "y", "z"))
    for foreign in ('{"model_type": "other"}', "[1]", "no json"):
        (tmp_path / "config.json").write_text(foreign)
        with predictor(tmp_path, **PLAIN) as predict:
            assert predict.preprocessing == Preprocessing(size=(24, 20))


@pytest.mark.parametrize("form, name", [("tf_saved_model", "saved"), ("litert", "a.tflite")])
@pytest.mark.parametrize("inside", [False, True])
def test_exported_files_bring_what_they_need(network, pictures, tmp_path, form, name, inside):
    """With the preprocessing outside, or inside as far as the format has it."""
    path = tmp_path / name
    export(
        network, path, format=form, class_names=["cat", "dog", "owl"],
        preprocessing=PREPARE, include_preprocessing=inside,
    )  # fmt: skip
    with predictor(path, batch_size=3) as predict:
        assert predict.class_names == ("cat", "dog", "owl")
        assert predict.runtime.input_dtype == ("uint8" if inside else "float32")
        found = predict(pictures)
    rounded = 0.03 if inside and form == "litert" else 1e-4  # resized, then whole pixels
    np.testing.assert_allclose(found, expected(network, pictures), atol=rounded)
    with pytest.raises(InputError, match="was exported for"):
        predictor(path, "onnxruntime")


@pytest.mark.parametrize("form, name", [("openvino", "saved"), ("onnx", "a.onnx")])
def test_raw_files_take_photos_of_all_sizes_one_by_one(network, pictures, tmp_path, form, name):
    """No batch is filled up with zeros where neighbours differ in size."""
    export(network, tmp_path / name, format=form, preprocessing=PREPARE)
    with predictor(tmp_path / name, dtype="float32", batch_size=4) as predict:
        assert predict.runtime.input_shape == (None, None, None, 3)
        counts, run = [], predict.runtime.run
        predict.runtime.run = lambda rows: counts.append(len(rows)) or run(rows)
        found = predict([*pictures[:3], pictures[2]])
    truth = expected(network, [*pictures[:3], pictures[2]])
    np.testing.assert_allclose(found, truth, atol=1e-4)
    assert counts == [1, 1, 2]


def test_images_that_a_raw_file_cannot_take_are_reported_alone(network, pictures, tmp_path):
    export(network, tmp_path / "saved", preprocessing=PREPARE)
    good = pictures[0]
    wrong = [good / 127.5 - 1.0, np.full(good.shape, np.nan)]
    with predictor(tmp_path / "saved", batch_size=8) as predict:
        answers = list(predict.predict([good, wrong[0], good.astype("float32"), wrong[1]]))
    assert [answer.error is None for answer in answers] == [True, False, True, False]
    assert "takes raw pixels, 0 to 255, but this image has values from -1" in answers[1].error
    np.testing.assert_array_equal(answers[0].outputs, answers[2].outputs)
    fixed = dataclasses.replace(PREPARE, resize="none")
    export(network, tmp_path / "fixed", preprocessing=fixed)
    with predictor(tmp_path / "fixed", batch_size=8) as predict:
        answers = list(predict.predict([good, good[:24, :20]]))
    assert "(24, 20, 3) as they are, but this one is (30, 40, 3)" in answers[0].error
    assert answers[1].error is None


def test_views_of_raw_files_are_pixels(network, pictures, tmp_path):
    """As `--crops 10` cuts them: of floats, which a LiteRT file with uint8 input does not take."""
    path = tmp_path / "a.tflite"
    export(network, path, format="litert", preprocessing=PREPARE)

    def views(image, preprocessing):
        prepared = preprocessing(image)
        return np.stack([prepared, prepared[:, ::-1]])

    with predictor(path) as predict:
        assert predict.inputs(pictures[0], views).dtype == "uint8"
        (answer,) = predict.predict(pictures[0], views)
    both = np.stack([PREPARE(pictures[0]), PREPARE(pictures[0])[:, ::-1]])
    np.testing.assert_allclose(answer.outputs, np.mean(network(both), axis=0), atol=0.03)


def test_an_ensemble_reports_what_any_of_its_networks_refuses(network, pictures, tmp_path):
    names = ["cat", "dog", "owl"]
    path = tmp_path / "fixed"
    export(network, path, preprocessing=dataclasses.replace(PREPARE, resize="none"))
    for name, rows in (("large", pictures[0]), ("right", pictures[0][:24, :20])):
        Image.fromarray(rows).save(tmp_path / f"{name}.png")
    files = [tmp_path / "large.png", tmp_path / "right.png", tmp_path / "none.png"]
    with (
        predictor(network, **PLAIN, class_names=names) as one,
        predictor(path, class_names=names) as other,
    ):
        for networks in ([one, other], [other, one]):
            large, right, none = prediction.predict(networks, files)
            assert "(24, 20, 3) as they are, but this one is (30, 40, 3)" in large.error
            assert len(right.classes) == 3
            assert "There is no file" in none.error


def test_an_exported_file_can_be_asked_for_what_it_is(network, tmp_path):
    export(network, tmp_path / "a.onnx", format="onnx")
    with predictor(tmp_path / "a.onnx", dtype="float32") as predict:
        assert "onnxruntime, float32 (as asked)" in predict.description
    with pytest.raises(InputError, match=r"the file alone says dtype .* Its dtype is float32"):
        predictor(tmp_path / "a.onnx", dtype="bfloat16")
    export(network, tmp_path / "saved", precision="bfloat16")
    with predictor(tmp_path / "saved", dtype="bfloat16") as predict:
        assert predict.runtime.dtype == predict.runtime.precision == "bfloat16"
    export(network, tmp_path / "half", format="openvino", precision="float16")
    with predictor(tmp_path / "half", dtype="float32") as predict:
        assert (predict.runtime.dtype, predict.runtime.precision) == ("float32", "float16")
        assert "openvino, float32 (as asked; exported as float16)" in predict.description


def test_openvino_takes_networks_of_tensorflow_only(network, monkeypatch):
    from keras_inception.inference.runtimes.openvino import from_keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(InputError, match="Keras on TensorFlow, but the backend is jax. Set KERAS"):
        from_keras(network, dtype="float32")


def test_heads_beside_the_classifier_are_left_out(pictures):
    network = ki.GoogLeNet(
        weights=None, input_shape=(65, 65, 3), classes=3, width=0.05, aux_heads=True
    )
    with predictor(network, **PLAIN) as predict:
        found = predict(pictures[:2])
    prepared = np.stack([Preprocessing(size=(65, 65))(p) for p in pictures[:2]])
    np.testing.assert_allclose(found, network(prepared)["predictions"], atol=1e-5)


@pytest.mark.parametrize(
    "wish, message",
    [
        ({"runtime": "openvina"}, "Unknown runtime: 'openvina'. Did you mean openvino"),
        ({"dtype": "float16"}, "Unknown dtype: 'float16'"),
        ({"runtime": "litert", "dtype": "bfloat16"}, "litert does not compute in bfloat16"),
        ({"batch_size": 0}, "batch_size must be a whole number from 1, got 0"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"class_names": ["one"]}, "1 class names were given, but tiny has 3 classes"),
    ],
)
def test_mistakes(network, wish, message):
    with pytest.raises(InputError, match=message):
        predictor(network, **{**PLAIN, **wish})


def test_networks_of_any_size_need_to_be_told_it(tmp_path):
    inputs = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(inputs))
    network = keras.Model(inputs, x, name="free")
    with pytest.raises(InputError, match="free takes images of any size"):
        predictor(network, **PLAIN)
    with predictor(network, **PLAIN, preprocessing=PREPARE) as predict:
        assert predict(np.zeros((1, 30, 30, 3), "uint8")).shape == (1, 2)


@pytest.mark.parametrize(
    "facts, flag",
    [
        ("processor : 0\nflags\t\t: fpu amx_tile amx_bf16 avx512_bf16\n", "amx_bf16"),
        ("flags\t\t: fpu avx512_bf16\n", "avx512_bf16"),
        ("flags\t\t: fpu avx512f avx2\n", None),
        ("Features\t: fp asimd bf16\n", "bf16"),
        ("", None),
    ],
)
def test_native_bfloat16_is_read_from_the_cpus_flags(tmp_path, facts, flag):
    (tmp_path / "cpuinfo").write_text(facts)
    assert precision.native_bfloat16(tmp_path / "cpuinfo") == flag
    assert precision.native_bfloat16(tmp_path / "none") is None


@pytest.mark.parametrize(
    "installed, flag, gpu, wish, found",
    [
        (
            {"openvino", "onnxruntime", "tf2onnx"},
            "amx_bf16",
            None,
            "auto",
            ("openvino", "bfloat16"),
        ),
        (ORT, "amx_bf16", None, "auto", ("tensorflow", "bfloat16")),
        ({"openvino"}, None, None, "auto", ("openvino", "float32")),
        (ORT, None, None, "auto", ("onnxruntime", "float32")),
        ({"onnxruntime"}, None, None, "auto", ("tensorflow", "float32")),
        (ORT, "amx_bf16", None, "onnxruntime", ("onnxruntime", "float32")),
        ({"openvino"}, None, (8, 6), "auto", ("tensorflow", "bfloat16")),
        ({"openvino"}, "amx_bf16", (7, 5), "auto", ("tensorflow", "float32")),
        ({"openvino"}, "bf16", None, "auto", ("tensorflow", "bfloat16")),
        ({"openvino"}, "bf16", None, "openvino", ("openvino", "float32")),
    ],
)
def test_the_fastest_that_is_installed_is_chosen(monkeypatch, installed, flag, gpu, wish, found):
    monkeypatch.setattr(choice, "native_bfloat16", lambda: flag)
    monkeypatch.setattr(choice, "gpu_capability", lambda: gpu)
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: name in installed or None)
    chosen = choice.choose(wish)
    assert (chosen.runtime, chosen.dtype) == found
    assert choice.choose(wish, "float32").reason == "as asked"


def test_bfloat16_that_is_asked_for_is_not_given_to_a_runtime_without_it(monkeypatch):
    monkeypatch.setattr(choice, "native_bfloat16", lambda: None)
    monkeypatch.setattr(choice, "gpu_capability", lambda: None)
    assert choice.choose("auto", "bfloat16").runtime == "tensorflow"


def test_an_item_that_is_no_image_has_an_error_and_the_rest_is_done(network, pictures, folder):
    good = pictures[0]
    empty = folder / "nothing"
    empty.mkdir(exist_ok=True)
    items = [good, good[:, :, 0], None, empty, good[:0], good]
    with predictor(network, **PLAIN, preprocessing=PREPARE) as predict:
        found = list(predict.predict(items))
        with pytest.raises(InputError, match="image 2 cannot be read: Images have shape"):
            predict(items)
        with pytest.raises(InputError, match="There is no input to compute"):
            predict.run([])
    assert [answer.error and answer.error.split(":")[0].split(",")[0] for answer in found] == [
        None,
        "Images have shape (height",
        "Images come as paths",
        f"The folder {empty} holds no image (.bmp",
        "The image has no pixels",
        None,
    ]
    np.testing.assert_allclose(found[-1].outputs, expected(network, [good])[0], atol=1e-5)


def test_inputs_of_whatever_holds_an_image(network, folder):
    path = folder / "0.png"
    with predictor(network, **PLAIN, preprocessing=PREPARE) as predict:
        first, *others = map(predict.inputs, (path, str(path), bytearray(path.read_bytes())))
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_class_names_that_a_file_cannot_have_are_told_at_the_first_batch(network, tmp_path):
    """A file of another program does not say how many classes it has."""
    import onnx

    export(network, tmp_path / "ours.onnx", format="onnx")
    proto = onnx.load(tmp_path / "ours.onnx")
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "foreign.onnx")
    names = ["cat", "dog"]
    with (
        predictor(tmp_path / "foreign.onnx", class_names=names, preprocessing=PREPARE) as predict,
        pytest.raises(InputError, match="2 class names were given, but .*foreign.onnx has 3"),
    ):
        predict(np.zeros((24, 20, 3), "uint8"))


def test_free_sizes_in_a_runtime_that_wants_one(pictures):
    inputs = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs))
    free = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    with predictor(free, "litert", "float32", preprocessing=PREPARE) as predict:
        np.testing.assert_allclose(predict(pictures[0]), expected(free, pictures[:1]), atol=1e-5)
