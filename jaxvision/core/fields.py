"""Config fields, each declared once with its default, a sentence, choices and bounds.

The checks, `--help` and the reference documentation are made from these declarations.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

from ml_collections import ConfigDict

from jaxvision.core.errors import UserError, not_a_choice
from jaxvision.core.intervals import check_interval
from jaxvision.core.types import Value

if TYPE_CHECKING:
    # Only the declarations know which attributes a config has.
    Config = Any
else:
    Config = ConfigDict

# The value of a field that is found before training.
AUTO = 'auto'

# {name: a Field, or a mapping with the Fields of a group}
Fields = Mapping[str, 'Field | Fields']


@dataclasses.dataclass(frozen=True)
class Field:
    """The declaration of one config field.

    Attributes:
        default: the default value. Its type is the type of the field.
        doc: one sentence for users.
        choices: the allowed values. Empty: every value within the bounds is allowed.
        least: the smallest allowed value. Only numbers are compared with the four
            bounds.
        most: the largest allowed value.
        above: a bound that the value must exceed.
        below: a bound that the value must stay under.
        is_interval: whether the value is an interval: 300 (steps), '2 epochs' or
            '5000 examples'.
        can_be_found: whether the value may be `AUTO`, for a number that training finds
            before its first step.
    """

    default: Value
    doc: str
    choices: tuple[Value, ...] = ()
    least: int | float | None = None
    most: int | float | None = None
    above: int | float | None = None
    below: int | float | None = None
    is_interval: bool = False
    can_be_found: bool = False

    @property
    def bounds(self) -> str:
        """The choices or bounds as text; '' if there are none.

        Examples are 'sgd | adamw', '>= 0, < 1', '>= 0, or auto', and 'N | N epochs | N
        examples'.
        """
        if self.choices:
            return ' | '.join(str(choice) or "''" for choice in self.choices)
        if self.is_interval:
            return 'N | N epochs | N examples'
        bounds = {
            '>=': self.least,
            '>': self.above,
            '<=': self.most,
            '<': self.below,
        }
        texts = [
            f'{sign} {bound:g}' for sign, bound in bounds.items() if bound is not None
        ]
        if self.can_be_found:
            texts.append(f'or {AUTO}')
        return ', '.join(texts)

    def check(self, name: str, value: Value) -> None:
        """Check a value of this field against its choices, or else its form and bounds.

        If the default is a text, a bool or a dict, every value passes, unless the field
        has choices or is an interval.

        Args:
            name: the full name of the field, for messages.
            value: the value.

        Raises:
            UserError: The value is no choice, no interval, no number, not finite, or
                out of bounds. Or it is a float, but the default is a whole number.
        """
        if self.can_be_found and value == AUTO:
            return
        if self.choices:
            if value not in self.choices:
                raise not_a_choice(name, value, self.choices)
            return
        if self.is_interval:
            check_interval(name, value)
        if isinstance(self.default, bool) or not isinstance(self.default, int | float):
            return
        if not isinstance(value, int | float):
            raise UserError(f'{name}={value!r}: expected {self._kind_of_number()}')
        is_fraction = isinstance(self.default, int) and not isinstance(value, int)
        if is_fraction or not self._is_within_bounds(value):
            expected = f'{self._kind_of_number()} {self.bounds}'.rstrip()
            raise UserError(f'{name}={value}: expected {expected}')

    def _is_within_bounds(self, value: int | float) -> bool:
        return (
            math.isfinite(value)
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def _kind_of_number(self) -> str:
        if isinstance(self.default, int):
            return 'a whole number'
        if self.bounds:
            return 'a number'
        return 'a finite number'


def is_declaration(fields: Value) -> TypeGuard[Fields]:
    """Whether a value maps names to Fields, or to such mappings; {} is one, too."""
    return isinstance(fields, Mapping) and all(
        isinstance(field, Field) or is_declaration(field) for field in fields.values()
    )


def defaults(fields: Fields) -> dict[str, Value]:
    """Collect the default of every field, with groups as nested dicts."""
    values = {}
    for name, field in fields.items():
        if isinstance(field, Field):
            values[name] = field.default
        else:
            values[name] = defaults(field)
    return values


def by_path(fields: Fields, prefix: str = '') -> dict[str, Field]:
    """Flatten nested fields to {'optimizer.lr': Field}, in order.

    Args:
        fields: {name: Field, or a mapping with the Fields of a group}.
        prefix: text before every name, such as 'task.'.
    """
    flat = {}
    for name, field in fields.items():
        if isinstance(field, Field):
            flat[prefix + name] = field
        else:
            flat |= by_path(field, f'{prefix}{name}.')
    return flat


_DTYPES = ('float32', 'bfloat16', 'float16', 'float64')

# The fields of every run. Each run also has `task` with the fields of its task.
COMMON: Fields = {
    'seed': Field(0, 'Seed of every random number of the run.', least=0),
    'data': {
        'source': Field(
            '',
            'Dataset: a TFDS name, an embedded dataset, folder:DIR, videos:DIR, '
            'captions:JSON, coco:DIR, voc:DIR, yolo:YAML, boxes:CSV, masks:DIR or '
            'cityscapes:DIR.',
        ),
        'dir': Field(
            '', 'Folder of the TFDS datasets; empty: the default folder of TFDS.'
        ),
        'images': Field(
            '',
            'Folder of the images of an annotation file; empty: found from the place of the '
            'file.',
        ),
        'window': Field(
            '',
            'CENTER,WIDTH of the values of volumes and of DICOM files that become black to '
            'white, such as 40,400 for soft tissue in CT; empty: by the file.',
        ),
        'image_size': Field(
            32,
            'Side of the images in pixels. Larger images, and images of unequal size, are '
            'resized to this side.',
            least=1,
        ),
        'batch_size': Field(
            128,
            'Examples per step, summed over all devices and processes; auto: the most that '
            'fit in memory.',
            least=1,
            can_be_found=True,
        ),
        'per_class': Field(
            0, 'Number of training examples of each class; 0: all.', least=0
        ),
        'synthetic': Field(
            '',
            'Run folder of a conditional GAN whose images are added to the training data.',
        ),
        'synthetic_examples': Field(
            2000, 'Number of images that this GAN generates.', least=1
        ),
        'synthetic_fraction': Field(
            0.5,
            'Fraction of generated images in the training data.',
            above=0,
            below=1,
        ),
        'train_split': Field(
            '', 'Name of the training split; empty: chosen by its name.'
        ),
        'validation': Field(
            '',
            "Validation split, which selects checkpoints: a name, 'none', or '10%' to hold "
            'that part out of training. Empty: the validation split of the dataset, if it '
            'has one beside a test split.',
        ),
        'test_split': Field('', 'Name of the test split; empty: chosen by its name.'),
        'hash_limit': Field(
            20.0,
            'Size of a split in gigabytes. The files of a larger split are compared by size '
            'and time instead of content.',
            least=0,
        ),
        'on_corrupt': Field(
            'stop',
            'Reaction to an unreadable example: stop, or replace it by the next readable '
            'one.',
            choices=('stop', 'replace'),
        ),
        'threads': Field(
            2,
            'Threads that decode examples ahead of training; 0: decode without threads.',
            least=0,
        ),
    },
    'model': {
        'name': Field(
            '',
            'Architecture: a name from `jaxvision models`, or a dotted Python module.',
        ),
        'variant': Field('', 'Size of the architecture, such as 50 or B/16.'),
        'dtype': Field('float32', 'Dtype of activations.', choices=_DTYPES),
        'param_dtype': Field('float32', 'Dtype of parameters.', choices=_DTYPES),
        'options': Field({}, 'Further keyword arguments of the model.'),
    },
    'optimizer': {
        'name': Field('adamw', 'Optimizer.', choices=('sgd', 'adamw', 'lamb', 'muon')),
        'lr': Field(
            1e-3,
            'Peak learning rate; auto: chosen by a short training with rising rates.',
            least=0,
            can_be_found=True,
        ),
        'schedule': Field(
            'cosine',
            'Schedule of the learning rate after the warm-up.',
            choices=('constant', 'cosine', 'linear', 'one_cycle'),
        ),
        'warmup': Field('0', 'Length of the linear warm-up.', is_interval=True),
        'weight_decay': Field(0.0, 'Weight decay of kernels.', least=0),
        'clip': Field(
            0.0, 'Largest global norm of a gradient; 0: no clipping.', least=0
        ),
        'accumulate': Field(
            1, 'Number of microbatches per step; more need less memory.', least=1
        ),
        'ema': Field(
            0.0,
            'Decay of the averaged weights, which evaluations use; 0: no averaging.',
            least=0,
            below=1,
        ),
        'options': Field({}, 'Further keyword arguments of the optimizer.'),
    },
    'train': {
        'steps': Field('10 epochs', 'Length of the training.', is_interval=True),
        'log_every': Field(
            '50',
            'Interval between rows of training metrics; 0: only the last step.',
            is_interval=True,
        ),
        'eval_every': Field(
            '1 epoch',
            'Interval between evaluations; 0: only after the last step.',
            is_interval=True,
        ),
        'checkpoint_every': Field(
            '1 epoch',
            'Interval between checkpoints; 0: only after the last step.',
            is_interval=True,
        ),
        'keep': Field(
            2, 'Number of latest checkpoints that are kept, beside the best.', least=1
        ),
        'init_from': Field(
            '',
            'Runs or weights files that initialise the parameters: '
            'SOURCE[:PART][->PART],...',
        ),
        'init_new': Field(
            '', 'Parts that are initialised at random in spite of train.init_from.'
        ),
        'frozen': Field('', 'Parts that are not trained, such as model/encoder.'),
        'best': Field(
            '',
            'Metric of the validation split that selects the best checkpoint, such as '
            "accuracy; '-NAME': less is better; empty: the metric of the task.",
        ),
        'patience': Field(
            '0',
            'Training stops when the best metric of the validation split is this old; '
            '0: never.',
            is_interval=True,
        ),
        'profile': Field(
            '', 'Steps FIRST:LAST, whose profile is written to the run folder.'
        ),
    },
    'parallel': {
        'mode': Field(
            'jit',
            'Parallelisation; with pmap, each device has separate batch statistics.',
            choices=('jit', 'pmap'),
        ),
        'fsdp': Field(
            1, 'Number of devices over which the parameters are sharded.', least=1
        ),
        'cpu_devices': Field(
            0,
            'Number of devices into which a CPU is split; 0: one per core, at most 8.',
            least=0,
        ),
        'memory': Field(
            0.0,
            'Gigabytes of each device that data.batch_size=auto may fill; 0: 80 % of what is '
            'there.',
            least=0,
        ),
        'deterministic': Field(
            False, 'Use deterministic GPU operations, which are slower.'
        ),
    },
}
