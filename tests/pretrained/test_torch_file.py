"""The files were written by PyTorch (tests/bench/torch_files.py), the hostile ones here."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.core.errors import UserError
from jaxvision.pretrained.formats import tensor_file

DATA = Path(__file__).with_name('data')
FORMATS = pytest.mark.parametrize('kind', ['zip', 'legacy'])
COUNTING = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@FORMATS
def test_tensors_are_those_that_were_saved(kind):
    wanted = {
        'counting': COUNTING,
        'transposed': COUNTING.transpose(2, 0, 1),
        'part': COUNTING[1, 1:, ::2],
        'shared': COUNTING,
        'half': COUNTING[0].astype(np.float16),
        'double': COUNTING[0].astype(np.float64) / 3,
        'parameter': COUNTING[0],
        'number': np.int64(-7),
        'empty': np.zeros((0, 3), np.float32),
        '0.weight': np.float32([0.5, 1.5]).reshape(2, 1, 1, 1),
        '1.num_batches_tracked': np.int64(0),
        **{
            name: np.float32([0.5, 1.5])
            for name in (
                '0.bias',
                '1.weight',
                '1.bias',
                '1.running_mean',
                '1.running_var',
            )
        },
    }
    for file in ('state_dict', 'checkpoint'):  # in which an optimizer's are beside it
        tensors = tensor_file.read(DATA / f'{file}_{kind}.pth')
        assert set(tensors) == set(wanted)
        for name, value in wanted.items():
            assert (
                tensors[name].dtype == value.dtype
                and tensors[name].shape == value.shape
            )
            np.testing.assert_array_equal(tensors[name], value)


def test_other_numbers_are_read():
    tensors = tensor_file.read(DATA / 'dtypes_zip.pth')
    np.testing.assert_array_equal(
        tensors['x'], COUNTING
    )  # small integers are exact in bfloat16
    np.testing.assert_array_equal(tensors['i'], COUNTING.astype(np.int32))
    np.testing.assert_array_equal(tensors['b'], COUNTING > 3)


@pytest.mark.parametrize(
    'file, message',
    [
        ('other_zip', "'epoch' is no tensor; save model.state_dict"),
        ('module_zip', "calls 'torch.nn.modules.container Sequential'"),
        ('absent', 'expected a file of weights, but nothing is there'),
    ],
)
def test_other_files_are_refused_by_name(file, message):
    with pytest.raises(UserError, match=rf'{file}\.pth.*({message})'):
        tensor_file.read(DATA / f'{file}.pth')


@FORMATS
def test_a_file_that_is_cut_off_is_refused_wherever(kind, tmp_path):
    content = (DATA / f'state_dict_{kind}.pth').read_bytes()
    path = tmp_path / 'cut.pth'
    for length in [*range(0, 40), *range(40, len(content), 37), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match='cut.pth'):
            tensor_file.read(path)


@FORMATS
@settings(max_examples=150, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_changed_byte_is_a_user_error_or_harmless(
    tmp_path_factory, kind, where, value
):
    content = bytearray((DATA / f'state_dict_{kind}.pth').read_bytes())
    content[int(where * len(content))] = value
    path = tmp_path_factory.getbasetemp() / f'changed_{kind}.pth'
    path.write_bytes(content)
    try:
        tensors = tensor_file.read(path)
    except UserError:
        return
    assert sum(tensor.size for tensor in tensors.values()) < 1000


class Calls:
    def __init__(self, function, *arguments):
        self.answer = function, arguments

    def __reduce__(self):
        return self.answer


def write_zip(path, pickled, numbers=b'', compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, 'w', compression) as archive:
        archive.writestr('a/data.pkl', pickled)
        archive.writestr('a/data/0', numbers)
    return path


@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_nothing_that_a_file_asks_for_is_run(protocol, tmp_path):
    ran = tmp_path / 'ran'
    hostile = pickle.dumps({'x': Calls(Path.touch, ran)}, protocol)
    with pytest.raises(UserError, match='pickle uses|calls'):
        tensor_file.read(write_zip(tmp_path / 'h.pth', hostile))
    legacy = pickle.dumps(Calls(Path.touch, ran), protocol)
    (tmp_path / 'l.pth').write_bytes(legacy)
    with pytest.raises(UserError, match='l.pth'):
        tensor_file.read(tmp_path / 'l.pth')
    assert not ran.exists()


def encode(value):
    """Protocol 2 of text, integers and tuples; bytes are themselves."""
    match value:
        case bytes():
            return value
        case str():
            return b'X' + len(value).to_bytes(4, 'little') + value.encode()
        case int():
            size = value.bit_length() // 8 + 1
            return b'\x8a' + bytes([size]) + value.to_bytes(size, 'little', signed=True)
    return b'(' + b''.join(map(encode, value)) + b't'


def a_tensor(offset=0, shape=(4,), strides=(1,), stored=4, key='0'):
    storage = encode(('storage', b'ctorch\nFloatStorage\n', key, 'cpu', stored)) + b'Q'
    return (
        b'ctorch._utils\n_rebuild_tensor_v2\n'
        + encode((storage, offset, shape, strides, b'\x89', b'N'))
        + b'R'
    )


NUMBERS = np.arange(4, dtype='<f4').tobytes()


def read_tensor(path, tensor, numbers=NUMBERS):
    pickled = b'\x80\x02}' + encode('x') + tensor + b's.'
    return tensor_file.read(write_zip(path, pickled, numbers))['x']


def test_a_tensor_may_be_any_view_of_its_storage(tmp_path):
    path = tmp_path / 'x.pth'
    np.testing.assert_array_equal(read_tensor(path, a_tensor()), [0, 1, 2, 3])
    np.testing.assert_array_equal(read_tensor(path, a_tensor(1, (2,), (2,))), [1, 3])
    np.testing.assert_array_equal(
        read_tensor(path, a_tensor(0, (2, 2), (0, 1))), [[0, 1]] * 2
    )


@pytest.mark.parametrize(
    'lie',
    [
        dict(offset=1),
        dict(offset=-1),
        dict(offset=2**70),
        dict(shape=(5,)),
        dict(shape=(-1,)),
        dict(strides=(-1,)),
        dict(strides=(2,)),
        dict(shape=(2, 2), strides=(1,)),
        dict(shape=(2**40,), strides=(0,)),
        dict(shape=('a',)),
        dict(shape=(1,) * 100, strides=(1,) * 100),
        dict(stored=5),
        dict(stored=-1),
        dict(stored=2**62),
        dict(key='1'),
        dict(key='../data.pkl'),
    ],
)
def test_a_tensor_that_lies_about_its_size_is_refused(lie, tmp_path):
    with pytest.raises(UserError, match='x.pth'):
        read_tensor(tmp_path / 'x.pth', a_tensor(**lie))


@pytest.mark.parametrize(
    'pickled',
    [
        b'\x80\x02}' + b')' + 10**5 * b'\x85' + b'Ns.',  # a key 100,000 deep
        b'\x80\x02' + b'X\xff\xff\xff\x7f' + b'x.',  # a text of 2 GiB
        b'\x80\x02' + b'\x8d' + 8 * b'\x7f' + b'x.',  # a text of 8 EiB
        b'\x80\x02]2q\x00h\x00h\x00ee.',
        b'\x80\x02.',
        b'',
        b'\x80\x02}h\x05.',
        b'\x80\x02t.',
    ],
)
def test_a_pickle_that_would_take_memory_or_break_is_refused(pickled, tmp_path):
    with pytest.raises(UserError, match='x.pth'):
        tensor_file.read(write_zip(tmp_path / 'x.pth', pickled))


def test_the_largest_memo_takes_no_memory(tmp_path):
    """pickle's own, in C, makes room for every number up to it."""
    with pytest.raises(UserError, match='expected tensors, but the file holds none'):
        tensor_file.read(write_zip(tmp_path / 'x.pth', b'\x80\x02}r\xff\xff\xff\xff.'))


def test_tensors_that_share_their_numbers_are_not_larger_than_the_file(tmp_path):
    """As float32, which half precision becomes, each would be there once more."""
    stored = 2**16
    tensor = a_tensor(shape=(stored,), stored=stored)
    named = b''.join(encode(f'x{i}') + tensor + b's' for i in range(2000))
    path = write_zip(tmp_path / 'x.pth', b'\x80\x02}' + named + b'.', bytes(4 * stored))
    with pytest.raises(UserError, match='over 20 times as large as the file'):
        tensor_file.read_shapes(path)


def test_shapes_are_read_without_numbers(tmp_path):
    """The numbers are damaged, so that reading them is an error."""
    sound = DATA / 'state_dict_zip.pth'
    shapes = tensor_file.read_shapes(sound)
    assert shapes == {
        name: tensor.shape for name, tensor in tensor_file.read(sound).items()
    }
    path = tmp_path / 'damaged.pth'
    damaged = COUNTING.tobytes().replace(bytes(4), b'\xff' * 4)
    path.write_bytes(sound.read_bytes().replace(COUNTING.tobytes(), damaged))
    assert tensor_file.read_shapes(path) == shapes
    with pytest.raises(UserError, match='damaged.pth'):
        tensor_file.read(path)


def test_a_zip_that_would_unpack_to_more_is_refused(tmp_path):
    path = write_zip(
        tmp_path / 'x.pth', b'\x80\x02}.', bytes(10**7), zipfile.ZIP_DEFLATED
    )
    with pytest.raises(UserError, match='compressed'):
        tensor_file.read(path)


def test_a_big_endian_file_is_refused(tmp_path):
    path = write_zip(tmp_path / 'x.pth', b'\x80\x02}.')
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr('a/byteorder', b'big')
    with pytest.raises(UserError, match='big-endian'):
        tensor_file.read(path)
