"""The request of a user: which checkpoint is attacked, how, and on which images."""

import dataclasses
from pathlib import Path

from jaxvision.cli.attack.settings import Settings
from jaxvision.cli.runs import Checkpoint
from jaxvision.core.types import Json, Split


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """The attacked run and the settings of the attack.

    Attributes:
        victim: the attacked checkpoint.
        settings: the attack.
        split: the split of the images.
        count: the most images.
        batch_size: images that are attacked together.
        out: the output folder.
        pictures: whether to draw pictures.
    """

    victim: Checkpoint
    settings: Settings
    split: Split
    count: int
    batch_size: int
    out: Path
    pictures: bool

    def arguments(self) -> Json:
        """Everything on which the results depend."""
        return {
            **self.victim.arguments(),
            'split': self.split,
            'count': self.count,
            'batch_size': self.batch_size,
            'radii': list(self.settings.texts),
            **self.settings.to_json(),
        }
