"""The data of a run: a source per split as its task sees it, and its unreadable files."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.registry import resolve
from jaxvision.core.spec import Preprocessing
from jaxvision.core.types import Split
from jaxvision.data import content
from jaxvision.data.protocol import Source, fingerprint
from jaxvision.data.sources import Parts
from jaxvision.train import processes, synthetic


class Sources(dict):
    """Each split's source as the task sees it, opened when it is first asked for, and checked to be
    the data that the run began with."""

    def __init__(
        self,
        config: Config,
        fingerprints: dict[str, str] | None = None,
        open_split: Callable[[Config, Split], Source] | None = None,
        preprocessing: Preprocessing | None = None,
    ):
        """Open no split yet.

        Args:
            config: of the run.
            fingerprints: {split: that of the data that the run began with}.
            open_split: opens a split of `config.data`; None: as the config says.
            preprocessing: of the run, None before it has begun.
        """
        self._preprocessing = preprocessing
        self._config, self._fingerprints = config, fingerprints or {}
        self._open_split = open_split
        self._opened: dict[Split, Source] = {}

    def __missing__(self, split: Split) -> Source:
        config = self._config
        if self._open_split:
            source = self._open_split(config.data, split)
        else:
            source = self._parts.open(split)
        self._opened[split] = source
        view = getattr(resolve('tasks', config.task.name), 'source', None)
        if view:
            source = view(config, source, split, self._preprocessing)
        if config.data.synthetic and split == 'train':
            source = synthetic.mixed(config.data, source)
        if source.info.fingerprint != self._fingerprints.get(
            split, source.info.fingerprint
        ):
            raise UserError(
                f'the {split} data of {config.data.source} changed since this run '
                'began. Bring them back, or begin in another --workdir'
            )
        self[split] = source
        return source

    @functools.cached_property
    def splits(self) -> tuple[Split, ...]:
        """The splits that there are: 'train', 'test' and perhaps 'validation'."""
        if not self._open_split and self._parts.has_validation:
            return ('train', 'validation', 'test')
        return ('train', 'test')

    @functools.cached_property
    def _parts(self) -> Parts:
        """The parts of the dataset, which is listed when the first split is asked for."""
        data = self._config.data
        return Parts(data, functools.partial(_identify, data))

    def opened(self) -> dict[Split, Source]:
        """The splits that were opened, as the dataset has them and no task yet."""
        opened: dict[Split, Source] = {}
        for split in self.splits:
            if split in self._opened:
                opened[split] = self._opened[split]
        return opened

    def of(self, config: Config) -> 'Sources':
        """Those of another config, opened in the same way."""
        return Sources(config, open_split=self._open_split)


def _identify(data: Config, paths: Sequence[Path]) -> list[str]:
    """Identify files, which the first process alone hashes."""
    names = fingerprint([path.name for path in paths])
    processes.agree('data', {'files': len(paths), 'names': names})
    contents = []
    if processes.is_first():
        contents = content.identify(paths, 1e9 * data.hash_limit, processes.say)
    return processes.of_first(contents)


class Unreadable:
    """Says once of each unreadable file that the run goes on without it."""

    def __init__(self):
        self._seen = set()

    def add(self, where: str, error: Exception) -> None:
        if where not in self._seen:
            self._seen.add(where)
            print(
                f'unreadable, left out ({len(self._seen)} so far): {where}: {error}',
                flush=True,
            )
