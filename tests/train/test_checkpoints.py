import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision.core.errors import UserError
from jaxvision.core.state import create
from jaxvision.train import sharding
from jaxvision.train.checkpoints import Checkpoints


def state_at(step, width=8):
    def draw(seed, *shape):
        return jax.random.normal(jax.random.key(seed), shape)

    params = {
        'model': {
            'head': {'kernel': draw(1, 4, width), 'bias': draw(2, width)},
            'half': draw(3, 5).astype(jnp.bfloat16),
        }
    }
    state = create(
        jax.random.key(11),
        params,
        {'model': optax.adamw(0.1)},
        {
            'model': {
                'counts': jnp.arange(3, dtype=jnp.uint8),
                'seen': jnp.array([True]),
            }
        },
        ema=0.9,
    )
    return state.replace(step=jnp.int32(step))


def like(state):
    whole = sharding.replicated(sharding.make_mesh())
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), state
    )


def contents(state):
    raw = state.replace(key=jax.random.key_data(state.key))
    return [
        (path, leaf.dtype, np.asarray(leaf).tobytes())
        for path, leaf in jax.tree_util.tree_leaves_with_path(raw)
    ]


def save(folder, *states, scores=None, keep=2, best=''):
    with Checkpoints(folder, keep, best) as checkpoints:
        for i, state in enumerate(states):
            metrics = {} if scores is None else {'eval/score': scores[i]}
            checkpoints.save(state, {'seed': 0}, metrics)
        checkpoints.wait()
        return checkpoints.steps(), checkpoints.find('best') if best else None


def restore(folder, state, step='last'):
    with Checkpoints(folder) as checkpoints:
        return checkpoints.restore(like(state), checkpoints.find(step))


@pytest.mark.parametrize('wide', [False, True])
def test_a_restored_state_is_equal_to_the_bit(tmp_path, wide):
    with jax.enable_x64(wide):
        state = state_at(3)
        if wide:
            state = state.replace(
                frozen={'wide': jnp.array([np.pi, -0.0, np.nan], jnp.float64)}
            )
            assert state.frozen['wide'].dtype == np.float64
        save(tmp_path, state)
        assert contents(restore(tmp_path, state)) == contents(state)


def test_the_last_checkpoints_and_the_best_are_kept(tmp_path):
    states, scores = [state_at(step) for step in range(1, 6)], [0.1, 0.9, 0.5, 0.2, 0.3]
    assert save(tmp_path / 'most', *states, scores=scores, best='eval/score') == (
        [2, 4, 5],
        2,
    )
    assert save(tmp_path / 'least', *states, scores=scores, best='-eval/score') == (
        [1, 4, 5],
        1,
    )
    assert save(tmp_path / 'none', *states, scores=scores) == ([4, 5], None)
    assert save(tmp_path / 'three', *states, keep=3) == ([3, 4, 5], None)


def test_a_missing_checkpoint_is_an_error_that_lists_the_others(tmp_path):
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(UserError, match='holds no checkpoint'),
    ):
        checkpoints.find()
    save(tmp_path, state_at(3), state_at(5))
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.find() == checkpoints.find('5') == checkpoints.find(5) == 5
        for missing in ('4', 4, 'first'):
            with pytest.raises(
                UserError,
                match=f'no checkpoint {missing}: expected last, best or one of 3, 5',
            ):
                checkpoints.find(missing)
        with pytest.raises(
            UserError,
            match='no best checkpoint.*no metric.*data.validation=10% and a metric',
        ):
            checkpoints.find('best')
    with (
        Checkpoints(tmp_path, best='validation/score') as checkpoints,
        pytest.raises(UserError, match='no checkpoint was saved with an evaluation of'),
    ):
        checkpoints.find('best')


def test_a_checkpoint_of_other_shapes_is_refused_and_names_a_leaf(tmp_path):
    save(tmp_path, state_at(1))
    with pytest.raises(UserError) as error:
        restore(tmp_path, state_at(1, width=9))
    assert 'config.json and spec.json of the run disagree' in str(error.value)
    assert (
        'ema/params/model/head/kernel is float32[4, 8] in the checkpoint, float32[4, 9] by'
        in str(error.value)
    )


def test_a_state_that_is_donated_right_after_its_save_is_saved_as_it_was(tmp_path):
    state = state_at(1).replace(frozen={'large': jnp.arange(2**20, dtype=jnp.float32)})
    was = contents(state)
    step = jax.jit(
        lambda s: s.replace(
            frozen=jax.tree.map(lambda x: x * -1.5 + 1, s.frozen),
            params=jax.tree.map(lambda x: x * 2, s.params),
        ),
        donate_argnums=0,
    )
    step(
        jax.tree.map(jnp.copy, state.replace(key=None))
    )  # compiled before, to follow at once
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, {}, {})
        key, state = state.key, state.replace(key=None)
        for _ in range(50):
            state = step(state)
        checkpoints.wait()
    assert contents(restore(tmp_path, state.replace(key=key))) == was


def flip(rng):
    def damage(path):
        data = bytearray(path.read_bytes())
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)

    return damage


def outcomes_of_damage(folder):
    """Damage each file, and return the files whose damage was reported."""
    state, rng = state_at(3), np.random.default_rng(0)
    save(folder / 'whole', state)
    files = [
        path.relative_to(folder / 'whole')
        for path in (folder / 'whole').rglob('*')
        if path.is_file() and path.stat().st_size
    ]
    reported = set()
    for file in files:
        for damage in (
            flip(rng),
            flip(rng),
            flip(rng),
            lambda path: path.write_bytes(b''),
        ):
            shutil.rmtree(folder / 'damaged', ignore_errors=True)
            shutil.copytree(folder / 'whole', folder / 'damaged')
            damage(folder / 'damaged' / file)
            try:
                assert contents(restore(folder / 'damaged', state)) == contents(
                    state
                ), file
            except UserError as error:
                assert 'damaged/3 is damaged' in str(error) or 'holds no' in str(
                    error
                ), file
                reported.add(file.parts[1:3])
    return reported


def test_damage_is_reported_or_harmless_but_never_silent(tmp_path):
    # In a process of its own: Orbax leaves readers behind that complain when they are collected.
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as other:
        reported = other.submit(outcomes_of_damage, tmp_path).result()
    assert ('state', 'd') in reported  # The arrays.
    assert ('manifest', 'metadata') in reported


def test_changed_values_are_detected_by_their_checksums(tmp_path):
    save(tmp_path / 'one', state_at(3))
    other = state_at(3)
    kernel = other.params['model']['head']['kernel']
    other.params['model']['head']['kernel'] = kernel.at[0, 0].multiply(1 + 2e-7)
    save(tmp_path / 'other', other)
    shutil.rmtree(tmp_path / 'one' / '3' / 'state')
    shutil.copytree(
        tmp_path / 'other' / '3' / 'state', tmp_path / 'one' / '3' / 'state'
    )
    with pytest.raises(UserError, match='its checksums differ'):
        restore(tmp_path / 'one', state_at(3))


@pytest.mark.parametrize(
    'part', ['state', 'manifest', 'state/_METADATA', 'state/manifest.ocdbt']
)
def test_a_missing_part_of_a_checkpoint_is_reported(tmp_path, part):
    save(tmp_path, state_at(3))
    path = tmp_path / '3' / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(
        UserError, match='3 is damaged.*Remove it to resume from the checkpoint before'
    ):
        restore(tmp_path, state_at(3))
