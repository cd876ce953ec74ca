"""The videos among the user's files."""

import dataclasses
import os

from jaxvision.cli.predict.predictor import Request
from jaxvision.data import video

# A GIF is an image to Pillow, and animated ones are rare.
SUFFIXES = video.SUFFIXES - {'.gif'}


def is_video(path: str) -> bool:
    """Whether the suffix of a path, in any case, is that of a video, not of a GIF."""
    return os.path.splitext(path)[1].lower() in SUFFIXES


def split(request: Request) -> tuple[Request, Request]:
    """Divide a request into (one with the videos, one with the images), in their order."""
    videos = [path for path in request.paths if is_video(path)]
    images = [path for path in request.paths if not is_video(path)]
    return (
        dataclasses.replace(request, paths=videos),
        dataclasses.replace(request, paths=images),
    )
