"""What a predictor is.

A task declares its predictor by name: `Task(predictor='image')`. Each predictor is a module
of this folder with its own arguments, listed in `command.PREDICTORS`.
"""

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from jaxvision.cli.predict.model import Model
from jaxvision.core.errors import UserError

# What predictions.json says of one file or generated picture: 'file' or 'picture', and
# 'answer', a dict, or 'error', why there is none.
Entry = dict[str, Any]

# An instance of a predictor's own `Options`.
Options = Any
OptionsType = TypeVar('OptionsType')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asks of any predictor.

    Attributes:
        paths: the user's files.
        out: the folder of the predictions.
        batch_size: images, or tiles of one image, that are predicted at once.
        pictures: whether annotated pictures are drawn.
    """

    paths: Sequence[str]
    out: Path
    batch_size: int
    pictures: bool


@runtime_checkable
class Predictor(Protocol):
    """Predictions that are about to be made.

    Attributes:
        column: 'file' or 'picture', by which entries are named.
        names: the names of all entries.
        outputs: the files and folders that will be written beside predictions.json.
        about: what predictions.json says of all entries together.
    """

    column: str
    names: Sequence[str]
    outputs: Sequence[Path]
    about: Entry

    def predict(self) -> Iterator[list[Entry]]:
        """Predict for some names at a time, in order, and write their outputs."""
        ...


@runtime_checkable
class PredictorModule(Protocol):
    """A module of this folder.

    Attributes:
        DOES: the verb and object of a message: 'generates images'.
        FILES: the files that it reads, 'images' or 'videos'; empty: it reads none.
        OWNER: to whom its arguments belong: 'a generator'. Empty where it has none.
        Options: a dataclass with one field for each of its arguments.
    """

    DOES: str
    FILES: str
    OWNER: str
    Options: type

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add a group with the predictor's arguments; they have no defaults."""
        ...

    def make(self, model: Model, request: Request, options: Options) -> Predictor:
        """Check the options against the model, before anything is predicted."""
        ...


def names_given(options: type, arguments: argparse.Namespace) -> list[str]:
    """The fields of a dataclass that the command line sets."""
    fields = (field.name for field in dataclasses.fields(options))
    return [name for name in fields if name in arguments]


def options_given(
    options: type[OptionsType], arguments: argparse.Namespace
) -> OptionsType:
    """Make a dataclass of options of the command line's arguments."""
    names = names_given(options, arguments)
    return options(**{name: getattr(arguments, name) for name in names})


def misplaced(argument: str, owner: str, reason: str) -> UserError:
    """An error for an argument that belongs to another kind of run.

    Args:
        argument: its name, without '--'.
        owner: to whom it belongs: 'a generator'.
        reason: what this run does instead: 'runs/cnn predicts for images'.
    """
    return UserError(
        f'--{argument}: expected with {owner}. {reason}: leave --{argument} out.'
    )


def check_inputs(model: Model, *kinds: set[str]) -> None:
    """Check that a task takes what its predictor can give it.

    Args:
        model: of the task.
        *kinds: sets of input names, of which one must be the task's.
    """
    inputs = model.spec.inputs
    if set(inputs) not in kinds:
        expected = ' or '.join(' and '.join(sorted(kind)) for kind in kinds)
        raise UserError(
            f'{model.name}: its predictor {model.task.predictor!r} expected a task that '
            f'takes {expected}, and this one takes {", ".join(inputs)}. Declare another '
            'predictor in the task.'
        )
