"""Evaluations against the same done image by image in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_inception import data
from keras_inception.errors import InputError
from keras_inception.evaluation import crops as cut
from keras_inception.evaluation import evaluate, predict
from keras_inception.preprocessing import Preprocessing
from tests.data.pictures import encoded, picture

PAPERS = Preprocessing(size=(16, 16))
CAFFE = Preprocessing(size=(16, 16), mean=(123.0, 117.0, 104.0), std=(1.0, 1.0, 1.0))
LARGER = Preprocessing(size=(24, 24), std=(60.0, 60.0, 60.0))


def by_hand(model, preprocessing, images, crops):
    """One image after the other, all its crops at once."""
    answers = []
    for image in images:
        if crops == 1:
            inputs = np.asarray(preprocessing(image))[None]
        else:
            inputs = preprocessing.normalize(cut(image, preprocessing.size[0], crops).numpy())
        answers.append(model(np.asarray(inputs), training=False).numpy().mean(axis=0))
    return np.stack(answers)


@pytest.mark.parametrize(
    ("crops", "batch_size"), [(1, 2), (1, 100), (10, 4), (12, 7), (144, 50), (144, 1000)]
)
def test_probabilities_are_averaged_over_the_crops(network, images, crops, batch_size):
    model, images = network(), images(5)
    expected = by_hand(model, PAPERS, images, crops)
    found = predict(model, images, crops, batch_size=batch_size)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert np.ptp(expected, axis=0).max() > 0.1  # the answers differ, so an order could be wrong


def test_chosen_scales_are_used(network, images):
    model, images = network(), images(2)
    expected = np.stack(
        [
            model(PAPERS.normalize(cut(image, 16, 10, scales=[2.0]).numpy())).numpy().mean(axis=0)
            for image in images
        ]
    )
    found = predict(model, images, 10, scales=[2.0])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("crops", "weights"), [(1, None), (10, [3, 0, 1, 4]), (144, None)])
def test_ensemble_is_the_mean_of_its_runs(network, images, crops, weights):
    """Sizes, scaling and kinds of output differ; an auxiliary head is not listened to."""
    models = [
        network(16, seed=1, name="one"),
        network(16, seed=2, name="two"),
        network(24, seed=3, name="three", activation=None),
        network(16, seed=4, name="four", wrap=lambda x: {"aux": 1 - x, "predictions": x}),
    ]
    preprocessing = [PAPERS, CAFFE, LARGER, None]
    images = images(3)
    found = predict(models, images, crops, weights, preprocessing=preprocessing, batch_size=64)
    softmax = keras.Sequential([models[2], keras.layers.Softmax()])
    main = keras.Model(models[3].input, models[3].output["predictions"])
    runs = [
        by_hand(model, how, images, crops)
        for model, how in zip(
            [models[0], models[1], softmax, main], [PAPERS, CAFFE, LARGER, PAPERS], strict=True
        )
    ]
    expected = np.average(runs, axis=0, weights=weights)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_report_counts_every_image_once(network, images, dataset):
    model, images = network(), images(13)
    labels = np.arange(13) % 7
    report = evaluate(model, dataset(images, labels), batch_size=4)
    probabilities = by_hand(model, PAPERS, images, 1)
    ranking = np.argsort(-probabilities, axis=1, kind="stable")
    confusion = np.zeros((7, 7), int)
    for label, answer in zip(labels, ranking[:, 0], strict=True):
        confusion[label, answer] += 1
    assert report.images == 13
    np.testing.assert_array_equal(report.confusion, confusion)
    assert report.top1_error == np.mean(ranking[:, 0] != labels)
    assert report.top5_error == np.mean((ranking[:, :5] != labels[:, None]).all(axis=1))
    assert 0 < report.top5_error < report.top1_error < 1  # neither is trivial here


def test_many_crops_are_still_one_image(network, images, dataset):
    report = evaluate(network(), dataset(images(5), range(5)), 144, batch_size=100)
    assert report.images == 5
    assert report.confusion.sum(axis=1).tolist() == [1, 1, 1, 1, 1, 0, 0]


def test_datasets_that_give_up_their_order_do_not_mix_images(network):
    """Small images are cut while large ones before them are still being resized."""
    options = tf.data.Options()
    options.deterministic = False
    sides = tf.data.Dataset.from_tensor_slices([900, 20] * 6).with_options(options)
    unordered = sides.map(lambda side: (tf.zeros((side, side, 3), tf.uint8), 0))
    assert evaluate(network(), unordered, 144, batch_size=2000).images == 12


class Split:
    """A split as keras_inception.data has it: a length, and examples of encoded files."""

    def __init__(self, images, labels, names, length=None):
        self._images, self._labels, self._names = images, labels, names
        self._length = len(images) if length is None else length

    def __len__(self):
        return self._length

    def examples(self):
        columns = {"image": self._images, "label": self._labels, "name": self._names}
        return tf.data.Dataset.from_tensor_slices(columns)


def png(image):
    return tf.io.encode_png(image).numpy()


def test_encoded_files_give_what_their_pixels_give(network, images, dataset):
    model, images = network(), images(6)
    grey = images[0][..., :1]
    files = Split([png(grey), *map(png, images[1:])], list(range(6)), list("abcdef"))
    images[0] = np.repeat(grey, 3, axis=-1)
    expected = evaluate(model, dataset(images, range(6)), 10).confusion
    np.testing.assert_array_equal(evaluate(model, files, 10).confusion, expected)


def test_grey_pixels_become_rgb(network):
    grey = np.random.default_rng(0).integers(0, 256, (20, 30, 1)).astype(np.uint8)
    model = network()
    np.testing.assert_array_equal(
        predict(model, [grey]), predict(model, [np.repeat(grey, 3, axis=-1)])
    )


def test_excluded_images_are_not_counted(network, images):
    names = [f"n0/ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 7)]
    split = Split([png(image) for image in images(6)], [0, 1, 2, 3, 4, 5], names)
    report = evaluate(network(), split, exclude=[2, 5, 99])
    assert (report.images, report.excluded, report.exclusions_listed) == (4, 2, 3)
    assert report.confusion.sum(axis=1).tolist() == [1, 0, 1, 1, 0, 1, 0]


def test_a_list_that_names_no_image_is_refused_before_anything_is_run(network, images, dataset):
    split = Split([png(image) for image in images(2)], [0, 1], ["train-0, record 0", "b"])
    model = network()
    model.call = None
    with pytest.raises(
        InputError,
        match=r"None of the 2 images that exclude lists, such as 7 \(ILSVRC2012_val_00000007\), is "
        "in the dataset, whose images are called like 'train-0, record 0'. List the images as",
    ):
        evaluate(model, split, exclude=[7, 8])
    with pytest.raises(InputError, match="None of the 1 images .* such as 'c', is .* like '1'"):
        evaluate(model, dataset(images(2), [0, 1]), exclude=["c"])


def test_images_without_names_are_excluded_by_position(network, images, dataset):
    report = evaluate(network(), dataset(images(4), [0, 1, 2, 3]), exclude=[1])
    assert report.confusion.sum(axis=1).tolist() == [0, 1, 1, 1, 0, 0, 0]


def test_networks_in_channels_first_order_are_served(images):
    inputs = keras.Input((3, 16, 16))
    x = keras.layers.Flatten()(keras.layers.Permute((2, 3, 1))(inputs))
    first = keras.Model(inputs, keras.layers.Dense(4, "softmax", name="out")(x))
    inputs = keras.Input((16, 16, 3))
    last = keras.Model(
        inputs, keras.layers.Dense(4, "softmax", name="out")(keras.layers.Flatten()(inputs))
    )
    last.set_weights(first.get_weights())
    images = images(3)
    np.testing.assert_allclose(predict(first, images), predict(last, images), rtol=1e-6)


def test_subclassed_networks_are_served(network, images):
    inner = network()

    class Wrapped(keras.Model):
        def call(self, inputs, training=None):
            return inner(inputs, training=training)

    images = images(3)
    found = predict(Wrapped(), images, preprocessing=PAPERS)
    np.testing.assert_allclose(found, predict(inner, images), rtol=1e-6)


def test_batch_statistics_and_dropout_are_those_of_inference(images):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Flatten()(keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(inputs)))
    model = keras.Model(inputs, keras.layers.Dense(4, "softmax")(x))
    before = model.get_weights()
    images = images(3)
    np.testing.assert_allclose(predict(model, images), by_hand(model, PAPERS, images, 1), rtol=1e-5)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_progress_bar_only_where_asked(network, images, dataset, capsys):
    evaluate(network(), dataset(images(3), [0, 1, 2]))
    assert capsys.readouterr().out == ""
    evaluate(network(), dataset(images(3), [0, 1, 2]), progress=True)
    assert "3/Unknown" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crops": 11}, "No protocol has 11 crops; the papers have 1, 10, 12, 144."),
        ({"scales": [1.1]}, "scales are for 10, 12 and 144 crops; .* Got "),
        ({"crops": 144, "scales": [1.1]}, "144 crops need 4 scales, got 1"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0."),
        ({"weights": [1, 1]}, "2 weights for 1 networks; give one each."),
        ({"weights": [-1]}, r"Weights must be finite, not negative and not all zero; got \(-1.0"),
        ({"weights": [0]}, r"not all zero; got \(0.0,\)"),
        ({"weights": [float("inf")]}, r"finite, .* got \(inf,\)"),
        ({"weights": [float("nan")]}, r"finite, .* got \(nan,\)"),
        ({"preprocessing": [PAPERS, PAPERS]}, "preprocessing has 2 entries for 1 networks"),
        ({"preprocessing": LARGER}, "net takes images of 16 x 16 pixels, but its .* 24 x 24."),
        ({"outputs": "logit"}, "Unknown kind of outputs: 'logit'. Did you mean logits"),
        ({"class_names": ["a", "b"]}, "2 class names were given, but there are 7 classes."),
    ],
)
def test_wrong_arguments_are_named(network, images, dataset, arguments, message):
    with pytest.raises(InputError, match=message):
        evaluate(network(name="net"), dataset(images(2), [0, 1]), **arguments)


@pytest.mark.parametrize("models", [[], ["net"]])
def test_only_networks_are_evaluated(images, dataset, models):
    with pytest.raises(InputError, match="Expected a keras.Model or several in a list, got"):
        evaluate(models, dataset(images(2), [0, 1]))


def test_size_must_be_known(images, dataset):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Dense(3, "softmax")(keras.layers.GlobalAveragePooling2D()(inputs))
    model = keras.Model(inputs, x, name="net")
    with pytest.raises(InputError, match="net takes images of any size; say with preprocessing"):
        evaluate(model, dataset(images(2), [0, 1]))
    assert evaluate(model, dataset(images(2), [0, 1]), preprocessing=PAPERS).images == 2


def test_many_crops_are_squares(images, dataset):
    inputs = keras.Input((16, 20, 3))
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(keras.layers.Flatten()(inputs)))
    assert evaluate(model, dataset(images(2), [0, 1])).images == 2
    with pytest.raises(InputError, match="10 crops are squares, .* makes 16 x 20 pixels"):
        evaluate(model, dataset(images(2), [0, 1]), 10)


@pytest.mark.parametrize("label", [-1, 7])
def test_labels_that_are_no_class_are_named(network, images, dataset, label):
    with pytest.raises(
        InputError, match=f"image 2 has the label {label}, but net knows 7 classes, 0 to 6."
    ):
        evaluate(network(name="net"), dataset(images(2), [0, label]))


def test_networks_must_know_the_same_classes(network, images, dataset):
    models = [network(classes=7, name="a"), network(classes=8, name="b")]
    with pytest.raises(InputError, match="must know the same classes: a has 7, b has 8."):
        evaluate(models, dataset(images(2), [0, 1]))


def test_nothing_to_evaluate_on(network, images, dataset):
    with pytest.raises(InputError, match="No image to evaluate on: the dataset gave 0"):
        evaluate(network(), dataset([], []))
    with pytest.raises(InputError, match="the dataset gave 2, all of them excluded."):
        evaluate(network(), dataset(images(2), [0, 1]), exclude=[1, 2])
    with pytest.raises(InputError, match="No image to predict"):
        predict(network(), [])


def test_a_dataset_must_give_as_many_images_as_it_says(network, images):
    split = Split([png(image) for image in images(3)], [0, 1, 2], ["a", "b", "c"], length=4)
    with pytest.raises(InputError, match="says that it has 4 images, but it gave 3."):
        evaluate(network(), split)


def test_an_image_that_cannot_be_read_is_named(network, images):
    files = [png(image) for image in images(9)]
    files[6] = files[6][:40]
    split = Split(files, [0] * 9, [f"file{i}.png" for i in range(9)])
    for crops in (1, 10):
        with pytest.raises(InputError, match="The image file6.png cannot be read: .* skip_broken"):
            evaluate(network(), split, crops, batch_size=2)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "GIF", "WEBP"])
def test_a_broken_file_of_any_format_is_named(tmp_path, network, file_format):
    """Pillow and TensorFlow share the reading of the formats; neither knows the name."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(4):
            (tmp_path / name / f"{i}.jpg").write_bytes(encoded(picture(20, 30, i), file_format))
    split = data.load(tmp_path, check=False).train
    split.raise_if_unreadable()
    broken = next(iter(split.examples()))["name"].numpy().decode()
    (tmp_path / broken).write_bytes(encoded(picture(20, 30), file_format)[:60])
    for fails in (lambda: evaluate(network(), split), split.raise_if_unreadable):
        with pytest.raises(InputError, match=f"The image {broken} cannot be read: ") as caught:
            fails()
        assert "{{" not in str(caught.value) and "[Op:" not in str(caught.value)
    (tmp_path / broken).unlink()
    with pytest.raises(InputError, match=f"at position 0 cannot be read: .*{broken}; No such file"):
        split.raise_if_unreadable()
    with pytest.raises(InputError, match=f"The image 1 cannot be read: .*{broken}; No such file"):
        evaluate(network(), split)


@pytest.mark.parametrize("image", [np.full((8, 8, 3), 0.5), [[[255, 0, 0]]]])
def test_images_to_predict_are_bytes(network, image):
    """TensorFlow would round 0..1 down to black."""
    good = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(InputError, match="The image 2 is (float|int)64 .*; expected uint8"):
        predict(network(), [good, image])
    with pytest.raises(InputError, match=r"The image 1 is uint8 .8, 3.; expected uint8 .height"):
        predict(network(), iter([good[0]]))


def test_an_image_with_other_channels_is_named(network):
    for shape in ((8, 8, 4), (0, 8, 3)):
        images = (np.zeros(size, np.uint8) for size in ((8, 8, 3), shape))
        with pytest.raises(InputError, match="The image 2 is uint8 .[08], 8, [34].; expected"):
            predict(network(), images)


def of(image, label):
    return tf.data.Dataset.from_tensors((image, label))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("imagenet", "Cannot evaluate on a str; expected a split"),
        (of(tf.zeros((8, 8, 3), tf.uint8), 0).repeat(), "The dataset never ends"),
        (of(tf.zeros((2, 8, 8, 3), tf.uint8), [0, 0]), "got uint8 .2, 8, 8, 3.. Batches must be"),
        (of(tf.zeros((8, 8, 3)), 0), "got float32 .8, 8, 3.. .* not yet be scaled"),
        (of(["a", "b"], 0), "got string .2,.. Batches must be unbatched"),
        (of(tf.zeros((8, 8, 3), tf.uint8), [0.0, 1.0]), "labels must be .* got float32 .2,.."),
        (of(tf.zeros((8, 8, 3), tf.uint8), [0, 1]), "labels must be .* got int32 .2,.."),
        (of(tf.zeros((8, 8, 4), tf.uint8), 0), "got uint8 .8, 8, 4."),
        (tf.data.Dataset.range(3), "elements must be .image, label. or dicts"),
        (tf.data.Dataset.range(3).map(lambda i: {"image": i}), "elements must be .image, label."),
    ],
)
def test_datasets_of_other_kinds_are_refused(network, dataset, message):
    with pytest.raises(InputError, match=message):
        evaluate(network(), dataset)


def test_outputs_that_are_no_classes_are_refused(network, images, dataset):
    two = dataset(images(2), [0, 1])
    with pytest.raises(InputError, match="net has the outputs a, b; .* must be called predictions"):
        evaluate(network(name="net", wrap=lambda x: {"a": x, "b": x}), two)
    with pytest.raises(InputError, match="net must give one tensor .* got list"):
        evaluate(network(name="net", wrap=lambda x: [x, x]), two)
    with pytest.raises(InputError, match=r"net must give one tensor .* got \(2, 7, 1\)"):
        evaluate(network(name="net", wrap=keras.layers.Reshape((7, 1))), two, batch_size=2)


def test_outputs_that_are_not_finite_are_refused(network, images, dataset):
    model = network(name="net")
    model.layers[-1].bias.assign([np.nan] * 7)
    with pytest.raises(InputError, match="net gave outputs that are not finite numbers."):
        evaluate(model, dataset(images(2), [0, 1]))


def test_sigmoid_outputs_need_a_word(network, images, dataset):
    model, images = network(name="net", activation="sigmoid"), images(2)
    with pytest.raises(
        InputError, match="net lie between 0 and 1 but do not sum to 1; say outputs"
    ):
        predict(model, images)
    raw = by_hand(model, PAPERS, images, 1)
    taken = predict(model, images, outputs="probabilities")
    np.testing.assert_allclose(taken, raw, rtol=1e-5)
    softmax = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predict(model, images, outputs="logits"), softmax, rtol=1e-5)
