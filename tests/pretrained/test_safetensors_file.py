"""The files were written by the library safetensors, the hostile ones here."""

import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from jaxvision.core.errors import UserError
from jaxvision.pretrained.formats import tensor_file

COUNTING = np.arange(-12, 12).reshape(2, 3, 4)
DTYPES = ('float16', 'float32', 'float64', 'int64', 'int32', 'int16', 'int8', 'bool')


@pytest.fixture(scope='module')
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp('safetensors') / 'sound.safetensors'
    save_file({name: COUNTING.astype(name) for name in DTYPES}, path)
    return path


def test_numbers_and_shapes_are_those_that_were_saved(sound):
    tensors = tensor_file.read(sound)
    assert set(tensors) == set(DTYPES)
    for name, tensor in tensors.items():
        assert tensor.dtype == name
        np.testing.assert_array_equal(tensor, COUNTING.astype(name))
    assert tensor_file.read_shapes(sound) == dict.fromkeys(DTYPES, (2, 3, 4))


def test_bfloat16_become_float32(tmp_path):
    thirds = (COUNTING / 3).astype(ml_dtypes.bfloat16)
    scalar = np.array(1.5, ml_dtypes.bfloat16)
    save_file({'thirds': thirds, 'scalar': scalar}, tmp_path / 'x.safetensors')
    tensors = tensor_file.read(tmp_path / 'x.safetensors')
    assert tensors['thirds'].dtype == tensors['scalar'].dtype == np.float32
    np.testing.assert_array_equal(tensors['thirds'], thirds.astype(np.float32))
    assert tensors['scalar'].shape == () and tensors['scalar'] == 1.5


def write(path, header, data=b''):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, 'little') + text + data)
    return path


@pytest.mark.parametrize('dtype, size', [('F8_E4M3', 1), ('C64', 8), ('U16', 2)])
def test_another_dtype_is_refused_by_name(dtype, size, tmp_path):
    header = {'x': {'dtype': dtype, 'shape': [1], 'data_offsets': [0, size]}}
    path = write(tmp_path / 'x.safetensors', header, bytes(size))
    with pytest.raises(
        UserError, match=rf"'x' has the dtype {dtype}, not one of F16, "
    ):
        tensor_file.read_shapes(path)


def test_a_header_that_would_take_memory_is_refused_unread(tmp_path):
    entry = {'dtype': 'U8', 'shape': [0], 'data_offsets': [0, 0]}
    header = {f'{i:060}': entry for i in range(40_000)}
    path = write(tmp_path / 'x.safetensors', header)
    with pytest.raises(UserError, match='its header would have [0-9]{7} bytes'):
        tensor_file.read_shapes(path)


def test_a_file_that_is_cut_off_or_too_long_is_refused(sound, tmp_path):
    content = sound.read_bytes()
    path = tmp_path / 'cut.safetensors'
    for length in [*range(0, 40), *range(40, len(content), 61), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match='cut.safetensors'):
            tensor_file.read_shapes(path)
    path.write_bytes(content + b'\0')
    with pytest.raises(UserError, match='not fully covered'):
        tensor_file.read_shapes(path)


@settings(max_examples=150, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_changed_byte_is_a_user_error_or_harmless(sound, where, value):
    content = bytearray(sound.read_bytes())
    content[int(where * len(content))] = value
    path = sound.with_name('changed.safetensors')
    path.write_bytes(content)
    try:
        tensors = tensor_file.read(path)
    except UserError:
        return
    assert sum(tensor.size for tensor in tensors.values()) <= 24 * len(DTYPES)
