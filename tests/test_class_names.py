"""The ImageNet classes and `decode_predictions`."""

import keras
import numpy as np
import pytest

from keras_inception.class_names import decode_predictions, imagenet_classes
from keras_inception.errors import InputError

ELEPHANT = ("n02504458", "African_elephant", 1.0)


def one_hot(index, columns):
    return np.eye(columns, dtype="float32")[[index]]


def test_classes_are_those_of_2012_in_the_order_of_their_ids():
    classes = imagenet_classes()
    synsets = [synset for synset, _ in classes]
    assert len(classes) == 1000
    assert synsets == sorted(set(synsets))
    assert all(len(synset) == 9 and synset[0] == "n" for synset in synsets)
    known = {
        0: ("n01440764", "tench"),
        134: ("n02012849", "crane"),
        281: ("n02123045", "tabby"),
        386: ELEPHANT[:2],
        517: ("n03126707", "crane"),
        999: ("n15075141", "toilet_tissue"),
    }
    assert {index: classes[index] for index in known} == known


def test_only_crane_and_maillot_name_two_classes():
    names = [name for _, name in imagenet_classes()]
    assert {name for name in names if names.count(name) > 1} == {"crane", "maillot"}
    assert not [name for name in names if " " in name]


def test_best_come_first_and_scores_are_the_columns():
    scores = np.linspace(0, 0.3, 1000)[None].repeat(2, 0)
    scores[1] = scores[1, ::-1]
    first, second = decode_predictions(scores, top=3)
    assert [name for _, name, _ in first] == [name for _, name in imagenet_classes()[:-4:-1]]
    assert [score for *_, score in first] == pytest.approx(scores[0, :-4:-1])
    assert [synset for synset, *_ in second] == [synset for synset, _ in imagenet_classes()[:3]]
    assert len(decode_predictions(scores)[0]) == 5


@pytest.mark.parametrize("convert", [np.asarray, keras.ops.convert_to_tensor, list])
def test_background_class_is_dropped(convert):
    assert decode_predictions(convert(one_hot(386, 1000)), top=1) == [[ELEPHANT]]
    assert decode_predictions(convert(one_hot(387, 1001)), top=1) == [[ELEPHANT]]
    background = one_hot(0, 1001) + 0.25 * one_hot(387, 1001)
    assert decode_predictions(convert(background), top=1) == [[(*ELEPHANT[:2], 0.25)]]


def test_own_names_take_any_number_of_columns():
    scores = [[0.2, 0.5, 0.3]]
    expected = [[("1", "dog", 0.5), ("2", "cat", 0.3), ("0", "cat", 0.2)]]
    assert decode_predictions(scores, class_names=["cat", "dog", "cat"]) == expected
    names = [f"class {n}" for n in range(1001)]
    assert decode_predictions(one_hot(0, 1001), 1, names) == [[("0", "class 0", 1.0)]]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "bool"])
def test_integers_are_scores_too(dtype):
    scores = np.array([[0, 0, 1]]) * (1 if dtype == "bool" else np.iinfo(dtype).max)
    scores[0, 1] = np.iinfo(dtype).min if dtype == "int8" else 0
    decoded = decode_predictions(scores.astype(dtype), class_names="abc")
    assert [name for _, name, _ in decoded[0]] == ["c", "a", "b"]


def test_first_of_equals_wins():
    decoded = decode_predictions(np.zeros((1, 3)), class_names="abc")
    assert [name for _, name, _ in decoded[0]] == ["a", "b", "c"]


def test_no_rows_give_no_rows():
    assert decode_predictions(np.zeros((0, 1000))) == []


@pytest.mark.parametrize(
    ("predictions", "options", "words"),
    [
        (np.zeros(1000), {}, "Predictions have shape (batch, classes), but got (1000,)."),
        (np.zeros((1, 999)), {}, "have 1000 or 1001 columns, but got 999; name other classes"),
        (np.zeros((1, 3)), {"class_names": ["a"]}, "Got 3 columns of predictions for 1 names."),
        (np.zeros((1, 1000)), {"top": 0}, "top is at least 1, but got 0."),
        (one_hot(5, 1000) * np.nan, {}, "Row 0 of the predictions has NaN or infinite scores."),
        (np.float32([[0, 1], [np.inf, 0]]), {"class_names": "ab"}, "Row 1 of the predictions"),
        ({"predictions": 0, "aux": 0}, {}, "predictions, aux: a model with auxiliary heads"),
    ],
)
def test_other_predictions_are_refused(predictions, options, words):
    with pytest.raises(InputError) as error:
        decode_predictions(predictions, **options)
    assert words in str(error.value)
