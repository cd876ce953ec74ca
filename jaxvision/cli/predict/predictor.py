"""The interface of predictors.

A task declares its predictor by name, as in `Task(predictor='image')`. Each predictor is a module
of this folder, with arguments of its own. `command.PREDICTORS` lists them.
"""

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from jaxvision.cli.predict.model import Model
from jaxvision.core.errors import UserError

# One file or generated picture in predictions.json: its name under 'file' or 'picture', and the
# prediction under 'answer', a dict, or the reason of its absence under 'error'.
Entry = dict[str, Any]

# An instance of a predictor's own `Options`.
Options = Any
OptionsType = TypeVar('OptionsType')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments that all predictors share.

    Attributes:
        paths: the user's files.
        out: the output folder.
        batch_size: images, or tiles of one image, in a batch.
        pictures: whether to write annotated pictures.
    """

    paths: Sequence[str]
    out: Path
    batch_size: int
    pictures: bool


@runtime_checkable
class Predictor(Protocol):
    """A model and its inputs, ready to predict.

    Attributes:
        column: 'file' or 'picture', the name of the first column of the table.
        names: the files or pictures, one for each entry.
        outputs: the files and folders that will be written beside predictions.json.
        about: the part of predictions.json that holds for all entries.
    """

    column: str
    names: Sequence[str]
    outputs: Sequence[Path]
    about: Entry

    def predict(self) -> Iterator[list[Entry]]:
        """Predict in batches, and write the outputs.

        The caller must exhaust the iterator, since some outputs are written at its end.

        Yields:
            The JSON entries of a batch, one for each of `names`, in their order.
        """
        ...


@runtime_checkable
class PredictorModule(Protocol):
    """A module of this folder.

    Attributes:
        DOES: verb and object for messages, such as 'generates images'.
        FILES: kind of files that it reads, 'images' or 'videos'; '': it reads no files.
        OWNER: kind of model that takes its arguments, such as 'a generator'; '': it has no
            arguments.
        Options: a dataclass with one field for each of its arguments.
    """

    DOES: str
    FILES: str
    OWNER: str
    Options: type

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add a group with the predictor's arguments, which have no defaults."""
        ...

    def make(self, model: Model, request: Request, options: Options) -> Predictor:
        """Make the predictor, and check the options against the model.

        Args:
            model: the opened model.
            request: the files and the output folder.
            options: an instance of `Options`.

        Raises:
            UserError: The options do not fit the model.
        """
        ...


def names_given(options: type, arguments: argparse.Namespace) -> list[str]:
    """List the names of a dataclass's fields that the command line sets, in order.

    Args:
        options: the dataclass.
        arguments: parsed arguments, in which an omitted argument is absent.
    """
    names = [field.name for field in dataclasses.fields(options)]
    return [name for name in names if name in arguments]


def options_given(
    options: type[OptionsType], arguments: argparse.Namespace
) -> OptionsType:
    """Make an instance of a dataclass from the arguments that the command line sets.

    Args:
        options: the dataclass. Its other fields keep their defaults.
        arguments: parsed arguments, in which an omitted argument is absent.
    """
    names = names_given(options, arguments)
    return options(**{name: getattr(arguments, name) for name in names})


def misplaced(argument: str, owner: str, reason: str) -> UserError:
    """Return, but do not raise, the error for an argument of another kind of model.

    Args:
        argument: name of the argument, without '--'.
        owner: the kind of model that takes it, such as 'a generator'.
        reason: a sentence about the model, such as 'runs/cnn predicts for images'.
    """
    return UserError(
        f'--{argument}: expected only with {owner}. {reason}. Remove --{argument}.'
    )


def check_inputs(model: Model, *kinds: set[str]) -> None:
    """Check that a task takes the inputs that its predictor can give.

    Args:
        model: the model with the task.
        *kinds: the allowed sets of input names, one of which must be exactly the
            task's.

    Raises:
        UserError: The task takes other inputs.
    """
    inputs = model.spec.inputs
    if set(inputs) in kinds:
        return
    names = [' and '.join(sorted(kind)) for kind in kinds]
    raise UserError(
        f'{model.name}: its task has predictor={model.task.predictor!r}: expected the '
        f'inputs {" or ".join(names)}, not {", ".join(inputs)}. Declare another predictor '
        'in the task.'
    )
