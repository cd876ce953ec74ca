"""Lets `bench --synthetic` run where only JAX, Flax and Optax are installed.

The modules on the way to a compiled update import more than the update uses. Packages of these that
are absent are stood in for: jaxtyping by annotations that say nothing, ml_collections by its
ConfigDict in small, and any other by a module of which nothing can be called.
"""

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from jaxvision.core.errors import UserError, unknown

PACKAGES = (
    'PIL',
    'av',
    'cv2',
    'grain',
    'h5py',
    'jaxtyping',
    'ml_collections',
    'simplejpeg',
    'tensorboard',
    'tensorflow_datasets',
)
SETTINGS = (
    'cv2.setNumThreads',
)  # called as its user is imported; there is nothing to set


def install() -> None:
    """Stand in for those of PACKAGES that are not installed, before anything imports them."""
    # First, what asks for some of the same packages and copes where they are not there.
    for package in ('jax', 'flax', 'optax', 'orbax.checkpoint'):
        importlib.import_module(package)
    sys.meta_path.append(StandIns(name for name in PACKAGES if not _is_installed(name)))


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds empty modules in the place of absent packages and of all inside them."""

    def __init__(self, packages: Iterable[str]):
        self._packages = frozenset(packages)

    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in self._packages:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        kinds = {'jaxtyping': Annotations, 'ml_collections': Configs}
        return kinds.get(spec.name, Empty)(spec.name)

    def exec_module(self, module):
        pass


class Annotations(ModuleType):
    """Float[Array, 'h w c'] says nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)
        return Annotation


class Annotation:
    def __class_getitem__(cls, item):
        return Any


class Empty(ModuleType):
    """Everything can be imported from it, and nothing called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)
        return Absent(f'{self.__name__}.{name}')


class Absent:
    """A name in a package that is not installed."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> 'Absent':
        return Absent(f'{self._name}.{name}')

    def __or__(self, other: Any) -> Any:
        return Any

    __ror__ = __or__

    def __call__(self, *arguments, **named):
        if self._name in SETTINGS:
            return
        package = self._name.partition('.')[0]
        raise UserError(
            f'this config needs {self._name}, and {package} is not installed here'
        )

    def __mro_entries__(self, bases: tuple) -> tuple:
        return self()  # raises: a class derived from it needs it


class ConfigDict(dict):
    """ml_collections.ConfigDict as the configs use it: fields as attributes, nested; once locked it
    takes no new ones, and each keeps its type."""

    def __init__(self, initial: dict | None = None):
        super().__init__()
        object.__setattr__(self, '_locked', False)
        for name, value in (initial or {}).items():
            self[name] = value

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(str(unknown('there is no field', name, self)))
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in self and self._locked:
            raise KeyError(str(unknown('there is no field', name, self)))
        if isinstance(value, dict) and not isinstance(value, ConfigDict):
            value = ConfigDict(value)
        super().__setitem__(name, self._typed(name, value))

    def _typed(self, name: str, value: Any) -> Any:
        old = self.get(name)
        if type(old) is float and type(value) is int:
            return float(value)
        if None not in (old, value) and not isinstance(value, type(old)):
            raise TypeError(f'{name}={value!r}: expected something like {old!r}')
        return value

    def lock(self) -> 'ConfigDict':
        return self._set_locked(True)

    def _set_locked(self, locked: bool) -> 'ConfigDict':
        object.__setattr__(self, '_locked', locked)
        for value in self.values():
            if isinstance(value, ConfigDict):
                value._set_locked(locked)
        return self

    @contextlib.contextmanager
    def unlocked(self) -> Iterator[None]:
        before = self._locked
        self._set_locked(False)
        try:
            yield
        finally:
            self._set_locked(before)

    def to_dict(self) -> dict:
        return {
            name: value.to_dict() if isinstance(value, ConfigDict) else value
            for name, value in self.items()
        }


class Configs(ModuleType):
    ConfigDict = ConfigDict
