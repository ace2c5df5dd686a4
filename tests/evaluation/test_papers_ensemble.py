"""The ensemble of the v4 paper: one Inception-v4 and three Inception-ResNet-v2."""

import numpy as np
import pytest

import keras_inception as ki
from keras_inception.evaluation import predict


@pytest.mark.slow
def test_v4_and_three_resnets_average_to_the_mean_of_their_runs(images):
    size = {"input_shape": (75, 75, 3), "classes": 10, "width": 0.1, "weights": None}
    networks = [
        ki.InceptionV4(**size, name="v4"),
        *[ki.InceptionResNetV2(**size, name=f"resnet_{i}") for i in range(3)],
    ]
    images = images(3)
    runs = [predict(network, images, 144, batch_size=72) for network in networks]
    together = predict(networks, images, 144, batch_size=72)
    np.testing.assert_allclose(together, np.mean(runs, axis=0), rtol=1e-6)
    assert len({tuple(run.ravel()) for run in runs}) == 4  # four different networks
