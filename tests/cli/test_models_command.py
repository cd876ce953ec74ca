from jaxvision.cli import command
from jaxvision.cli.models import publishers
from jaxvision.models import NAMES
from jaxvision.pretrained.weights_file import FAMILIES


def test_publishers_are_those_of_the_formats_that_are_read():
    assert {name for name in NAMES if publishers(name)} == set(FAMILIES)
    assert 'torchvision' in ' '.join(publishers('resnet'))


def test_the_command_lists_all_models(capsys):
    assert command.main(['models']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ['model', 'variant', 'parameters']
    assert {line.split()[0] for line in lines[1:]} == NAMES.keys()
    (resnet50,) = [line for line in lines if line.split()[:2] == ['resnet', '50']]
    assert (
        '25,557,032' in resnet50 and 'torchvision' in resnet50
    )  # as torchvision has it


def test_the_command_shows_one_model_with_its_options(capsys):
    assert command.main(['models', 'vit']) == 0
    text = capsys.readouterr().out
    assert '86,567,656 parameters' in text  # as torchvision has it
    assert '--config.model.options.pool=cls' in text
    assert command.main(['models', 'vitt']) == 2
    assert "did you mean 'vit'?" in capsys.readouterr().err
