import dataclasses

from jaxvision.data.noise import Noise
from jaxvision.data.wrappers import InMemory, in_memory_if_small


def test_a_source_of_a_gibibyte_stays_in_memory_and_a_larger_one_does_not():
    source = Noise(size=4, classes=2, examples=8)
    assert isinstance(in_memory_if_small(source, 2**27), InMemory)
    assert in_memory_if_small(source, 2**27 + 1) is source


def test_captions_fill_no_array():
    source = Noise(size=4, classes=2, examples=8)
    source.info = dataclasses.replace(source.info, holds=('image', 'captions'))
    assert in_memory_if_small(source, 48) is source
