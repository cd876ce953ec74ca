import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxvision.core.errors import UserError
from jaxvision.core.spec import (
    SCHEMA,
    ArraySpec,
    NetworkSpec,
    Preprocessing,
    Spec,
    from_json,
)


@dataclasses.dataclass(frozen=True)
class Details:
    words: tuple[str, ...]
    tables: dict[str, tuple[float, ...]]
    side: int | None = None


def details_of(task):
    return Details if task == 'captioning' else None


def written_and_read(spec, task='captioning'):
    return from_json(json.loads(json.dumps(spec.to_json())), details_of, task)


sizes = st.integers(1, 512)
arrays = st.builds(
    ArraySpec,
    st.lists(sizes, max_size=4).map(tuple),
    st.sampled_from(['uint8', 'int32']),
)
statistics = st.lists(st.floats(0, 1), max_size=3).map(tuple)


def preprocessings_of(channels):
    return st.builds(
        Preprocessing,
        size=st.tuples(sizes, sizes),
        resize=st.sampled_from(['none', 'stretch', 'shorter_side']),
        mean=st.tuples(*[st.floats(0, 1)] * channels),
        std=st.tuples(*[st.floats(0.01, 1)] * channels),
    )


preprocessings = st.integers(0, 3).flatmap(preprocessings_of)
details = st.builds(
    Details,
    words=st.lists(st.text(max_size=4), max_size=3).map(tuple),
    tables=st.dictionaries(st.text(max_size=3), statistics, max_size=2),
    side=st.none() | sizes,
)
specs = st.builds(
    Spec,
    inputs=st.dictionaries(st.text(max_size=5), arrays, max_size=2),
    targets=st.dictionaries(st.text(max_size=5), arrays, max_size=2),
    class_names=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    multi_label=st.booleans(),
    preprocessing=st.none() | preprocessings,
    examples=st.integers(0, 10**9),
    data=st.just({'train': 'a', 'test': 'b'}),
    details=details,
)


@given(specs)
def test_a_spec_comes_back_from_json_as_it_was(spec):
    assert written_and_read(spec) == spec


@given(specs)
def test_the_specs_of_required_networks_come_back_too(spec):
    network = NetworkSpec(config={'task': {'name': 'captioning'}}, spec=spec, hash='1f')
    weights = NetworkSpec(hash='2e')
    outer = Spec(
        inputs={}, targets={}, networks={'feature_extractor': network, 'fid': weights}
    )
    assert written_and_read(outer, 'gan') == outer


def test_a_spec_of_another_version_is_refused_with_both_numbers():
    with pytest.raises(UserError, match=f'schema None: expected {SCHEMA}'):
        from_json({'inputs': {}, 'targets': {}}, details_of, 'gan')


@pytest.mark.parametrize(
    'damage',
    [
        lambda spec: spec.pop('networks'),
        lambda spec: spec.update(colour=3),
        lambda spec: spec.update(inputs=4),
        lambda spec: spec.update(details={'unknown': 1}),
        lambda spec: spec['inputs']['image'].update(shape='x'),
        lambda spec: spec['preprocessing'].update(resize='crop'),
        lambda spec: spec['preprocessing'].update(std=[0.0]),
        lambda spec: spec['preprocessing'].update(mean=['x']),
    ],
)
def test_a_damaged_spec_is_an_error_of_the_user(damage):
    value = spec_of_images().to_json()
    damage(value)
    with pytest.raises(
        UserError, match=r'spec\.json is damaged, or of another version'
    ):
        from_json(value, details_of, 'captioning')


def spec_of_images():
    return Spec(
        inputs={'image': ArraySpec((2,))},
        targets={},
        preprocessing=Preprocessing(size=(2, 2), mean=(0.5,), std=(0.5,)),
    )


@pytest.mark.parametrize(
    'damage, message',
    [
        (lambda spec: spec.pop('networks'), 'it has no networks'),
        (lambda spec: spec.update(colour=3), 'colour=3: expected no such field'),
        (lambda spec: spec.update(inputs=None), 'inputs=null: expected an object'),
        (
            lambda spec: spec['inputs']['image'].update(dtype='foo'),
            "inputs.image: dtype='foo': expected a dtype, such as 'uint8'",
        ),
        (
            lambda spec: spec['inputs']['image'].update(shape='x'),
            'inputs.image.shape="x": expected a list',
        ),
        (
            lambda spec: spec['preprocessing'].update(resize='crop'),
            "preprocessing.resize=\"crop\": expected 'none' or 'pad'",
        ),
        (
            lambda spec: spec['preprocessing'].update(mean=['x']),
            'preprocessing.mean="x": expected a number',
        ),
        (lambda spec: spec.update(networks={'a': {}}), 'networks={}: expected objects'),
    ],
)
def test_the_error_of_a_damaged_spec_names_the_field_and_a_remedy(damage, message):
    value = spec_of_images().to_json()
    damage(value)
    with pytest.raises(UserError) as error:
        from_json(value, details_of, 'captioning')
    assert f'({message}' in str(error.value)
    assert 'Restore the file, or train the run again' in str(error.value)


@pytest.mark.parametrize(
    'shape, size, resize',
    [
        ((28, 28, 1), (28, 28), 'none'),
        ((32, 20, 3), (32, 20), 'none'),
        ((33, 20, 3), (32, 32), 'stretch'),
        ((None, None, 3), (32, 32), 'stretch'),
        ((None, 20, 3), (32, 32), 'stretch'),
    ],
)
def test_small_images_of_one_size_are_kept_and_others_become_squares(
    shape, size, resize
):
    preprocessing = Preprocessing.of_dataset(shape, 32, 'stretch')
    assert (preprocessing.size, preprocessing.resize) == (size, resize)
