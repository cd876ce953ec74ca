"""Images of one size that follow each other, such as frames and slices, and their strips."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from jaxvision.cli.predict.segmentation_views import Strip, Tiling, Views
from jaxvision.data import decode, image_rows

Frame = UInt8[np.ndarray, '_ _ c']


def segmented(
    views: Views, tiling: Tiling | None, frames: Sequence[Frame], size: int
) -> Iterator[tuple[Frame, Iterable[Strip]]]:
    """Yield each image with the strips of its prediction.

    Args:
        views: of the network.
        tiling: tiles of an image; None: an image is seen as a whole.
        frames: the images, at most `size`.
        size: of a batch.
    """
    stored = [decode.decode(frame, views.channels) for frame in frames]
    if tiling is not None:
        for frame, pixels in zip(frames, stored, strict=True):
            rows = image_rows.ImageRows.of(pixels)
            yield frame, views.tiled(rows, tiling, _nothing, _nothing)
        return
    examples = [views.prepare(pixels) for pixels in stored]
    outputs = views.predict_each(examples, size)
    for frame, example, output in zip(frames, examples, outputs, strict=True):
        yield frame, views.whole(example, output)


def _nothing(*arguments: object) -> None:
    """Take no notice."""
