"""A generator's images as training data."""

import numpy as np
import pytest

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.train import loop, run, synthetic
from jaxvision.train.sources import Sources


@pytest.fixture(scope='module')
def generator(trained, tmp_path_factory):
    """A run of one step of a GAN of the 8x8 digits."""
    config = configs.default('gan')
    for text in (
        'data.source=digits',
        'data.batch_size=8',
        'model.name=r3gan',
        'model.variant=8-4',
        f'task.feature_extractor={trained}',
        'task.samples=20',
        'train.steps=1',
    ):
        configs.override(config, *text.split('=', 1))
    workdir = tmp_path_factory.mktemp('generator')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.figures, 'save', lambda *_: None)
        loop.run(config, workdir)
    return workdir


def test_real_images_come_over_and_over_and_generated_ones_behind_them(tiny, generator):
    real = Sources(tiny('data.per_class=2'))['train']
    config = tiny(
        'data.per_class=2',
        f'data.synthetic={generator}',
        'data.synthetic_examples=30',
        'data.synthetic_fraction=0.25',
    )
    mixed = Sources(config)['train']
    assert (len(real), len(mixed)) == (20, 90 + 30)
    for row in (0, 19, 20, 89):
        np.testing.assert_array_equal(mixed[row]['image'], real[row % 20]['image'])
    made = mixed.read(range(90, 120))
    assert [example['label'] for example in made] == list(range(10)) * 3
    assert {example['image'].shape for example in made} == {(8, 8, 1)}
    assert len({example['image'].tobytes() for example in made}) == 30
    assert [
        example['label'] for example in mixed.read(range(120))
    ] == mixed.labels().tolist()
    again = Sources(config)['train']
    assert again.info.fingerprint == mixed.info.fingerprint != real.info.fingerprint
    np.testing.assert_array_equal(again[100]['image'], mixed[100]['image'])


def test_a_classifier_learns_from_both(tiny, generator, tmp_path, no_pictures):
    result = loop.run(
        tiny(
            'data.per_class=2',
            f'data.synthetic={generator}',
            'data.synthetic_examples=20',
            'train.steps=2',
        ),
        tmp_path,
    )
    assert result.finished


@pytest.mark.parametrize(
    'overrides, message',
    [
        (['data.synthetic=nowhere'], 'expected the folder of a run'),
        (['data.synthetic=CLASSIFIER'], 'expected a conditional GAN of the classes'),
        (
            ['data.synthetic=GENERATOR', 'data.synthetic_fraction=1.0'],
            'data.synthetic_fraction=1.0: expected a number > 0, < 1',
        ),
        (
            ['data.synthetic=GENERATOR', 'data.source=mnist5k'],
            'expected images of shape .*like the real ones',
        ),
    ],
)
def test_a_generator_that_does_not_fit_is_an_error(
    tiny, generator, trained, overrides, message, tmp_path
):
    overrides = [
        text.replace('GENERATOR', str(generator)).replace('CLASSIFIER', str(trained))
        for text in overrides
    ]
    with pytest.raises(UserError, match=message):
        run.begin(tiny(*overrides), tmp_path / 'run')


def test_images_of_several_sizes_are_refused_with_a_remedy_that_helps():
    images = np.zeros((2, 32, 32, 3), np.uint8)
    with pytest.raises(UserError, match='Leave data.synthetic empty'):
        synthetic._cropped(images, (None, None, 3), 'runs/gan')
