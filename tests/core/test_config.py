import pytest

from jaxvision.core import config as configs
from jaxvision.core import intervals, options, registry
from jaxvision.core.errors import UserError


@pytest.fixture
def config():
    return configs.default('classification')


@pytest.mark.parametrize(
    'path, text, value',
    [
        ('optimizer.lr', '3e-4', 3e-4),
        ('optimizer.lr', '1', 1.0),
        ('data.batch_size', '64', 64),
        ('task.augment.flip', 'true', True),
        ('task.augment.flip', 'False', False),
        ('seed', '3', 3),
        ('data.source', 'folder:a=b', 'folder:a=b'),
        ('train.steps', '2 epochs', '2 epochs'),
        ('train.steps', '300', '300'),
    ],
)
def test_an_override_keeps_the_type_of_its_field(config, path, text, value):
    configs.override(config, path, text)
    new_value = configs.fields(config)[path]
    assert new_value == value and type(new_value) is type(value)


@pytest.mark.parametrize(
    'text, value',
    [
        ('0.5', 0.5),
        ('batch', 'batch'),
        ('true', True),
        ('None', None),
        ('(1, 2)', (1, 2)),
    ],
)
def test_options_are_open_and_read_as_python_or_text(config, text, value):
    configs.override(config, 'model.options.what', text)
    assert config.model.options.what == value
    with pytest.raises(AttributeError):
        config.model.other = 1  # locked as before


@pytest.mark.parametrize(
    'path, text, says',
    [
        ('optimizer.Lr', '1', "config.optimizer has no field 'Lr'; did you mean 'lr'?"),
        (
            'optimiser.lr',
            '1',
            "config has no field 'optimiser'; did you mean 'optimizer.lr'?",
        ),
        ('data.batchsize', '1', "did you mean 'batch_size'?"),
        (
            'train.batch_size',
            '1',
            "config.train has no field 'batch_size'; did you mean 'data.batch_size'? "
            'Set --config.data.batch_size=VALUE',
        ),
        ('lr', '1', "config has no field 'lr'; did you mean 'optimizer.lr'?"),
        ('optimiser.name', 'sgd', "did you mean 'optimizer.name'?"),
        ('seed.more', '1', "config.seed has no field 'more'"),
        ('zzz', '1', "config has no field 'zzz'. Choose from: data, model, optimizer"),
        (
            'data.batch_size',
            'many',
            'config.data.batch_size=many: expected a whole number, like 128, or auto',
        ),
        ('data.batch_size', '1.5', 'expected a whole number'),
        ('optimizer.lr', 'AUTO', 'lr=AUTO: expected a number, like 0.001, or auto'),
        ('task.augment.flip', 'maybe', 'expected true or false'),
    ],
)
def test_a_wrong_override_is_an_error_with_the_nearest_right_one(
    config, path, text, says
):
    before = config.to_dict()
    with pytest.raises(UserError) as error:
        configs.override(config, path, text)
    assert says in str(error.value)
    assert config.to_dict() == before


def test_a_config_file_takes_its_argument_and_comes_back_locked(tmp_path):
    file = tmp_path / 'one.py'
    file.write_text(
        'from jaxvision.core import config as configs\n'
        "def get_config(source='digits'):\n"
        "    config = configs.default('classification')\n"
        '    config.data.source = source\n'
        '    return config\n'
    )
    assert configs.load(str(file)).data.source == 'digits'
    config = configs.load(f'{file}:mnist5k')
    assert config.data.source == 'mnist5k'
    with pytest.raises(AttributeError):
        config.new = 1


def test_a_missing_file_and_a_file_without_get_config_are_named(tmp_path):
    with pytest.raises(UserError, match='--config=.*none.py: expected a file'):
        configs.load(str(tmp_path / 'none.py'))
    (tmp_path / 'empty.py').write_text('')
    with pytest.raises(UserError, match='empty.py has no function get_config'):
        configs.load(str(tmp_path / 'empty.py'))


def test_an_installed_config_has_a_name():
    assert configs.load('cnn').model.name == 'cnn'
    assert configs.load('gan:fashion_mnist').data.source == 'fashion_mnist'
    with pytest.raises(UserError) as error:
        configs.load('fewshot')
    assert "no config 'fewshot'; did you mean 'few_shot'?" in str(error.value)
    assert 'cnn, detection, few_shot, gan,' in str(error.value)


def test_a_config_file_of_the_user_is_not_mistaken_for_an_installed_one(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'cnn.py').write_text(
        'from jaxvision.core import config as configs\n'
        "def get_config():\n    return configs.default('gan')\n"
    )
    assert configs.load('cnn.py').task.name == 'gan'
    assert configs.load('./cnn.py').task.name == 'gan'
    assert configs.load('cnn').task.name == 'classification'


def test_difference_lists_the_fields_that_differ_and_no_others():
    old = {'a': 1, 'b': {'c': 'x', 'd': {}}, 'gone': 0}
    new = {'a': 1, 'b': {'c': 'y', 'd': {'e': 2}}}
    assert configs.difference(old, new) == {
        'b.c': ('x', 'y'),
        'b.d': ({}, '(none)'),
        'b.d.e': ('(none)', 2),
        'gone': (0, '(none)'),
    }
    assert configs.difference(old, old) == {}


def test_free_fields_are_fields():
    assert set(configs.FREE_FIELDS) <= set(
        configs.fields(configs.default('classification'))
    )


def test_a_group_is_not_a_field(tiny):
    with pytest.raises(
        UserError, match='config.task.augment is a group: set its fields'
    ):
        configs.override(tiny(), 'task.augment', '1')


def test_a_mistake_inside_get_config_is_named_with_its_line(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        'from jaxvision.core import config as configs\n\n\ndef get_config():\n'
        "    config = configs.default('classification')\n    config.optimiser = 1\n"
    )
    with pytest.raises(UserError, match=r'mine.py, line 6: .*optimi'):
        configs.load(str(path))
    with pytest.raises(UserError, match=r'mine.py, line .*: .*argument'):
        configs.load(f'{path}:mnist5k')


def test_a_wrong_value_inside_get_config_is_named_with_its_file_and_line(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text("def get_config():\n    return int('many')\n")
    with pytest.raises(UserError, match=r"mine.py, line 2: invalid literal .*'many'"):
        configs.load(str(path))


def test_a_users_error_inside_get_config_keeps_its_message(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        'from jaxvision.core.errors import UserError\n\n\ndef get_config():\n'
        "    raise UserError('source=x: expected a dataset')\n"
    )
    with pytest.raises(UserError, match='^source=x: expected a dataset$'):
        configs.load(str(path))


def test_options_are_checked_by_name_and_type_and_open_ones_pass():
    def make(spec, depth=2, rate=0.1, norm='batch'):
        return spec, depth, rate, norm

    assert options.call(make, 'model', 1, options={'depth': 3, 'rate': 1}) == (
        1,
        3,
        1,
        'batch',
    )
    for mistake, message in (
        ({'dept': 3}, "no option 'dept'; did you mean 'depth'"),
        ({'rate': 'x'}, "model: option rate='x': expected a value like 0.1"),
    ):
        with pytest.raises(UserError, match=message):
            options.call(make, 'model', 1, options=mistake)
    assert options.call(lambda spec, **open: open, 'model', 1, options={'any': 1}) == {
        'any': 1
    }


@pytest.mark.parametrize(
    'interval, steps',
    [
        ('300', 300),
        (300, 300),
        ('300 steps', 300),
        ('1 step', 1),
        ('0', 0),
        ('2 epochs', 20),
        ('1 epoch', 10),
        ('0.5 epochs', 5),
        ('64 examples', 2),
        ('65 examples', 3),
        ('1 example', 1),
        (' 2  epochs ', 20),
    ],
)
def test_intervals_in_steps_by_hand(interval, steps):
    assert intervals.steps(interval, batch_size=32, examples=320) == steps


def test_an_epoch_that_the_batch_does_not_divide_is_rounded_up():
    # Two epochs are 28.76 steps, rounded up once.
    assert intervals.steps('1 epoch', 100, 1438) == 15
    assert intervals.steps('2 epochs', 100, 1438) == 29


@pytest.mark.parametrize(
    'interval', ['', 'ten', '2 days', '-1', '1e3', '2 epochs 3', '1.5', '2.5 examples']
)
def test_a_wrong_interval_says_what_is_expected(interval):
    with pytest.raises(UserError, match=r'steps \(300\), "2 epochs"'):
        intervals.steps(interval, 32, 320)


@pytest.mark.parametrize(
    'field', ['train.steps', 'train.eval_every', 'optimizer.warmup']
)
def test_a_wrong_interval_names_its_field(field):
    config = configs.default('classification')
    configs.override(config, field, 'many')
    with pytest.raises(UserError, match=f"{field}='many': expected a number of steps"):
        configs.check(config)


def test_a_colon_without_an_argument_is_refused():
    with pytest.raises(UserError, match='--config=cnn:: expected an argument after'):
        configs.load('cnn:')


def test_modules_resolve_by_name_and_by_dotted_path(tmp_path, monkeypatch):
    from jaxvision.models.backbones import cnn

    assert registry.resolve('models', 'cnn') is cnn
    assert registry.resolve('models', 'jaxvision.models.backbones.cnn') is cnn
    with pytest.raises(UserError, match="no model 'cnnn'; did you mean 'cnn'?"):
        registry.resolve('models', 'cnnn')
    with pytest.raises(UserError, match="no model 'nowhere.at_all'"):
        registry.resolve('models', 'nowhere.at_all')


def test_a_listed_module_without_make_is_not_taken_for_a_missing_name(monkeypatch):
    from jaxvision import models

    monkeypatch.setitem(models.NAMES, 'errors', 'jaxvision.core.errors')
    with pytest.raises(
        UserError, match='core.errors has no function make, so it is no'
    ):
        registry.resolve('models', 'errors')
    monkeypatch.setitem(models.NAMES, 'gone', 'jaxvision.models.gone')
    with pytest.raises(ModuleNotFoundError, match='jaxvision.models.gone'):
        registry.resolve('models', 'gone')


def test_a_missing_import_of_a_users_module_is_named(tmp_path, monkeypatch):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'net.py').write_text('import not_installed_anywhere')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match='not_installed_anywhere'):
        registry.resolve('models', 'mine.net')


def test_options_are_checked_against_the_signature():
    def make(spec, variant, dropout=0.0, norm='batch', dtype='float32'):
        return spec, variant, dropout, norm, dtype

    arguments = options.call(
        make, 'model', 's', 'v', options={'dropout': 0.5}, dtype='bfloat16'
    )
    assert arguments == ('s', 'v', 0.5, 'batch', 'bfloat16')
    # The first is misspelt. The user must not set the others.
    for wrong in ('droput', 'dtype', 'variant'):
        with pytest.raises(
            UserError, match=f"model has no option '{wrong}'.*dropout, norm"
        ):
            options.call(make, 'model', 's', 'v', options={wrong: 1}, dtype='bfloat16')


@pytest.mark.parametrize('option', ['variant', 'num_classes', 'dtype'])
def test_no_option_replaces_an_argument_even_where_any_option_is_taken(option):
    def make(variant, *, num_classes, dtype, **rest):
        return rest

    needs = dict(num_classes=3, dtype='float32')
    assert options.call(make, 'model', 'v', options={'any': 1}, **needs) == {'any': 1}
    with pytest.raises(UserError, match=f"model has no option '{option}'"):
        options.call(make, 'model', 'v', options={option: 1}, **needs)


def test_an_option_keeps_its_text_type_and_others_are_read_as_python():
    config = configs.default('classification')
    config.model.options = {'variant': '8-4', 'width': 4}
    for text in ('variant=8', 'width=2.5', 'new=true'):
        configs.override(config, *f'model.options.{text}'.split('=', 1))
    assert config.model.options.to_dict() == {'variant': '8', 'width': 2.5, 'new': True}


def test_a_run_older_than_a_field_gets_the_default_of_the_field(tiny):
    config = tiny('model.options.stem=cifar', 'optimizer.lr=0.25')
    values = config.to_dict()
    assert configs.stored(values).to_dict() == values
    del values['task']['probe'], values['parallel']
    restored = configs.stored(values)
    assert restored.to_dict() == config.to_dict() and restored.task.probe == 0
    values['task']['augment']['sharpen'] = 1.0
    with pytest.raises(
        UserError, match='another version .* no field task.augment.sharpen now'
    ):
        configs.stored(values)


@pytest.mark.parametrize(
    'code, says',
    [
        ('def get_config(:', 'line 1: '),
        ('import not_there_at_all', "line 1: No module named 'not_there_at_all'"),
        (
            'def get_config():\n    pass',
            'get_config returned NoneType, expected a config',
        ),
        ('x = 1', 'has no function get_config'),
    ],
)
def test_a_mistake_in_a_config_file_is_named_with_its_place(tmp_path, code, says):
    path = tmp_path / 'mine.py'
    path.write_text(code)
    with pytest.raises(UserError, match='mine.py') as error:
        configs.load(str(path))
    assert says in str(error.value)


@pytest.mark.parametrize(
    'code, says',
    [
        ('def make(): pass', 'expected FIELDS = {name: Field(default, sentence)}'),
        ('FIELDS = {"a": 1}\ndef make(): pass', 'expected FIELDS'),
        ('FIELDS = {}', 'has no function make'),
    ],
)
def test_a_mistake_in_a_users_task_is_named(tmp_path, monkeypatch, code, says):
    name = f'mine_{abs(hash(code))}'
    (tmp_path / name).mkdir()
    (tmp_path / name / 'task.py').write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError) as error:
        configs.default(f'{name}.task')
    assert says in str(error.value)


@pytest.mark.parametrize(
    'damage',
    [
        lambda values: values.pop('task'),
        lambda values: values.update(optimizer=None),
        lambda values: values['data'].update(batch_size='abc'),
        lambda values: values['data'].update(batch_size=0),
    ],
)
def test_a_damaged_config_of_a_run_is_an_error_of_the_user(config, damage):
    values = config.to_dict()
    damage(values)
    with pytest.raises(UserError, match='config.json.* Restore the file, or train'):
        configs.stored(values)
