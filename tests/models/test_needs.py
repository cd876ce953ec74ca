"""Tasks supply the needs of models, and no option can replace them."""

import jax
import jax.numpy as jnp
import pytest

from jaxvision import models
from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.core.registry import resolve
from jaxvision.tasks.shared.networks import make_model


def config(name, variant, /, **options):
    config = configs.default('classification')
    config.model.name, config.model.variant = name, variant
    config.model.options = options
    return config


@pytest.mark.parametrize('classes', [0, 7])
def test_a_classifier_has_as_many_logits_as_classes_and_no_head_without(classes):
    model = make_model(config('cnn', '4x1-6x1'), num_classes=classes)
    image = jnp.zeros((2, 8, 8, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    logits, _ = jax.eval_shape(model.apply, variables, image)
    assert ('head' in variables['params']) == bool(classes)
    assert logits.shape == (2, classes or 6)


@pytest.mark.parametrize(
    'name, variant', [('cnn', '4'), ('lrcn', '4'), ('frame_average', '4')]
)
@pytest.mark.parametrize('option', ['num_classes', 'variant', 'dtype'])
def test_an_option_cannot_replace_a_need(name, variant, option):
    with pytest.raises(UserError, match=f"no option '{option}'"):
        make_model(config(name, variant, **{option: 3}), num_classes=5)


def test_an_unknown_option_of_an_image_model_is_an_error_with_the_nearest_one():
    with pytest.raises(UserError, match="no option 'patc'; did you mean 'patch'"):
        make_model(config('lrcn', '4', patc=3), num_classes=5)


@pytest.mark.parametrize(
    'name, needs, message',
    [
        ('edsr', {'num_classes': 3}, 'from num_classes, .* from channels, scale'),
        ('cnn', {'channels': 3}, 'from channels, .* from num_classes'),
        ('unet', {'num_classes': 3}, 'from num_classes, .* from channels'),
        ('cnn', {}, 'nothing but its variant, .* from num_classes'),
        ('frame_scorer', {'num_classes': 3}, 'from num_classes, .* from its variant'),
    ],
)
def test_a_model_of_another_kind_is_an_error_that_lists_its_needs(name, needs, message):
    with pytest.raises(UserError, match=f"model.name='{name}': expected .*{message}"):
        make_model(config(name, '4'), **needs)


def test_a_users_model_receives_the_needs_that_it_names(tmp_path, monkeypatch):
    (tmp_path / 'own_needs').mkdir()
    (tmp_path / 'own_needs' / 'net.py').write_text(
        'def make(variant, num_classes, dtype, param_dtype, width=3):\n'
        '    return variant, num_classes, dtype, param_dtype, width\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = make_model(config('own_needs.net', 'v', width=5), num_classes=2)
    assert model == ('v', 2, jnp.float32, jnp.float32, 5)


@pytest.mark.parametrize('name', models.NAMES)
def test_every_model_documents_its_arguments(name):
    make = resolve('models', name).make
    assert make.__doc__ and 'Args:' in make.__doc__
