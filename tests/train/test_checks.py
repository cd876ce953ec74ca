"""Checks of a run before its first step."""

import dataclasses

import pytest

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.data.protocol import Unreadable
from jaxvision.train import checks, largest_batch, training
from jaxvision.train.run import begin

# Overrides of each task with which training cuts a part of every image.
CUT = {
    'super_resolution': ('model.name=edsr', 'model.variant=1x4', 'task.patch=2'),
    'inpainting': (
        'model.name=unet',
        'model.variant=4x1-6x1',
        'task.crop=6',
        'task.box_size=2',
    ),
    'segmentation': (
        'data.source=digit_scenes/64',
        'data.image_size=64',
        'model.name=segmentation_unet',
        'model.variant=cnn:4x1-8x1',
        'model.options.finest=1',
        'task.augment.part=32',
    ),
}


def config_that_cuts(name, *overrides):
    config = configs.default(name)
    for text in (
        'data.source=digits',
        'data.batch_size=4',
        'train.steps=1',
        *CUT[name],
        *overrides,
    ):
        configs.override(config, *text.split('=', 1))
    return config


@pytest.mark.parametrize('name', CUT)
def test_the_first_step_reuses_the_trace_of_the_check(name, tmp_path):
    run = begin(config_that_cuts(name), tmp_path)
    calls = []

    def update(state, batch):
        calls.append(batch)
        return run.task.update(state, batch)

    counted = dataclasses.replace(
        run, task=dataclasses.replace(run.task, update=update)
    )
    checks.check_training(counted)
    assert len(calls) == 1
    with training.train_batches(counted, 0) as batches:
        counted.update(counted.init(), next(batches))
    assert len(calls) == 1


def test_the_first_state_is_traced_once(tiny, tmp_path):
    run = begin(tiny(), tmp_path)
    calls = []

    def init(key, batch):
        calls.append(batch)
        return run.task.init(key, batch)

    counted = dataclasses.replace(run, task=dataclasses.replace(run.task, init=init))
    assert counted.shapes.params.keys() == {'model'}
    counted.init()
    assert len(calls) == 1


def test_the_memory_of_a_step_is_that_of_the_cut_images(tmp_path):
    sizes = [
        largest_batch.step_bytes(
            begin(
                config_that_cuts('segmentation', f'task.augment.part={part}'),
                tmp_path / str(part),
            ),
            32,
        )
        for part in (16, 64)
    ]
    assert sizes[1] > 4 * sizes[0]


def test_an_unreadable_example_is_reported_before_the_first_step(tiny, tmp_path):
    run = begin(tiny(), tmp_path)

    def prepare(example, rng):
        raise Unreadable('it is damaged')

    damaged = dataclasses.replace(
        run, task=dataclasses.replace(run.task, prepare=prepare)
    )
    with pytest.raises(UserError, match='it is damaged'):
        checks.check_training(damaged)
