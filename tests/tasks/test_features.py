"""Networks as judges: which they are, where they are kept, and what they see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.tasks.shared import feature_extractor
from jaxvision.train import auxiliary


@pytest.mark.parametrize(
    'image, wanted',
    [((32, 32, 1), (24, 30, 1)), ((8, 8, 1), (10, 8, 3)), ((10, 12, 3), (12, 10, 3))],
)
def test_a_little_larger_or_smaller_is_cropped_or_padded_each_way(image, wanted):
    pixels = np.random.default_rng(0).random(image)
    seen = np.asarray(feature_extractor._as_shape(jnp.asarray(pixels), list(wanted)))
    assert seen.shape == wanted
    common = [min(a, b) for a, b in zip(image, wanted)][:2]

    def cut(x):
        return x[
            tuple(
                slice((side - kept) // 2, (side + kept) // 2)
                for side, kept in zip(x.shape, common)
            )
        ]

    np.testing.assert_allclose(
        cut(seen), np.broadcast_to(cut(pixels), (*common, wanted[2]))
    )
    np.testing.assert_allclose(
        seen.sum(), cut(seen).sum(), rtol=1e-5
    )  # black around it


def test_only_a_classifier_judges():
    with pytest.raises(UserError, match="a run of task 'gan' sees no features"):
        feature_extractor.perceive(
            {'config': configs.default('gan').to_dict(), 'spec': {}}, 'pooled'
        )


def test_the_own_judges_batch_fits_any_number_of_devices(monkeypatch):
    for devices, batch in ((1, 64), (6, 66), (8, 64), (100, 100)):
        monkeypatch.setattr(jax, 'device_count', lambda: devices)
        assert (
            feature_extractor.own(configs.default('gan').data).data.batch_size == batch
        )


def test_a_judge_is_kept_by_what_it_learns_not_by_how(tmp_path):
    data = configs.default('gan').data
    data.source = 'digits'

    def folder(*overrides):
        network = feature_extractor.own(data)
        for text in overrides:
            configs.override(network, *text.split('=', 1))
        return auxiliary.folder('judge', network, tmp_path)

    assert folder() == folder('data.threads=3', 'train.log_every=7')
    assert folder() != folder('optimizer.lr=0.01')
