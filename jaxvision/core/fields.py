"""Config fields: each is declared once, with its default, a sentence, choices and bounds.

Validation, `--help` and the reference of the documentation come from the declarations.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

from ml_collections import ConfigDict

from jaxvision.core.errors import UserError, not_a_choice
from jaxvision.core.types import Value

if TYPE_CHECKING:
    Config = Any  # Its fields are attributes that only the declarations know.
else:
    Config = ConfigDict

# '300' (steps), '2 epochs' or '5000 examples'.
INTERVAL = re.compile(
    r'\s*(?:(\d+(?:\.\d+)?)\s*epochs?|(\d+)\s*(steps?|examples?)?)\s*'
)

# {name: a Field, or the Fields of a group}
Fields = Mapping[str, 'Field | Fields']


@dataclasses.dataclass(frozen=True)
class Field:
    """The declaration of one config field.

    Attributes:
        default: its type is the field's type.
        doc: one sentence.
        choices: the values that it may have; empty: any within the bounds.
        least: the smallest value.
        most: the largest value.
        above: a bound that the value must exceed.
        below: a bound that the value must stay under.
        is_interval: whether the value is a number of steps, epochs or examples.
    """

    default: Value
    doc: str
    choices: tuple[Value, ...] = ()
    least: int | float | None = None
    most: int | float | None = None
    above: int | float | None = None
    below: int | float | None = None
    is_interval: bool = False

    @property
    def bounds(self) -> str:
        """The choices or bounds in words, as '>= 0, < 1'; '' if there are none."""
        if self.choices:
            return ' | '.join(str(choice) or "''" for choice in self.choices)
        if self.is_interval:
            return 'N | N epochs | N examples'
        bounds = (
            ('>=', self.least),
            ('>', self.above),
            ('<=', self.most),
            ('<', self.below),
        )
        return ', '.join(
            f'{sign} {bound:g}' for sign, bound in bounds if bound is not None
        )

    def check(self, name: str, value: Value) -> None:
        """Check a value.

        Raises:
            UserError: The value is none of the choices, or out of bounds, or not finite, or
                no interval.
        """
        if self.choices:
            if value not in self.choices:
                raise not_a_choice(name, value, self.choices)
            return
        if self.is_interval and not INTERVAL.fullmatch(str(value)):
            raise UserError(
                f'{name}={value!r}: expected a number of steps (300), "2 epochs" or '
                '"5000 examples"'
            )
        if not isinstance(self.default, int | float) or isinstance(self.default, bool):
            return
        if not isinstance(value, int | float):
            raise UserError(f'{name}={value!r}: expected a number')
        within = (
            math.isfinite(value)
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )
        if not within:
            kind = 'a number'
            if isinstance(self.default, int):
                kind = 'a whole number'
            elif not self.bounds:
                kind = 'a finite number'
            raise UserError(f'{name}={value}: expected {kind} {self.bounds}'.rstrip())


def is_declaration(fields: Value) -> TypeGuard[Fields]:
    """Whether a value is {name: a Field, or the Fields of a group}."""
    return isinstance(fields, Mapping) and all(
        isinstance(field, Field) or is_declaration(field) for field in fields.values()
    )


def defaults(fields: Fields) -> dict[str, Value]:
    """The default of every field, groups as nested dicts."""
    return {
        name: field.default if isinstance(field, Field) else defaults(field)
        for name, field in fields.items()
    }


def by_path(fields: Fields, prefix: str = '') -> dict[str, Field]:
    """{'optimizer.lr': Field} of every field, in order."""
    flat = {}
    for name, field in fields.items():
        if isinstance(field, Field):
            flat[prefix + name] = field
        else:
            flat |= by_path(field, f'{prefix}{name}.')
    return flat


_DTYPES = ('float32', 'bfloat16', 'float16', 'float64')

# Every run has these, and `task` with the fields of its task.
COMMON: Fields = {
    'seed': Field(0, 'Seed of everything random.', least=0),
    'data': {
        'source': Field(
            '',
            'TFDS name, embedded dataset, folder:DIR, videos:DIR or captions:JSON,DIR.',
        ),
        'dir': Field('', 'Folder of TFDS datasets; empty: the usual place.'),
        'image_size': Field(
            32,
            'Side in pixels; larger images, and images of unequal size, are resized to it.',
            least=1,
        ),
        'batch_size': Field(
            128, 'Examples a step, over all devices and processes.', least=1
        ),
        'per_class': Field(
            0, 'Train on this many examples of each class; 0: on all.', least=0
        ),
        'synthetic': Field(
            '', 'Run of a conditional GAN whose images are added to the training data.'
        ),
        'synthetic_examples': Field(
            2000, 'Number of images that this GAN makes.', least=1
        ),
        'synthetic_fraction': Field(
            0.5,
            'Fraction of the training data that these images are.',
            above=0,
            below=1,
        ),
        'train_split': Field(
            '', 'Name of the training split; empty: found by its name.'
        ),
        'validation': Field(
            '',
            "Split that selects checkpoints: empty: the dataset's own, if it has one beside "
            "a test split; 'none'; a name; '10%': so much is held out of training.",
        ),
        'test_split': Field('', 'Name of the test split; empty: found by its name.'),
        'hash_limit': Field(
            20.0,
            'Gigabytes of a split above which its files are compared by sizes and times '
            'in place of their content.',
            least=0,
        ),
        'on_corrupt': Field(
            'stop',
            'At an unreadable example: stop, or replace it by the next readable one.',
            choices=('stop', 'replace'),
        ),
        'threads': Field(
            2, 'Threads that decode ahead of the training; 0: no thread.', least=0
        ),
    },
    'model': {
        'name': Field(
            '', 'Architecture: a name of `jaxvision models`, or a dotted module.'
        ),
        'variant': Field('', 'Size of the architecture, such as 50 or B/16.'),
        'dtype': Field('float32', 'Type of activations.', choices=_DTYPES),
        'param_dtype': Field('float32', 'Type of parameters.', choices=_DTYPES),
        'options': Field({}, 'Further arguments of the model, each by its name.'),
    },
    'optimizer': {
        'name': Field('adamw', 'Optimizer.', choices=('sgd', 'adamw', 'lamb', 'muon')),
        'lr': Field(1e-3, 'Peak learning rate.', least=0),
        'schedule': Field(
            'cosine',
            'Learning rate after the warm-up.',
            choices=('constant', 'cosine', 'linear', 'one_cycle'),
        ),
        'warmup': Field('0', 'Length of the linear warm-up.', is_interval=True),
        'weight_decay': Field(0.0, 'Weight decay of kernels.', least=0),
        'clip': Field(
            0.0, 'Largest global norm of a gradient; 0: not clipped.', least=0
        ),
        'accumulate': Field(1, 'Microbatches a step, to save memory.', least=1),
        'ema': Field(
            0.0,
            'Decay of the averaged weights that are evaluated; 0: no average.',
            least=0,
            below=1,
        ),
        'options': Field({}, 'Further arguments of the optimizer, each by its name.'),
    },
    'train': {
        'steps': Field('10 epochs', 'Length of the training.', is_interval=True),
        'log_every': Field(
            '50', 'Interval between rows of training metrics.', is_interval=True
        ),
        'eval_every': Field(
            '1 epoch', 'Interval between evaluations.', is_interval=True
        ),
        'checkpoint_every': Field(
            '1 epoch', 'Interval between checkpoints.', is_interval=True
        ),
        'keep': Field(2, 'Latest checkpoints that are kept, beside the best.', least=1),
        'init_from': Field(
            '',
            'Runs or files of weights to begin with: SOURCE[:PART][->PART],...',
        ),
        'init_new': Field('', 'Parts that are initialised at random all the same.'),
        'frozen': Field('', 'Parts that are not trained, such as model/encoder.'),
        'best': Field(
            '',
            'Metric of the validation split that selects the best checkpoint, such as '
            "accuracy; '-NAME': less is better; empty: the task's.",
        ),
        'patience': Field(
            '0',
            'Training stops when the metric has not improved on the validation split for '
            'so long; 0: never.',
            is_interval=True,
        ),
        'profile': Field('', 'FIRST:LAST: steps that are traced into the run folder.'),
    },
    'parallel': {
        'mode': Field(
            'jit',
            'With pmap every device has its own batch statistics.',
            choices=('jit', 'pmap'),
        ),
        'fsdp': Field(1, 'Devices that share the parameters among them.', least=1),
        'cpu_devices': Field(
            0, 'Devices that a CPU is split into; 0: one a core, at most 8.', least=0
        ),
        'deterministic': Field(False, 'GPU operations equal to the bit, and slower.'),
    },
}
