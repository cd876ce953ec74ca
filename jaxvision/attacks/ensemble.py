"""Several attacks in turn, each on the images that still stand.

The result of an ensemble is the minimum over its attacks for each example, as in AutoAttack (Croce
& Hein 2020). The images are attacked in batches of one size. Results of batches can be stored, so
that a killed evaluation goes on.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, Key

from jaxvision.attacks import apgd, loops, minimal, objectives, square
from jaxvision.attacks.types import (
    Attack,
    Attacked,
    Images,
    Keys,
    Labels,
    Logits,
    Norm,
    Scalar,
)
from jaxvision.core import keys as named_keys
from jaxvision.core.types import Records

# The results of batches by name. A dict keeps them in memory.
Store = MutableMapping[str, Records]
# `(name of the stage, images done, images to do, images broken)`
Report = Callable[[str, int, int, int], object]

# Wrong classes that targeted attacks try, the most likely ones first.
_RANKS = 9
# Batches that have begun while another one is computed.
_AHEAD = 1


class Stage(NamedTuple):
    """An attack on the images that earlier stages have not broken.

    Attributes:
        name: a name of its own in the ensemble. The keys of the attack depend on it.
        attack: `(logits, images, labels, keys) -> Attacked`.
    """

    name: str
    attack: Attack


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of an ensemble on N images.

    Attributes:
        images: the perturbed images; the originals where no attack succeeded.
        broken_by: for each image the number of the stage that broke it. -1: it stands.
            -2: the classifier is wrong about the original.
        stages: the names of the stages.
    """

    images: Float[np.ndarray, 'n h w c']
    broken_by: Integer[np.ndarray, 'n']
    stages: tuple[str, ...]

    @property
    def stands(self) -> Bool[np.ndarray, 'n']:
        """Whether the classifier is right about the original and every perturbed image."""
        return self.broken_by == -1

    @property
    def accuracy(self) -> float:
        """Fraction of all images whose original is classified correctly."""
        return float((self.broken_by != -2).mean())

    @property
    def robust_accuracy(self) -> float:
        """Fraction of all images that stand. It is an upper bound: better attacks may exist."""
        return float(self.stands.mean())

    def after(self, stage: int) -> float:
        """Robust accuracy after the stage of this number, from 0."""
        is_broken = (self.broken_by >= 0) & (self.broken_by <= stage)
        return float(((self.broken_by != -2) & ~is_broken).mean())


def run(
    stages: Sequence[Stage],
    logits: Logits,
    images: Float[np.ndarray, 'n h w c'],
    labels: Integer[np.ndarray, 'n'],
    keys: Key[Array, 'n'],
    *,
    batch_size: int,
    store: Store | None = None,
    report: Report | None = None,
) -> Outcome:
    """Attack images by the stages in turn.

    Args:
        stages: the attacks, with names that differ. Without any, only the originals are
            classified.
        logits: the classifier of images in [0, 1].
        images: N images in [0, 1].
        labels: their true classes.
        keys: one key for each image.
        batch_size: the most images that are attacked together. It does not change the
            result, but for rounding.
        store: results of batches by name, which are not computed again. It must belong to
            the same arguments.
        report: called after each batch.

    Returns:
        The outcome. The result for an image depends on the image, its label and its key
        alone.

    Raises:
        ValueError: There are no images, or pixels are outside of [0, 1].
    """
    if not len(images) or images.min() < 0 or images.max() > 1:
        raise ValueError('images: expected one or more, with pixels in [0, 1].')
    logits = loops.as_partial(logits)
    perturbed = np.array(images)
    broken_by = np.full(len(images), -1)
    store = {} if store is None else store
    original = Stage('original', _original)
    for number, stage in enumerate([original, *stages], start=-1):
        rows = np.flatnonzero(broken_by == -1)
        stage_keys = named_keys.fold_name(keys, stage.name)
        attack = functools.partial(
            _attack, stage.attack, logits, images, labels, stage_keys
        )
        done = 0
        broken = 0
        for part, batch in _batches(stage.name, rows, batch_size, attack, store):
            perturbed[batch['rows']] = batch['images']
            broken_by[batch['rows']] = -2 if number < 0 else number
            done += len(part)
            broken += len(batch['rows'])
            if report:
                report(stage.name, done, len(rows), broken)
    return Outcome(
        images=perturbed,
        broken_by=broken_by,
        stages=tuple(stage.name for stage in stages),
    )


def _original(logits: Logits, images: Images, labels: Labels, keys: Keys) -> Attacked:
    """Perturb nothing."""
    del keys
    return Attacked(
        images, objectives.is_wrong(loops.outputs_of(logits, images), labels)
    )


def _attack(
    attack: Attack,
    logits: Logits,
    images: Float[np.ndarray, 'n h w c'],
    labels: Integer[np.ndarray, 'n'],
    keys: Key[Array, 'n'],
    rows: Integer[np.ndarray, 'b'],
) -> Attacked:
    """Attack some of the images."""
    return attack(
        logits, jnp.asarray(images[rows]), jnp.asarray(labels[rows]), keys[rows]
    )


def _batches(
    name: str,
    rows: Integer[np.ndarray, 'n'],
    most: int,
    attack: Callable[[Integer[np.ndarray, 'b']], Attacked],
    store: Store,
) -> Iterator[tuple[Integer[np.ndarray, 'b'], Records]]:
    """Attack rows in batches, and yield (rows, broken rows) of each.

    JAX computes while the host goes on, so that the next batch begins before the last one is
    read. On a CPU two batches keep all cores busy, where one does not.

    Args:
        name: of the stage.
        rows: of the images to attack.
        most: the largest batch.
        attack: `rows -> Attacked`.
        store: results of batches, which are not computed again.
    """
    size = _batch_size(len(rows), most)
    running = collections.deque()
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        batch = f'{name}-{start // size}'
        attacked = None if batch in store else attack(np.resize(part, size))
        running.append((batch, part, attacked))
        if len(running) > _AHEAD:
            yield _finish(store, *running.popleft())
    for batch in running:
        yield _finish(store, *batch)


def _batch_size(count: int, most: int) -> int:
    """The size of about equal batches, so that the last one needs little padding.

    It is a multiple of 8 or `most`, so that few programs are compiled.
    """
    count = max(count, 1)
    batches = -(-count // most)
    return min(-(-count // (8 * batches)) * 8, most)


def _finish(
    store: Store,
    name: str,
    rows: Integer[np.ndarray, 'b'],
    attacked: Attacked | None,
) -> tuple[Integer[np.ndarray, 'b'], Records]:
    """Wait for a batch, unless it is in the store already, and store it."""
    if attacked is not None:
        store[name] = _broken_rows(rows, attacked)
    return rows, store[name]


def _broken_rows(rows: Integer[np.ndarray, 'b'], attacked: Attacked) -> Records:
    """The rows whose attack succeeded and their images, without padding."""
    images, success = jax.device_get(attacked)
    is_broken = success[: len(rows)]
    return {'rows': rows[is_broken], 'images': images[: len(rows)][is_broken]}


def auto(
    classes: int,
    *,
    eps: Scalar,
    norm: Norm = 'linf',
    steps: int = 100,
    queries: int = 5000,
) -> list[Stage]:
    """The stages of AutoAttack's standard ensemble (Croce & Hein 2020).

    APGD with the cross-entropy, APGD and FAB towards each of the nine most likely wrong classes,
    and Square. With fewer than four classes, where the targeted DLR has no value, APGD uses the
    margin.

    Args:
        classes: the number of classes, two or more.
        eps: the largest norm of a perturbation, in pixels of [0, 1].
        norm: the norm of a perturbation.
        steps: steps of APGD and FAB.
        queries: queries of Square.
    """
    options = {'eps': eps, 'norm': norm}
    objective = objectives.targeted_dlr if classes > 3 else objectives.targeted_margin
    stages = [Stage('apgd-ce', functools.partial(apgd.apgd, steps=steps, **options))]
    ranks = range(1, min(_RANKS, classes - 1) + 1)
    for rank in ranks:
        attack = functools.partial(
            apgd.apgd_targeted, steps=steps, rank=rank, objective=objective, **options
        )
        stages.append(Stage(f'apgd-t-{rank}', attack))
    for rank in ranks:
        attack = functools.partial(
            minimal.fab_targeted, steps=steps, rank=rank, **options
        )
        stages.append(Stage(f'fab-t-{rank}', attack))
    attack = functools.partial(square.square, steps=queries, **options)
    return [*stages, Stage('square', attack)]


def restarted(name: str, attack: Attack, restarts: int) -> list[Stage]:
    """Stages that repeat an attack from other random starts.

    Args:
        name: the name of the attack.
        attack: the attack with one start.
        restarts: the number of stages.
    """
    if restarts == 1:
        return [Stage(name, attack)]
    return [Stage(f'{name}-{number}', attack) for number in range(1, restarts + 1)]


def transferred(attack: Attack, source: Logits) -> Attack:
    """Make an attack on one classifier from an attack on another one.

    Args:
        attack: the attack.
        source: the classifier whose gradients are used.

    Returns:
        An attack that perturbs images against `source`. Its successes are the errors of
        the classifier that it is called with.
    """

    def transfer(
        logits: Logits, images: Images, labels: Labels, keys: Keys
    ) -> Attacked:
        perturbed = attack(source, images, labels, keys).images
        outputs = loops.outputs_of(logits, perturbed)
        return Attacked(perturbed, objectives.is_wrong(outputs, labels))

    return transfer
