"""Windows of medical images: the values that are black, white and between."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Num, UInt8

from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.spec import Preprocessing
from jaxvision.data.protocol import Dataset, Unreadable

Values = Num[np.ndarray, '*shape']


@dataclasses.dataclass(frozen=True)
class Window:
    """A map of values to 0 to 255 (DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3).

    Attributes:
        center: the value that becomes grey.
        width: the range of values between black and white, above 0.
        function: 'LINEAR_EXACT': from center - width / 2 to center + width / 2. 'LINEAR':
            DICOM's default, in which a window of width w has w whole numbers. 'SIGMOID':
            smooth at both ends.
    """

    center: float
    width: float
    function: str = 'LINEAR_EXACT'

    @classmethod
    def parse(cls, text: str) -> 'Window':
        """Read `data.window`, 'CENTER,WIDTH'.

        Raises:
            UserError: The text has another form.
        """
        try:
            center, width = map(float, text.split(','))
        except ValueError:
            center, width = math.nan, math.nan
        if not (math.isfinite(center) and 0 < width < math.inf):
            raise UserError(
                f'data.window={text}: expected CENTER,WIDTH, two numbers in the unit of the '
                'images, the width above 0. Set data.window=40,400 for soft tissue in CT, or '
                'leave it empty.'
            )
        return cls(center, width)

    def apply(self, values: Values) -> UInt8[np.ndarray, '*shape']:
        """Map values to 0 to 255. Values that are no numbers become 0."""
        return np.rint(255 * np.nan_to_num(self._fractions(values))).astype(np.uint8)

    def _fractions(self, values: Values) -> Float[np.ndarray, '*shape']:
        """Map values to 0 to 1; NaN stays NaN."""
        if self.function == 'SIGMOID':
            exponents = np.clip(-4 * (values - self.center) / self.width, -700, 700)
            return 1 / (1 + np.exp(exponents))
        center = self.center
        width = self.width
        if self.function == 'LINEAR':
            center -= 0.5
            width -= 1
        elif self.function != 'LINEAR_EXACT':
            raise Unreadable(f'its window has the unknown function {self.function}')
        if not width:
            return np.where(np.isnan(values), np.nan, values > center)
        return np.clip((values - center) / width + 0.5, 0, 1)


def seen(preprocessing: Preprocessing, text: str) -> Preprocessing:
    """A preprocessing that says which values images show.

    Args:
        preprocessing: of the images.
        text: `data.window`; empty: as the files say.
    """
    window = ()
    if text:
        parsed = Window.parse(text)
        window = (parsed.center, parsed.width)
    return dataclasses.replace(preprocessing, window=window)


def windowed(dataset: Dataset, data: Config) -> Dataset:
    """The dataset whose images show the values of `data.window`, if that is set.

    Args:
        dataset: any dataset; it may have a method `with_window(window)`.
        data: the config's `data`.

    Raises:
        UserError: The dataset has no values but bytes.
    """
    if not data.window:
        return dataset
    window = Window.parse(data.window)
    change = getattr(dataset, 'with_window', None)
    if change is None:
        raise UserError(
            f'data.window={data.window}: expected a source of volumes or DICOM files, and '
            f'{data.source} has none. Leave data.window empty.'
        )
    return change(window)
