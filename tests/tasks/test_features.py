"""Feature extractors: their configs, their folders and the images that they take."""

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
def test_a_little_larger_or_smaller_is_cropped_or_padded_each_way(image, shape):
    pixels = np.random.default_rng(0).random(image)
    resized = np.asarray(feature_extractor._as_shape(jnp.asarray(pixels), shape))
    assert resized.shape == shape
    common = [min(a, b) for a, b in zip(image, shape, strict=True)][:2]

    def cut(x):
        return x[
            tuple(
                slice((side - kept) // 2, (side + kept) // 2)
                for side, kept in zip(x.shape[:2], common, strict=True)
            )
        ]

    np.testing.assert_allclose(
        cut(resized), np.broadcast_to(cut(pixels), (*common, shape[2]))
    )
    np.testing.assert_allclose(
        resized.sum(), cut(resized).sum(), rtol=1e-5
    )  # black around it


def test_only_a_classifier_is_a_feature_extractor():
    network = NetworkSpec(config=configs.default('gan').to_dict())
    with pytest.raises(UserError, match="a run of task 'gan' has no features"):
        feature_extractor.build(network, 'pooled')


def test_the_own_classifiers_batch_fits_any_number_of_devices(monkeypatch):
    data = configs.default('gan').data
    for devices, batch in ((1, 64), (6, 66), (8, 64), (100, 100)):
        monkeypatch.setattr(jax, 'device_count', lambda devices=devices: devices)
        assert feature_extractor.small_classifier(data).data.batch_size == batch


def test_a_trained_network_is_kept_by_what_it_learns_not_by_how(tmp_path):
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
