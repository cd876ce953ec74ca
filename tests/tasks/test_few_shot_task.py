import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxvision import config as configs
from jaxvision.data import digit_pairs
from jaxvision.errors import UserError
from jaxvision.tasks import adaptation, few_shot
from jaxvision.train import loop, run
from jaxvision.train.writers import read_rows

METHODS = [*few_shot.COMPARING, *few_shot.WITHIN]


def small(method='protonet', *overrides):
    config = configs.default('few_shot')
    base = ('data.source=digits', 'data.image_size=8', 'data.batch_size=4', 'model.name=strided',
            'model.variant=32-64', 'model.options.patch=2', 'model.options.pool=flat',
            f'task.method={method}', 'task.ways=4', 'task.shots=2', 'task.queries=3',
            'task.evaluate=3x1,4x3', 'task.test_queries=3', 'task.test_episodes=40',
            'task.inner_steps=5', 'task.test_steps=5', 'optimizer.lr=0.003',
            'optimizer.schedule=constant', 'train.steps=40', 'train.log_every=1',
            'train.eval_every=40', 'train.checkpoint_every=40')
    for text in (*base, *overrides):
        configs.override(config, *text.split('=', 1))
    return config


@pytest.mark.parametrize('method', METHODS)
def test_it_learns_by_each_method(method, tmp_path, no_pictures):
    result = loop.run(small(method), tmp_path)
    found = result.metrics
    assert found['4way_3shot/accuracy'] > 0.8 > 0.6 > found['4way_3shot/interval'] > 0
    assert found['4way_3shot/accuracy'] > found['3way_1shot/accuracy'] - 0.1
    assert 0.5 < found['3way_1shot/pixel_accuracy'] < 1
