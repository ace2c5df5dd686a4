import numpy as np
import sklearn.datasets

from keras_inception import data


def test_every_digit_is_there_once_and_unchanged():
    dataset = data.load("digits")
    bunch = sklearn.datasets.load_digits()
    assert dataset.class_names == tuple("0123456789")
    seen = []
    for split in (dataset.train, dataset.validation, dataset.test):
        for example in split.examples().as_numpy_iterator():
            number = int(example["name"].decode().removeprefix("digits/"))
            seen.append(number)
            assert example["label"] == bunch.target[number]
            grey = np.asarray(example["image"])
            assert grey.shape == (8, 8, 3) and grey.dtype == "uint8"
            expected = bunch.images[number] / 16 * 255
            assert np.abs(grey - expected[..., None]).max() <= 0.5
    assert sorted(seen) == list(range(1797))


def test_split_is_fixed_and_stratified():
    first, second = data.load("digits", seed=0), data.load("digits", seed=1)
    np.testing.assert_array_equal(first.test.numbers, second.test.numbers)
    assert (len(first.train), len(first.validation), len(first.test)) == (1259, 179, 359)
    target = sklearn.datasets.load_digits().target
    for split, share in ((first.validation, 0.1), (first.test, 0.2)):
        counts = np.bincount(target[split.numbers], minlength=10)
        assert np.abs(counts - share * np.bincount(target)).max() <= 0.5
