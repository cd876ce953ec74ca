"""Feature extractors: configs, cache folders and the conversion of images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.core.spec import NetworkSpec
from jaxvision.core.task import RequiredNetwork
from jaxvision.tasks.shared import feature_extractor
from jaxvision.train import auxiliary


@pytest.mark.parametrize(
    'image, shape',
    [((32, 32, 1), (24, 30, 1)), ((8, 8, 1), (10, 8, 3)), ((10, 12, 3), (12, 10, 3))],
)
def test_images_of_nearly_the_right_size_are_cropped_or_padded(image, shape):
    pixels = np.random.default_rng(0).random(image)
    resized = np.asarray(feature_extractor._as_shape(jnp.asarray(pixels), shape))
    assert resized.shape == shape
    height = min(image[0], shape[0])
    width = min(image[1], shape[1])

    def centre(x):
        top = (x.shape[0] - height) // 2
        left = (x.shape[1] - width) // 2
        return x[top : top + height, left : left + width]

    expected = np.broadcast_to(centre(pixels), (height, width, shape[2]))
    np.testing.assert_allclose(centre(resized), expected)
    # The padding is black.
    np.testing.assert_allclose(resized.sum(), centre(resized).sum(), rtol=1e-5)


def test_only_a_classifier_is_a_feature_extractor():
    network = NetworkSpec(config=configs.default('gan').to_dict())
    with pytest.raises(
        UserError, match='expected a run of the task classification, .* of the task gan'
    ):
        feature_extractor.build(network, 'pooled')


def test_the_batch_of_the_small_classifier_is_a_multiple_of_the_devices(monkeypatch):
    data = configs.default('gan').data
    for devices, batch in ((1, 64), (6, 66), (8, 64), (100, 100)):
        monkeypatch.setattr(jax, 'device_count', lambda devices=devices: devices)
        assert feature_extractor.small_classifier(data).data.batch_size == batch


def test_the_cache_folder_depends_on_what_is_learned_and_not_on_threads_or_logging(
    tmp_path,
):
    data = configs.default('gan').data
    data.source = 'digits'

    def folder(*overrides):
        network = feature_extractor.small_classifier(data)
        for text in overrides:
            configs.override(network, *text.split('=', 1))
        required = RequiredNetwork(config=network)
        return auxiliary._folder('feature_extractor', required, tmp_path)

    assert folder() == folder('data.threads=3', 'train.log_every=7')
    assert folder() != folder('optimizer.lr=0.01')
