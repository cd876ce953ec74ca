"""Text that fits into figures."""

import functools
import os
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Figures import Pillow only when they draw.
    from PIL.ImageFont import FreeTypeFont

LONGEST_LABEL = 22  # characters
SIZE = 14  # height of the font, pixels


@functools.cache
def font(size: int = SIZE) -> 'FreeTypeFont':
    """Load the font of pictures, which has letters of many scripts.

    Args:
        size: height in pixels.
    """
    from matplotlib import get_data_path
    from PIL import ImageFont

    path = os.path.join(get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf')
    return ImageFont.truetype(path, size)


def cut_to_width(name: str, font: 'FreeTypeFont', width: int) -> str:
    """Write a name on one line, and cut it to a width.

    Args:
        name: the text.
        font: the font of Pillow that will draw the text.
        width: largest width in pixels.

    Returns:
        The text with single spaces, and with '…' at its end if it was cut.
    """
    printable = name.encode(errors='replace').decode()
    name = ' '.join(printable.split())
    if font.getlength(name) <= width:
        return name
    while name and font.getlength(name + '…') > width:
        name = name[:-1]
    return name.rstrip() + '…'


def shortened(name: str) -> str:
    """Cut a name to at most 22 characters; a name that was longer ends with '…'."""
    if len(name) <= LONGEST_LABEL:
        return name
    return name[: LONGEST_LABEL - 1] + '…'


def wrapped(caption: str, width: int) -> str:
    """Wrap a caption to at most three lines of `width` characters, with ' …' if cut."""
    return '\n'.join(textwrap.wrap(caption, width, max_lines=3, placeholder=' …'))
