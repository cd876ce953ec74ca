"""A run or an exported model, opened to answer."""

import dataclasses
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.cli.runtime import start_jax
from jaxvision.core.errors import UserError
from jaxvision.data import decode


@dataclasses.dataclass(frozen=True)
class Model:
    """`answer(inputs) -> outputs`, arrays with a batch axis, named as the spec names them."""

    name: str
    task: Any
    spec: dict
    answer: Callable[[dict], dict]
    threads: int

    def prepare(self, image: decode.Encoded) -> dict:
        """The example that an image makes, by the rule of the evaluation."""
        if self.task.prepare:
            return self.task.prepare({'image': image}, None)
        height, width, channels = self.spec['inputs']['image']['shape']
        return {'image': decode.resize(decode.decode(image, channels), height, width)}

    def answer_each(self, examples: Sequence[dict], size: int) -> list[dict]:
        """The outputs for each of up to `size` examples, with which zeros make up the batch, so
        that one program serves for any number."""
        if not examples:
            return []
        inputs = {}
        for name in self.spec['inputs']:
            stacked = np.stack([example[name] for example in examples])
            blank = np.zeros((size - len(examples), *stacked.shape[1:]), stacked.dtype)
            inputs[name] = np.concatenate([stacked, blank])
        outputs = self.answer(inputs)
        return [
            {name: array[i] for name, array in outputs.items()}
            for i in range(len(examples))
        ]


def open_model(name: str, step: str | None) -> Model:
    """The model of a run's folder, or of an exported one's.

    Raises:
        UserError: it is neither, or damaged, or its runtime is not installed.
    """
    if Path(name, 'config.json').exists():
        return _open_run(name, step or 'last')
    if step:
        raise UserError('--step is of a run; an exported model holds one step')
    return _open_exported(name)


def _open_run(name: str, step: str) -> Model:
    import jax

    from jaxvision.train import loop, run

    config = run.read_config(Path(name))
    start_jax(config)
    task, variables, spec = loop.load(Path(name), step)
    predict = jax.jit(task.predict)
    return Model(
        name,
        task,
        spec,
        lambda inputs: jax.device_get(predict(variables, inputs)),
        config.data.threads,
    )


def _open_exported(name: str) -> Model:
    from jaxvision.cli.export import exported
    from jaxvision.core import config as configs
    from jaxvision.train import run

    path = Path(name)
    if not exported.is_exported(path):
        known = [str(other) for other in path.glob('*') if exported.is_exported(other)]
        raise UserError(
            f'{path} is neither a run nor an exported model'
            + (f'; in it are {", ".join(sorted(known))}' if known else '')
        )
    try:
        config, spec = exported.read_extras(path)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(
            f'{path} is damaged, or jaxvision did not export it: {error}'
        ) from error
    config = configs.stored(config).lock()
    start_jax(config)
    try:
        answer = exported.open_exported(path)
    except ModuleNotFoundError as error:
        raise UserError(
            f'{path} is run by {error.name}, which is not installed'
        ) from error
    except Exception as error:  # each runtime has its own for a damaged file
        raise UserError(f'{path} cannot be opened: {error}') from error
    return Model(name, run.make_task(config, spec), spec, answer, config.data.threads)
