"""A run or an exported model, opened to predict."""

import dataclasses
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from jaxvision.cli.runtime import start_jax
from jaxvision.core.errors import UserError
from jaxvision.core.spec import Spec
from jaxvision.core.task import Task
from jaxvision.core.types import Example, Json, Records, Tree
from jaxvision.data import decode, resizing

# Maps inputs [B, ...] to outputs [B, ...], both arrays by name.
PredictBatch = Callable[[Records], Records]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A network, opened to predict.

    Attributes:
        name: the folder or file, as the user gave it.
        task: the task of the run.
        spec: the spec of its data.
        predict: `(inputs [B, ...]) -> outputs [B, ...]`, the network with its weights.
            The inputs are arrays by the names in `spec.inputs`. The logits of a
            classifier have been divided by the temperature of `calibration`.
        threads: number of threads that read files ahead.
        takes_any_size: whether `predict` takes images of any size. False: of the size in
            `spec.inputs`.
        calibration: what was fitted on the validation split, see `Evaluation.calibrate`; {} if
            nothing was.
        variables: `TrainState.variables`; None for an exported model.
    """

    name: str
    task: Task
    spec: Spec
    predict: PredictBatch
    threads: int
    takes_any_size: bool = False
    calibration: Json = dataclasses.field(default_factory=dict)
    variables: Tree | None = None

    def prepare(self, image: decode.Encoded) -> Example:
        """Apply the preprocessing of the evaluation to an image.

        Args:
            image: the content of an image file, or decoded pixels.

        Returns:
            The input arrays of one example, such as 'image' uint8 [H, W, C], and what
            the task adds, such as 'warp' for a detector.

        Raises:
            Unreadable: The image is damaged.
        """
        return prepare_image(self.task, self.spec, image)

    def predict_each(self, examples: Sequence[Example], size: int) -> list[Records]:
        """Predict for some examples as one batch of `size`, padded with blank examples.

        Examples whose shape depends on the image are predicted one by one. The network is
        compiled once for each shape.

        Args:
            examples: prepared examples, at most `size`.
            size: size of the batch.

        Returns:
            The outputs of each example, in order; [] without examples.
        """
        preprocessing = self.spec.preprocessing
        if preprocessing and not preprocessing.fixes_canvas:
            names = self.spec.inputs
            alone = [predict_padded(self.predict, names, [x], 1) for x in examples]
            return [outputs for (outputs,) in alone]
        return predict_padded(self.predict, self.spec.inputs, examples, size)


def prepare_image(task: Task, spec: Spec, image: decode.Encoded) -> Example:
    """Apply the preprocessing of a task's evaluation to an image, see `Model.prepare`."""
    if task.prepare:
        return task.prepare({'image': image}, None)
    height, width, channels = spec.inputs['image'].shape
    pixels = decode.decode(image, channels)
    return {'image': resizing.resize(pixels, height, width)}


def predict_padded(
    predict: PredictBatch, names: Iterable[str], examples: Sequence[Example], size: int
) -> list[Records]:
    """Predict for some examples as one padded batch, so that one program serves any number.

    Args:
        predict: `(inputs [B, ...]) -> outputs [B, ...]`.
        names: names of the input arrays of an example. Its other arrays are ignored.
        examples: the examples, at most `size`.
        size: size of the batch, which blank examples complete.

    Returns:
        The outputs of each example, in order, without those of blank ones; [] without
        examples.
    """
    if not examples:
        return []
    inputs = {}
    for name in names:
        stacked = np.stack([example[name] for example in examples])
        blank = np.zeros((size - len(examples), *stacked.shape[1:]), stacked.dtype)
        inputs[name] = np.concatenate([stacked, blank])
    outputs = predict(inputs)

    def outputs_of(row: int) -> Records:
        return {name: array[row] for name, array in outputs.items()}

    return [outputs_of(row) for row in range(len(examples))]


def open_model(name: str, step: str) -> Model:
    """Open a run's folder, or an exported model, and configure JAX for it.

    Args:
        name: the folder or file.
        step: checkpoint of a run: 'last', 'best' or a number; '': 'last'. It must be ''
            for an exported model.

    Raises:
        UserError: The path is neither, or damaged, or its runtime is not installed, or
            there is no such checkpoint.
    """
    if Path(name, 'config.json').exists():
        return _open_run(name, step or 'last')
    if step:
        raise UserError(
            f'--step={step}: expected no --step, because {name} is no run folder, and '
            'an exported model holds one checkpoint. Remove --step, or give the folder of '
            'a run.'
        )
    return _open_exported(name)


def _open_run(name: str, step: str) -> Model:
    import jax

    from jaxvision.tasks.shared import calibrated
    from jaxvision.train import calibration, saved

    config = saved.read_config(Path(name))
    start_jax(config)
    run = saved.open_saved(Path(name))
    state = run.restore(step)
    variables = state.variables
    fitted = calibration.read_for(run, state)
    with saved.naming_folder(run.workdir):
        task = calibrated.with_temperature(run.task, fitted)
    compiled = jax.jit(task.predict)

    def predict(inputs):
        return jax.device_get(compiled(variables, inputs))

    return Model(
        name=name,
        task=task,
        spec=run.spec,
        predict=predict,
        threads=config.data.threads,
        takes_any_size=True,
        calibration=fitted,
        variables=variables,
    )


def _open_exported(name: str) -> Model:
    from jaxvision.cli.export import exported
    from jaxvision.core import config as configs
    from jaxvision.core.registry import read_spec
    from jaxvision.train import saved

    path = Path(name)
    if not exported.is_exported(path):
        raise _not_a_model(path)
    try:
        stored_config, stored_spec = exported.read_extras(path)
        calibration = exported.read_calibration(path)
        config = configs.stored(stored_config).lock()
        spec = read_spec(stored_spec, config)
    except UserError:
        raise
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(
            f'--workdir={path}: expected a file that jaxvision exported. This one is '
            f'damaged or from another program ({error}). Export the run again.'
        ) from error
    start_jax(config)
    try:
        predict = exported.open_exported(path)
    except ModuleNotFoundError as error:
        raise UserError(
            f'--workdir={path}: expected the package {error.name}, which runs this format '
            'and is not installed. Install it.'
        ) from error
    # Each runtime raises its own error for a damaged file.
    except Exception as error:
        raise UserError(
            f'--workdir={path}: expected an exported model that its runtime can open '
            f'({error}). Export the run again.'
        ) from error
    return Model(
        name=name,
        task=saved.build_task(config, spec),
        spec=spec,
        predict=predict,
        threads=config.data.threads,
        calibration=calibration,
    )


def _not_a_model(path: Path) -> UserError:
    from jaxvision.cli.export import exported

    below = [str(other) for other in path.glob('*') if exported.is_exported(other)]
    hint = ''
    if below:
        hint = f' Give a model in it: {" or ".join(sorted(below))}.'
    return UserError(
        f'--workdir={path}: expected a run or an exported model, and it is neither.{hint}'
    )
