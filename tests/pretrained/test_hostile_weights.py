"""More than 200 files that are no weights, or lie: nothing is run.

Each is refused in one line and in little memory, by its names and shapes or at the latest by its
numbers.
"""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.published_files import write_safetensors

SMALL = {
    'layer1.0.conv1.weight': np.ones((4, 3, 3, 3), np.float32),
    'fc.bias': np.arange(5, dtype=np.float32),
}
MEGABYTE = 2**20
# In a process of its own, whose address space is bounded: a claim that is believed ends it.
SCRIPT = """
import builtins, os, resource, subprocess, sys
from pathlib import Path
import h5py, numpy
from jaxvision.core.errors import UserError
from jaxvision.pretrained import weights_file
# Imported on the first file of their format, they would call what is watched below.
from jaxvision.pretrained.formats import keras_h5, safetensors_file
ran = []
os.system = lambda *_: ran.append('os.system')
builtins.eval = lambda *_: ran.append('eval')
def pages():
    return int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages() + 512 * 2**20,) * 2)
for path in sorted(Path(sys.argv[1]).iterdir()):
    for use in (weights_file.identify, weights_file.read):
        try:
            use(path, 'resnet')
            print(use.__name__, 'ACCEPTED', path.name)
        except UserError as error:
            message = str(error)
            assert '\\n' not in message and len(message) < 600 and path.name in message, error
            print(use.__name__, 'REFUSED', path.name, error)
        assert not ran, (path, ran)
"""


class Calls:
    def __init__(self, function, *arguments):
        self.answer = function, arguments

    def __reduce__(self):
        return self.answer


def archive(files, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', compression) as opened:
        for name, data in files.items():
            opened.writestr(name, data)
    return buffer.getvalue()


def npy(shape, dtype='<f4', data=b''):
    head = (
        repr({'descr': dtype, 'fortran_order': False, 'shape': shape}).encode() + b'\n'
    )
    return b'\x93NUMPY\x01\x00' + len(head).to_bytes(2, 'little') + head + data


def safetensors(header, data=b''):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, 'little') + text + data


def hdf5(path, change=lambda file, group: None, **options):
    """A file in Keras' layout, with one thing changed."""
    with h5py.File(path, 'w') as file:
        file.attrs['layer_names'] = [b'conv1_conv']
        group = file.create_group('conv1_conv')
        group.attrs['weight_names'] = [b'conv1_conv/kernel:0']
        inner = group.create_group('conv1_conv')
        if options:
            inner.create_dataset('kernel:0', **options)
        change(file, inner)
    return path.read_bytes()


def whole(folder):
    """{kind: a file that can be read}"""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **SMALL)
    kernel = np.ones((2, 2, 3, 4), np.float32)
    torch = Path(__file__).with_name('data')
    return {
        'npz': buffer.getvalue(),
        'h5': hdf5(folder / 'whole', data=kernel),
        'safetensors': write_safetensors(SMALL, folder / 'whole').read_bytes(),
        'zip.pth': (torch / 'state_dict_zip.pth').read_bytes(),
        'legacy.pth': (torch / 'state_dict_legacy.pth').read_bytes(),
    }


def cut(folder):
    """Each kind at 22 places, so that every part of it is the last of some, and with noise."""
    for kind, content in whole(folder).items():
        for i, share in enumerate(np.linspace(0, 1, 23)[:-1]):
            yield f'cut{i}.{kind}', content[: int(share * len(content))]
        yield f'noise.{kind}', content[:8] + np.random.default_rng(0).bytes(4000)
        yield f'zeros.{kind}', content[: len(content) // 3] + bytes(len(content))


def pickles(folder):
    for i, call in enumerate(
        (
            Calls(os.system, 'touch ran'),
            Calls(eval, "open('ran', 'w')"),
            Calls(exec, "open('ran', 'w')"),
            Calls(Path.touch, folder / 'ran'),
            Calls(subprocess.Popen, ['touch', 'ran']),
            Calls(os.kill, 0, 9),
        )
    ):
        for protocol in range(6):
            for where, value in (
                ('in', {'fc.weight': call}),
                ('all', call),
                ('beside', {'state_dict': {}, 'hook': call}),
            ):
                pickled = pickle.dumps(value, protocol)
                yield (
                    f'call{i}.{where}.{protocol}.pth',
                    archive({'a/data.pkl': pickled}),
                )
            yield f'call{i}.{protocol}.legacy.pth', pickled
        yield f'call{i}.npz', archive({'x.npy': npy((1,), '|O', pickle.dumps(call))})
    for i, pickled in enumerate(
        (
            b'\x80\x02' + MEGABYTE * b']' + b'.',
            b'\x80\x02' + 4 * MEGABYTE * b'}' + b'.',
            b'\x80\x02X\xff\xff\xff\x7fx.',
            b'\x80\x04\x8d' + 8 * b'\x7f' + b'.',
            b'',
            b'.',
            b'\x80\x02N.',
            b'\x80\x02}.',
            b'\x80\x02]2q\x00h\x00h\x00ee.',
            b'\x80\x02)' + 10**5 * b'\x85' + b'.',
        )
    ):
        yield f'pickle{i}.pth', archive({'a/data.pkl': pickled})
        yield f'pickle{i}.legacy.pth', pickled


def claims(folder):
    """Sizes that the file does not hold, and bytes that would unpack to more."""
    huge = 2**40
    for i, entry in enumerate(
        (
            dict(shape=[huge], data_offsets=[0, 4 * huge]),
            dict(shape=[huge], data_offsets=[0, 4]),
            dict(shape=[-1], data_offsets=[0, 4]),
            dict(shape=[1], data_offsets=[4, 0]),
            dict(shape=[1.0], data_offsets=[0, 4]),
            dict(shape=['1'], data_offsets=[0, 4]),
            dict(shape=[1], data_offsets=[0]),
            dict(shape=[1], data_offsets=[-4, 0]),
            dict(shape=None, data_offsets=[0, 4]),
            dict(shape=[1] * 99, data_offsets=[0, 4]),
            dict(shape=[1], data_offsets=[0, 4], dtype='F8'),
            dict(shape=[1], dtype=[1]),
            {},
        )
    ):
        header = {'x': {'dtype': 'F32', **entry}}
        yield f'claim{i}.safetensors', safetensors(header, bytes(4))
    for i, header in enumerate(
        (
            b'{',
            b'[]' * 9,
            b'{"x": 1}',
            b'{"x":' + 10**5 * b'[',
            b'\xff' * 9,
            b'{}',
            b'{"x": null}',
            b'{' + 5 * MEGABYTE * b' ' + b'}',
        )
    ):
        yield f'header{i}.safetensors', safetensors(header)
    yield 'long.safetensors', (2**63).to_bytes(8, 'little') + b'{}'
    for i, (shape, dtype) in enumerate(
        (
            ((huge,), '<f4'),
            ((2**62, 8), '<f4'),
            ((-1,), '<f4'),
            ((1,), '|O'),
            ((1,), '<U9'),
            ((1.5,), '<f4'),
            ((1,), '<c8'),
            ((1,) * 99, '<f4'),
            (('a',), '<f4'),
        )
    ):
        yield f'claim{i}.npz', archive({'x.npy': npy(shape, dtype, bytes(4))})
    bomb = {'x.npy': npy((20 * MEGABYTE,), data=bytes(80 * MEGABYTE))}
    yield 'bomb.npz', archive(bomb, zipfile.ZIP_DEFLATED)
    bomb = {'a/data.pkl': b'\x80\x02}.', 'a/data/0': bytes(100 * MEGABYTE)}
    yield 'bomb.pth', archive(bomb, zipfile.ZIP_DEFLATED)
    for i, options in enumerate(
        (
            dict(shape=(huge,), dtype='f4'),
            dict(shape=(2**58,), dtype='f8'),
            dict(shape=(huge,), dtype='f4', chunks=(1024,)),
            dict(shape=(2, 2), dtype='S9'),
            dict(
                shape=(huge,),
                dtype='f4',
                chunks=(2**20,),
                compression='gzip',
                fillvalue=1.0,
            ),
            dict(shape=(2, 2), dtype='f4', external=[('/etc/passwd', 0, 16)]),
            dict(data=np.ones((9, 9), 'f4'), compression='lzf'),
            dict(
                data=np.zeros(20 * MEGABYTE, 'f4'),
                compression='gzip',
                compression_opts=1,
            ),
        )
    ):
        yield f'claim{i}.h5', hdf5(folder / 'claim', **options)


def links(folder):
    def external(file, group):
        group['kernel:0'] = h5py.ExternalLink(
            folder / 'whole', '/conv1_conv/conv1_conv/kernel:0'
        )

    def soft(file, group):
        group['kernel:0'] = h5py.SoftLink('/conv1_conv/conv1_conv')

    def circle(file, group):
        group['kernel:0'] = file['/']

    def virtual(file, group):
        layout = h5py.VirtualLayout((4,), 'f4')
        layout[:] = h5py.VirtualSource(folder / 'whole', 'x', (4,))
        group.create_virtual_dataset('kernel:0', layout)

    def no_names(file, group):
        file.attrs['layer_names'] = 7

    def no_list(file, group):
        del file.attrs['layer_names']

    def away(file, group):
        file.attrs['layer_names'] = [b'../..', b'/', b'']

    for change in (external, soft, circle, virtual, no_names, no_list, away):
        yield f'{change.__name__}.h5', hdf5(folder / 'link', change)


def strange(folder):
    """Weights that are sound, but of no ResNet, or not finite."""
    for i, value in enumerate((np.nan, np.inf, -np.inf)):
        broken = {**SMALL, 'fc.bias': np.float32([0, value])}
        buffer = io.BytesIO()
        np.savez(buffer, **broken)
        yield f'finite{i}.npz', buffer.getvalue()
        yield (
            f'finite{i}.safetensors',
            write_safetensors(broken, folder / 'x').read_bytes(),
        )
        yield f'finite{i}.h5', hdf5(folder / 'x', data=np.float32([[value]]))
    for i, name in enumerate(
        ('features.0.weight', 'cls_token', '', 'x' * 10**5, 'a\nb')
    ):
        other = write_safetensors({name: SMALL['fc.bias']}, folder / 'x')
        yield f'other{i}.safetensors', other.read_bytes()
    for i, shape in enumerate(((5,), (), (0,))):
        yield f'axes{i}.h5', hdf5(folder / 'x', data=np.ones(shape, 'f4'))
    for i, content in enumerate(
        (
            b'',
            b'\0',
            b'PK',
            b'\x80',
            b'\x89HDF\r\n\x1a\n',
            b'<html></html>',
            b'version https://git-lfs.github.com/spec/v1\n',
            bytes(10**6),
        )
    ):
        yield f'kind{i}.pth', content


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory):
    root = tmp_path_factory.mktemp('hostile')
    (root / 'in').mkdir()
    names = []
    for make in (cut, pickles, claims, links, strange):
        for name, content in make(root):
            names.append(name)
            (root / 'in' / name).write_bytes(content)
    (root / 'in' / 'folder.pth').mkdir()
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT, str(root / 'in')],
        cwd=root,
        timeout=300,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (done.stdout[-300:], done.stderr[-2000:])
    return root, [*names, 'folder.pth'], done.stdout.splitlines()


def test_every_hostile_file_is_refused_in_one_line(outcomes):
    _, names, lines = outcomes
    read = [line for line in lines if line.startswith('read')]
    assert len(names) == len(set(names)) == len(read) >= 200
    assert [line for line in read if line.startswith('read ACCEPTED')] == []


def test_only_damaged_numbers_pass_the_check_of_headers(outcomes):
    """Names and shapes tell of all damage but numbers that are not finite."""
    _, names, lines = outcomes
    identified = [line for line in lines if line.startswith('identify')]
    assert len(identified) == len(names)
    accepted = {
        line.split()[2] for line in identified if line.startswith('identify ACCEPTED')
    }
    assert accepted == {
        f'finite{i}.{kind}' for i in range(3) for kind in ('npz', 'safetensors', 'h5')
    }


def test_no_code_of_a_file_is_executed(outcomes):
    assert (
        not (outcomes[0] / 'ran').exists() and not (outcomes[0] / 'in' / 'ran').exists()
    )
