"""Open a sweep from the arguments of the command, and check it before its first trial."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxvision.cli.sweep import halving, learning, ray_engine, search, space
from jaxvision.cli.sweep.definition import Sweep
from jaxvision.core import auto_fields
from jaxvision.core import config as configs
from jaxvision.core.errors import UserError, not_a_choice
from jaxvision.core.fields import AUTO, Config
from jaxvision.core.intervals import in_examples

# The part of the training data that is held out where a dataset has no validation split.
HELD_OUT = '10%'
TRIALS = 20
RAY = 'ray'
ENGINES = ('processes', RAY)


def open_sweep(options: argparse.Namespace, rest: list[str]) -> Sweep:
    """Read the config and the space, find the metric, and check everything.

    Args:
        options: the arguments of the command.
        rest: --config.FIELD=VALUE and --sweep.FIELD=VALUES.

    Raises:
        UserError: An argument or the config is wrong, or the data has no validation
            split and cannot hold one out.
    """
    if options.engine not in ENGINES:
        raise not_a_choice('--engine', options.engine, ENGINES)
    if options.engine == RAY:
        ray_engine.require()
    known = (*search.SEARCHES, *learning.NAMES)
    if options.search not in known:
        raise not_a_choice('--search', options.search, known)
    _check_learning(options)
    overrides = configs.overrides([text for text in rest if not _is_sweep(text)])
    config = configs.load(options.config)
    for field, text in overrides.items():
        configs.override(config, field, text)
    configs.check(config, can_be_found=True)
    texts = configs.load_sweep(options.config) | _texts(rest)
    for field in texts:
        if field in overrides:
            raise UserError(
                f'--config.{field} and --sweep.{field}: expected one of them. Leave the '
                'other one out.'
            )
    checked = space.read(config, texts)
    _check_batch_size(config, checked)
    if not config.parallel.cpu_devices:
        # Sums over devices are rounded in another order.
        config.parallel.cpu_devices = 1
    trials = _trials(options, checked)
    config, metric, examples = _examine(config)
    rungs = halving.Rungs()
    if options.halving:
        rungs = halving.rungs(examples, trials, options.halving, options.rungs or 3)
    learns = options.search in learning.NAMES
    is_asynchronous = options.engine == RAY and (learns or bool(options.halving))
    sweep = Sweep(
        folder=Path(options.workdir or _default_folder(options.config, overrides)),
        config=config,
        texts=texts,
        search=options.search,
        seed=options.seed,
        trials=trials,
        metric=metric,
        rungs=rungs,
        batch=0 if is_asynchronous or not learns else options.batch or 4,
        asynchronous=is_asynchronous,
    )
    if options.trial is not None and options.trial >= trials:
        raise UserError(
            f'--trial={options.trial}: expected 0 to {trials - 1}. Give --trials with more.'
        )
    return sweep


def _check_learning(options: argparse.Namespace) -> None:
    """Check that a search which learns from results can be run as asked."""
    if options.search not in learning.NAMES:
        return
    learning.require(options.search)
    if options.halving and options.engine != RAY:
        raise UserError(
            f'--halving={options.halving}: expected --search grid, random or sobol, since '
            f'{options.search} learns from whole trials. Leave one of them out, or give '
            '--engine ray.'
        )
    if options.trial is not None:
        raise UserError(
            f'--trial={options.trial}: expected --search grid, random or sobol, since a trial '
            f'of {options.search} depends on the results of others. Run the whole sweep.'
        )


def _check_batch_size(config: Config, checked: space.Space) -> None:
    """Refuse the largest batch that fits, which depends on the machine of a trial."""
    field = 'data.batch_size'
    searched = checked.get(field)
    values = [config.data.batch_size]
    if isinstance(searched, space.Choice):
        values += searched.values
    if AUTO in values:
        raise UserError(
            f'{field}={AUTO}: expected a number in a sweep, whose results do not depend on '
            f'the memory of a machine. Set --config.{field}=NUMBER, such as the one that '
            f'`jaxvision train --config.{field}={AUTO}` finds.'
        )


def _is_sweep(text: str) -> bool:
    return text.startswith('--sweep.')


def _texts(rest: list[str]) -> dict[str, Any]:
    """Parse ['--sweep.optimizer.lr=1,2'] as {'optimizer.lr': '1,2'}."""
    texts: dict[str, Any] = {}
    for argument in filter(_is_sweep, rest):
        field, equals, text = argument.partition('=')
        if not equals:
            raise UserError(f'{argument}: expected --sweep.FIELD=VALUES')
        texts[field.removeprefix('--sweep.')] = text
    return texts


def _trials(options: argparse.Namespace, checked: space.Space) -> int:
    """The number of trials, at most the number of points of the space."""
    size = search.size(checked)
    if options.search == 'grid':
        next(search.grid(checked, 0))  # Raises an error for an interval.
        return min(options.trials or size or 0, size or 0)
    trials = options.trials or TRIALS
    if size and size < trials:
        print(f'the space has {size} points, so there are {size} trials', flush=True)
        return size
    return trials


def _examine(config: Config) -> tuple[Config, str, int]:
    """Open the data, and find what trials are compared by.

    Args:
        config: the config of the sweep, which is not changed.

    Returns:
        (the config with a validation split, the metric of that split, the training
        examples of a whole trial).
    """
    import jax

    from jaxvision.cli.runtime import start_jax
    from jaxvision.train import checks
    from jaxvision.train import run as runs
    from jaxvision.train.saved import inference_mesh
    from jaxvision.train.sources import Sources

    # The parent computes nothing, and leaves the accelerators to its trials.
    jax.config.update('jax_platforms', 'cpu')
    start_jax(config)
    config = _with_validation(config)
    sources = Sources(config)
    spec = runs.describe(config, sources)
    # Each trial finds its own numbers in place of 'auto', which change nothing here.
    numbers = auto_fields.with_defaults(config)
    run = runs.build(numbers, Path(), spec, sources, inference_mesh(config))
    checks.check_best(run, run.task.metrics)
    if not run.metric:
        raise UserError(
            'train.best=: expected a metric that judges trials, since the task has none. '
            'Set --config.train.best=NAME.'
        )
    examples = in_examples(config.train.steps, config.data.batch_size, spec.examples)
    return config, run.metric, examples


def _with_validation(config: Config) -> Config:
    """Hold a part of training out, if the data has no validation split."""
    from jaxvision.train.sources import Sources

    if config.data.validation == 'none':
        raise UserError(
            'data.validation=none: expected a validation split, since the test split selects '
            f'nothing. Set --config.data.validation={HELD_OUT}.'
        )
    if 'validation' in Sources(config).splits:
        return config
    copy = config.copy_and_resolve_references().lock()
    copy.data.validation = HELD_OUT
    print(
        f'data.validation={HELD_OUT}: {HELD_OUT[:-1]} % of the training data compares the '
        'trials, which do not train on it',
        flush=True,
    )
    return copy


def _default_folder(config: str, overrides: Mapping[str, str]) -> str:
    from jaxvision.cli.train import default_workdir

    return default_workdir(config, overrides).replace('runs/', 'sweeps/', 1)
