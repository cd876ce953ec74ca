"""The settings of an attack on the command line, and its stages."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from jaxvision.attacks.types import Norm
from jaxvision.core.errors import UserError, not_a_choice
from jaxvision.core.fields import Field
from jaxvision.core.types import Json

if TYPE_CHECKING:  # It imports JAX, which --help and mistakes need not.
    from jaxvision.attacks.ensemble import Stage


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """What an attack takes on the command line.

    Attributes:
        steps: the default of --steps; 0: it takes none.
        queries: the default of --queries; 0: it takes none.
        restarts: whether it takes --restarts.
        target: whether it takes --target.
        l2_only: whether it takes no other norm than 'l2'.
    """

    steps: int = 0
    queries: int = 0
    restarts: bool = False
    target: bool = False
    l2_only: bool = False


ATTACKS: dict[str, Kind] = {
    'auto': Kind(steps=100, queries=5000),
    'fgsm': Kind(target=True),
    'pgd': Kind(steps=100, restarts=True, target=True),
    'momentum': Kind(steps=100, restarts=True, target=True),
    'apgd': Kind(steps=100, restarts=True, target=True),
    'apgd-t': Kind(steps=100, restarts=True),
    'fab': Kind(steps=100),
    'deepfool': Kind(steps=50),
    'cw': Kind(steps=200, l2_only=True),
    'square': Kind(queries=5000, target=True),
}
# Attacks on the loss of a detector or a segmenter.
BY_LOSS: dict[str, Kind] = {'pgd': Kind(steps=20, restarts=True)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of an attack. Numbers of 0 stand for what the attack does not take.

    Attributes:
        attack: a name of `ATTACKS`.
        kind: what the attack takes.
        norm: 'linf' or 'l2'.
        eps: radii in pixels of [0, 1], ascending, each once.
        texts: the radii as the user wrote them.
        steps: steps of an attack by gradients.
        queries: queries of Square.
        restarts: random starts.
        target: number of the class to reach; None: any wrong class.
        seed: seed of the random starts.
    """

    attack: str
    kind: Kind
    norm: Norm
    eps: tuple[float, ...]
    texts: tuple[str, ...]
    steps: int
    queries: int
    restarts: int
    target: int | None
    seed: int

    def to_json(self) -> Json:
        """The settings for a report, without those that the attack does not take."""
        values = {'attack': self.attack, 'norm': self.norm, 'seed': self.seed}
        for name in ('steps', 'queries', 'restarts'):
            if getattr(self.kind, name):
                values[name] = getattr(self, name)
        if self.target is not None:
            values['target'] = self.target
        return values


def make(
    *,
    attack: str,
    norm: str,
    eps: str,
    steps: int | None,
    queries: int | None,
    restarts: int | None,
    target: int | None,
    seed: int,
    attacks: dict[str, Kind] = ATTACKS,
) -> Settings:
    """Check settings and add defaults.

    Args:
        attack: a name of `attacks`; '': the first one.
        norm: 'linf' or 'l2'.
        eps: radii, separated by commas, such as '4/255,8/255'.
        steps: steps; None: the default of the attack.
        queries: queries; None: the default of the attack.
        restarts: random starts; None: 1.
        target: number of a class; None: any wrong class.
        seed: seed of the random starts.
        attacks: those to choose from, `ATTACKS` or `BY_LOSS`.

    Raises:
        UserError: A setting is wrong, or the attack does not take it.
    """
    attack = attack or next(iter(attacks))
    if attack not in attacks:
        raise not_a_choice('--attack', attack, attacks)
    kind = attacks[attack]
    if kind.l2_only and norm != 'l2':
        raise UserError(f'--norm={norm}: expected l2 with {attack}. Give --norm l2.')
    takes = {
        'steps': kind.steps,
        'queries': kind.queries,
        'restarts': kind.restarts,
        'target': kind.target,
    }
    values = {
        'steps': steps,
        'queries': queries,
        'restarts': restarts,
        'target': target,
    }
    for name, value in values.items():
        if value is not None and not takes[name]:
            raise UserError(
                f'--{name}={value}: expected only with an attack that takes it, and '
                f'{attack} does not. Remove --{name}.'
            )
        if value is not None and name != 'target':
            Field(1, '', least=1).check(f'--{name}', value)
    Field(0, '', least=0).check('--seed', seed)
    radii = _radii(eps, norm)
    return Settings(
        attack=attack,
        kind=kind,
        norm='l2' if norm == 'l2' else 'linf',
        eps=tuple(radii),
        texts=tuple(radii.values()),
        steps=steps or kind.steps,
        queries=queries or kind.queries,
        restarts=restarts or int(kind.restarts),
        target=target,
        seed=seed,
    )


def _radii(texts: str, norm: str) -> dict[float, str]:
    """Read radii in ascending order, each with its text."""
    from jaxvision.attacks import budgets

    radii = {}
    for text in texts.split(','):
        eps = budgets.parse_eps('--eps', text, 'l2' if norm == 'l2' else 'linf')
        if not eps:
            raise UserError(
                f'--eps={text}: expected a number above 0. The accuracy without an attack is '
                'always reported.'
            )
        radii[eps] = text.strip()
    return dict(sorted(radii.items()))


def stages(settings: Settings, classes: int) -> list['Stage']:
    """Make the stages of an attack for all radii, the smallest first.

    An image that an attack breaks within a small ball is broken within each larger one, so that it
    is not attacked again.

    Args:
        settings: the settings.
        classes: the number of classes.

    Returns:
        Stages of `attacks.ensemble`, named ATTACK@EPS. EPS is the user's text, with
        ':' for '/'.
    """
    from jaxvision.attacks.ensemble import Stage

    staged = []
    for eps, text in zip(settings.eps, settings.texts, strict=True):
        place = text.replace('/', ':').replace(' ', '')
        for stage in _stages_at(settings, classes, eps):
            staged.append(Stage(f'{stage.name}@{place}', stage.attack))
    return staged


def _stages_at(settings: Settings, classes: int, eps: float) -> list['Stage']:
    """The stages within one radius."""
    from jaxvision.attacks import ensemble

    name = settings.attack
    options = {'eps': eps, 'norm': settings.norm}
    every = ensemble.auto(
        classes,
        steps=settings.steps or 1,
        queries=settings.queries or 1,
        **options,
    )
    if name == 'auto':
        return every
    if name in ('apgd-t', 'fab'):
        prefix = {'apgd-t': 'apgd-t-', 'fab': 'fab-t-'}[name]
        ranked = [stage for stage in every if stage.name.startswith(prefix)]
        repeated = []
        for stage in ranked:
            repeated += ensemble.restarted(
                stage.name, stage.attack, max(settings.restarts, 1)
            )
        return repeated
    if settings.kind.l2_only:
        options.pop('norm')
    attack = functools.partial(_function(settings), **options)
    if settings.target is not None:
        attack = _towards(settings.target, attack)
    return ensemble.restarted(name, attack, max(settings.restarts, 1))


def _function(settings: Settings) -> Callable:
    """The attack with its number of steps."""
    from jaxvision.attacks import apgd, carlini_wagner, minimal, pgd, square

    steps = settings.steps
    functions = {
        'fgsm': pgd.fgsm,
        'pgd': functools.partial(pgd.pgd, steps=steps),
        'momentum': functools.partial(pgd.pgd, steps=steps, momentum=1.0),
        'apgd': functools.partial(apgd.apgd, steps=steps),
        'deepfool': functools.partial(minimal.deepfool, steps=steps),
        'cw': functools.partial(carlini_wagner.carlini_wagner, steps=steps),
        'square': functools.partial(square.square, steps=settings.queries),
    }
    return functions[settings.attack]


def _towards(target: int, attack: Callable) -> Callable:
    """Make an attack that wants one class for all images."""
    import jax.numpy as jnp

    def targeted(logits, images, labels, keys):
        targets = jnp.full_like(labels, target)
        return attack(logits, images, labels, keys, targets=targets)

    return targeted


def class_number(text: str | None, class_names: Sequence[str]) -> int | None:
    """Find the class that --target names, by its name or its number from 0.

    Raises:
        UserError: There is no such class.
    """
    if text is None:
        return None
    if text in class_names:
        return list(class_names).index(text)
    if text.isdecimal() and int(text) < len(class_names):
        return int(text)
    raise not_a_choice('--target', text, class_names)
