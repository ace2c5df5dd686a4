"""Counts against a loop that follows the definitions."""

import numpy as np
import pytest

from keras_inception.evaluation.metrics import Counts


@pytest.mark.parametrize("classes", [1, 2, 4, 5, 6, 20])
def test_counts_equal_a_loop(classes):
    random = np.random.default_rng(classes)
    # Few different values, so that there are ties.
    probabilities = random.integers(0, 4, (200, classes)) / 4
    labels = random.integers(0, classes, 200)
    counts = Counts(classes)
    for part in np.split(np.arange(200), [1, 50, 50, 130]):
        counts.add(probabilities[part], labels[part])

    confusion = np.zeros((classes, classes), int)
    in_top5 = np.zeros(classes, int)
    for row, label in zip(probabilities, labels, strict=True):
        ranking = sorted(range(classes), key=lambda c: (-row[c], c))
        confusion[label, ranking[0]] += 1
        in_top5[label] += label in ranking[:5]
    np.testing.assert_array_equal(counts.confusion, confusion)
    np.testing.assert_array_equal(counts.in_top5, in_top5)


def test_with_five_classes_or_fewer_every_label_is_among_the_five():
    counts = Counts(5)
    counts.add(np.eye(5)[[0, 1, 2]], np.array([4, 3, 2]))
    assert counts.in_top5.sum() == 3
    assert counts.confusion.trace() == 1
