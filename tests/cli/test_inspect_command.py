"""The report on a dataset: on the screen, as JSON and as a page."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from jaxvision.cli import inspect


def write(path, seed, size=(20, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / 'photos'
    for label, name in enumerate(('cat', 'dog')):
        for number in range(4):
            write(folder / 'train' / name / f'{number}.png', 10 * number + label)
        for number in range(2):
            write(folder / 'test' / name / f'{number}.png', 1000 + 10 * number + label)
    return folder


def report_of(folder, capsys, *arguments):
    code = inspect.main([f'folder:{folder}', '--json', *arguments])
    return code, json.loads(capsys.readouterr().out)


def test_a_dataset_without_warnings_is_exit_code_0(tree, capsys):
    code, report = report_of(tree, capsys, '--near')
    assert code == 0 and report['warnings'] == []
    assert report['splits']['train']['class_counts'] == {'cat': 4, 'dog': 4}
    assert report['splits']['test']['sizes'] == {'20x16': 4}


def test_equal_files_and_unreadable_ones_are_named(tree, capsys):
    write(tree / 'train' / 'cat' / 'copy.png', 0)
    write(tree / 'test' / 'dog' / 'leak.png', 30)  # training's cat 3
    (tree / 'test' / 'dog' / 'bad.png').write_bytes(b'no image')
    code, report = report_of(tree, capsys)
    assert code == 1 and len(report['warnings']) == 3
    train = report['splits']['train']
    assert train['equal'] == [
        [str(tree / 'train' / 'cat' / name) for name in ('0.png', 'copy.png')]
    ]
    test = report['splits']['test']
    assert test['in_training'] == [
        [str(tree / 'train/cat/3.png'), str(tree / 'test/dog/leak.png')]
    ]
    assert list(test['unreadable']) == [str(tree / 'test/dog/bad.png')]


def test_images_of_several_pages_are_named(tree, capsys):
    path = tree / 'test' / 'cat' / 'scan.tiff'
    pages = [Image.new('RGB', (4, 4), (shade, 9, 9)) for shade in (10, 20)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    pages[0].save(tree / 'test' / 'dog' / 'scan.gif')
    code, report = report_of(tree, capsys)
    assert code == 1 and report['splits']['test']['with_pages'] == [str(path)]
    assert report['warnings'] == [
        '1 test image with several pages or frames, of which the first is used'
    ]


def test_what_looks_wrong_in_the_folder_is_a_warning(tmp_path, capsys):
    for number in range(16):
        name = f'{"AB"[number % 2]}/{("cat", "dog")[number // 8]}/{number}.png'
        write(tmp_path / name, number)
    code, report = report_of(tmp_path, capsys)
    assert code == 1 and 'each of them holds cat/, dog/' in report['warnings'][0]
    assert f'  warning: {report["warnings"][0]}' in report['summary']


def test_files_that_validation_and_test_share_are_named(tree, capsys):
    for name in ('cat', 'dog'):
        write(tree / 'val' / name / 'a.png', 2000 + len(name) + ord(name[0]))
    write(tree / 'test' / 'cat' / 'again.png', 2000 + 3 + ord('d'))
    code, report = report_of(tree, capsys)
    assert code == 1
    assert report['splits']['test']['in_validation'] == [
        [str(tree / 'val/dog/a.png'), str(tree / 'test/cat/again.png')]
    ]
    assert '1 of 5 test examples equal to validation examples' in report['warnings']


def test_an_image_saved_again_is_nearly_equal(tree, capsys):
    with Image.open(tree / 'train' / 'cat' / '1.png') as image:
        image.resize((40, 32)).save(tree / 'test' / 'cat' / 'again.jpg', quality=80)
    code, report = report_of(tree, capsys)
    assert code == 0
    code, report = report_of(tree, capsys, '--near')
    assert code == 1
    assert report['splits']['test']['near_training'] == [
        [str(tree / 'train/cat/1.png'), str(tree / 'test/cat/again.jpg')]
    ]


def test_classes_that_differ_much_in_number_are_a_warning(tmp_path, capsys):
    for number in range(30):
        write(tmp_path / 'many' / f'{number}.png', number)
    for number in range(5):
        write(tmp_path / 'few' / f'{number}.png', 100 + number)
    assert inspect.main([f'folder:{tmp_path}', '--pictures', '3']) == 0
    for number in range(30, 60):
        write(tmp_path / 'many' / f'{number}.png', number)
    assert inspect.main([f'folder:{tmp_path}']) == 1
    assert 'the largest class has 48 training examples' in capsys.readouterr().out


def test_the_page_holds_tables_warnings_and_pictures(tree, tmp_path, capsys):
    write(tree / 'train' / 'cat' / 'a<b>.png', 0)
    out = tmp_path / 'report'
    assert inspect.main([f'folder:{tree}', '--out', str(out)]) == 1
    page = (out / 'index.html').read_text()
    assert page.count('<img ') == 2 and 'alt="training examples of cat"' in page
    assert '1 train example more than once' in page
    assert 'a&lt;b&gt;.png' in page and 'a<b>.png' not in page
    assert re.search(
        '<td>cat</td><td class="number">5</td><td class="number">2</td>', page
    )
    assert json.loads((out / 'report.json').read_text())['warnings']


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['folder:nowhere'], 'there is no such folder'),
        (['digits', '--pictures', '0'], '--pictures=0: expected a whole number >= 1'),
        (['digits', '--threads', '-1'], '--threads=-1: expected'),
        (['digits', '--validation', '5x'], "no split '5x'"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
    assert inspect.main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err and err.count('\n') == 1


def test_a_folder_that_cannot_be_written_is_one_line(tree, tmp_path, capsys):
    file = tmp_path / 'file'
    file.write_text('')
    assert inspect.main([f'folder:{tree}', '--out', str(file)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f'error: --out={file}: expected a folder that can be written')
    assert err.count('\n') == 1


def test_the_screen_lists_counts_and_findings(tree, capsys):
    write(tree / 'train' / 'cat' / 'copy.png', 0)
    assert inspect.main([f'folder:{tree}']) == 1
    lines = capsys.readouterr().out.splitlines()
    assert '  classes: cat (5), dog (4)' in lines
    assert '  duplicate: 1' in lines
    first, second = (tree / 'train' / 'cat' / name for name in ('0.png', 'copy.png'))
    assert f'    {first} = {second}' in lines
    assert lines[-1].startswith('warning: ')
