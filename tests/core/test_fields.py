import re

import pytest

from jaxvision import tasks
from jaxvision.core import config as configs
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Field
from jaxvision.train import optimizers


@pytest.mark.parametrize(
    'field, value, message',
    [
        (Field(1, 'Count.', least=1), 0, 'f=0: expected a whole number >= 1'),
        (
            Field(0.5, 'Rate.', above=0, below=1),
            1.0,
            'f=1.0: expected a number > 0, < 1',
        ),
        (Field(0.5, 'Rate.', least=0, most=1), -0.1, 'expected a number >= 0, <= 1'),
        (Field(1, 'Count.', least=1), 1.5, 'f=1.5: expected a whole number >= 1'),
        (Field(1, 'Count.'), 2.0, 'f=2.0: expected a whole number'),
        (Field(0.5, 'Rate.'), float('nan'), 'f=nan: expected a finite number'),
        (Field(0.5, 'Rate.', least=0), float('inf'), 'f=inf: expected a number >= 0'),
        (
            Field('adamw', 'Optimizer.', choices=('sgd', 'adamw')),
            'adam',
            "f='adam': expected one of 'sgd', 'adamw'. Did you mean 'adamw'?",
        ),
    ],
)
def test_a_value_out_of_bounds_is_named_with_the_bounds(field, value, message):
    with pytest.raises(UserError) as error:
        field.check('f', value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    'field, value',
    [
        (Field(1, 'Count.', least=1, most=3), 1),
        (Field(1, 'Count.', least=1, most=3), 3),
        (Field(0.5, 'Rate.', above=0, below=1), 0.999),
        (Field(0.5, 'Rate.', most=1), 1),
        (Field('', 'Name.'), 'anything'),
        (Field(False, 'Switch.'), True),
        (Field({}, 'Options.'), {'any': 1}),
    ],
)
def test_a_value_within_bounds_passes(field, value):
    field.check('f', value)


def test_two_fields_take_auto_and_no_other_does():
    declared = configs.declared('classification')
    taken = [name for name, field in declared.items() if field.can_be_found]
    assert taken == ['data.batch_size', 'optimizer.lr']
    config = configs.default('classification')
    for name, field in declared.items():
        if name in taken:
            field.check(name, 'auto')
            configs.override(config, name, 'auto')
            configs.override(config, name, '64')
            assert type(configs.fields(config)[name]) is type(field.default)
        elif isinstance(field.default, int | float):
            with pytest.raises(UserError, match=f'config.{name}=auto: expected'):
                configs.override(config, name, 'auto')


@pytest.mark.parametrize('task', tasks.NAMES)
def test_every_field_has_a_sentence_and_a_default_within_its_bounds(task):
    declared = configs.declared(task)
    for name, field in declared.items():
        assert re.fullmatch(r'[A-Z1].*\.', field.doc, re.DOTALL), (name, field.doc)
        field.check(name, field.default)
    values = configs.fields(configs.default(task))
    assert values.keys() - {'task.name'} == declared.keys()
    for name in declared.keys() - {'model.options', 'optimizer.options'}:
        assert values[name] == declared[name].default


def test_the_choices_of_the_optimizer_are_those_that_there_are():
    declared = configs.declared('classification')
    assert set(declared['optimizer.name'].choices) == set(optimizers.OPTIMIZERS)
    for schedule in declared['optimizer.schedule'].choices:
        assert optimizers.schedule(schedule, 0.1, 10)(5) > 0


def test_all_fields_are_checked_before_a_run_begins(tiny, tmp_path):
    from jaxvision.train import loop

    for override, message in (
        ('task.label_smoothing=1.0', 'task.label_smoothing=1.0: expected a number'),
        ('optimizer.lr=-1', 'optimizer.lr=-1.0: expected a number >= 0'),
        ('data.on_corrupt=skip', "data.on_corrupt='skip': expected one of"),
        ('train.best=acuracy', "no evaluation has 'acuracy'; did you mean 'accuracy'"),
        ('train.best=nll', 'train.best=nll: expected -nll, since less'),
        ('train.profile=5', 'train.profile=5: expected FIRST:LAST'),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            loop.run(tiny(override), tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_fields_are_checked_before_a_required_network_is_trained(tmp_path):
    from jaxvision.train import loop

    config = configs.load('gan:digits')
    config.task.loss = 'hingee'
    with pytest.raises(UserError, match="Did you mean 'hinge'"):
        loop.run(config, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_the_reference_has_every_field_with_its_sentence_choices_and_bounds(tiny):
    text = configs.reference(tiny('model.options.norm=group'))
    for name, field in configs.declared('classification').items():
        assert f'--config.{name}' in text, name
        assert field.doc in text
    assert '--config.model.options.norm=group' in text
    assert '--config.optimizer.options.NAME=VALUE' in text
    assert 'with rising rates. [>= 0, or auto]' in text
    assert 'Optimizer. [sgd | adamw | lamb | muon]' in text
