"""Counting right and wrong answers: whole numbers are summed, and divided once at the end."""

import numpy as np

TOP = 5  # the papers' second figure: the label is among the five likeliest classes


class Counts:
    """Answers counted so far.

    Attributes:
        confusion: int64 array (classes, classes): images of class `row` taken for class `column`.
        in_top5: int64 array (classes,): images of each class whose label was among the five
            likeliest (all of them if there are no more than five classes).
    """

    def __init__(self, classes: int):
        """Start with nothing counted.

        Args:
            classes: number of classes.
        """
        self.confusion = np.zeros((classes, classes), np.int64)
        self.in_top5 = np.zeros(classes, np.int64)

    def add(self, probabilities: np.ndarray, labels: np.ndarray) -> None:
        """Count some images.

        Classes of equal probability are ranked in the order of their index.

        Args:
            probabilities: float array (images, classes).
            labels: integer array (images,), each in 0..classes - 1.
        """
        rows = np.arange(len(labels))
        of_label = probabilities[rows, labels][:, None]
        earlier = np.arange(probabilities.shape[1]) < labels[:, None]
        ahead = (probabilities > of_label) | ((probabilities == of_label) & earlier)
        np.add.at(self.in_top5, labels, ahead.sum(axis=1) < TOP)
        np.add.at(self.confusion, (labels, probabilities.argmax(axis=1)), 1)
