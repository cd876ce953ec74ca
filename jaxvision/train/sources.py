"""The data of a run: one source per split, as the task sees it."""

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
    """The source of each split as the task sees it: {split: source}.

    A split is opened at its first use, `sources[split]`. The methods of `dict`, such as
    `get` and iteration, open none. A UserError is raised if the fingerprint of a split is
    not that of the data with which the run began.
    """

    def __init__(
        self,
        config: Config,
        fingerprints: dict[str, str] | None = None,
        open_split: Callable[[Config, Split], Source] | None = None,
        preprocessing: Preprocessing | None = None,
    ):
        """Open no split yet.

        Args:
            config: the config of the run.
            fingerprints: {split: fingerprint} of the data with which the run began;
                None: a new run, without comparison.
            open_split: `open_split(config.data, split)` of a dataset with the splits
                'train' and 'test'; None: open `data.source`.
            preprocessing: the preprocessing of the spec; None while the spec is built.
        """
        self._config = config
        self._fingerprints = fingerprints or {}
        self._open_split = open_split
        self._preprocessing = preprocessing
        self._opened: dict[Split, Source] = {}

    def __missing__(self, split: Split) -> Source:
        data = self._config.data
        if self._open_split:
            source = self._open_split(data, split)
        else:
            source = self._parts.open(split)
        self._opened[split] = source
        source = self._as_task_sees(source, split)
        if data.synthetic and split == 'train':
            source = synthetic.mixed(data, source)
        self._check_fingerprint(source, split)
        self[split] = source
        return source

    def _as_task_sees(self, source: Source, split: Split) -> Source:
        """Wrap a source by the function `source` of the task, if the task has one."""
        wrap = getattr(resolve('tasks', self._config.task.name), 'source', None)
        if not wrap:
            return source
        return wrap(self._config, source, split, self._preprocessing)

    def check_all(self) -> None:
        """Check that the data of every split is the data with which the run began.

        Raises:
            UserError: The data of a split changed, or cannot be opened.
        """
        for split in self._fingerprints:
            self._check_fingerprint(self[split], split)

    def _check_fingerprint(self, source: Source, split: str) -> None:
        if split not in self._fingerprints:
            return
        if source.info.fingerprint != self._fingerprints[split]:
            raise UserError(
                f'the {split} data of {self._config.data.source} changed since this run '
                'began. Restore the data, or begin a new run in another --workdir'
            )

    @functools.cached_property
    def splits(self) -> tuple[Split, ...]:
        """The splits: ('train', 'test') or ('train', 'validation', 'test').

        Sources with `open_split` have no 'validation'.
        """
        if not self._open_split and self._parts.has_validation:
            return ('train', 'validation', 'test')
        return ('train', 'test')

    @functools.cached_property
    def _parts(self) -> Parts:
        """The parts of the dataset, which is listed at the first use of a split."""
        data = self._config.data
        return Parts(data, functools.partial(_identify, data))

    def opened(self) -> dict[Split, Source]:
        """Return the splits opened so far, {split: source} in the order of `splits`.

        These are the sources of the dataset, before any wrapping by the task.
        """
        opened: dict[Split, Source] = {}
        for split in self.splits:
            if split in self._opened:
                opened[split] = self._opened[split]
        return opened

    def of(self, config: Config) -> 'Sources':
        """Make the sources of another config, with the same `open_split`.

        The config belongs to another run, so no fingerprints are compared.
        """
        return Sources(config, open_split=self._open_split)


def _identify(data: Config, paths: Sequence[Path]) -> list[str]:
    """Identify files by their content, which only process 0 hashes."""
    names = fingerprint([path.name for path in paths])
    processes.agree('data', {'files': len(paths), 'names': names})
    contents = []
    if processes.is_first():
        contents = content.identify(paths, 1e9 * data.hash_limit, processes.say)
    return processes.of_first(contents)


class Unreadable:
    """Print each unreadable file once, while the run continues without it."""

    def __init__(self):
        """Begin without unreadable files."""
        self._places = set()

    def add(self, where: str, error: Exception) -> None:
        """Print an unreadable file and the number so far, but each file once.

        Every process prints the files that it reads to its standard output.

        Args:
            where: the place of the file, such as its path. Equal places are one file.
            error: the error of reading it.
        """
        if where in self._places:
            return
        self._places.add(where)
        count = len(self._places)
        print(f'unreadable, left out ({count} so far): {where}: {error}', flush=True)
