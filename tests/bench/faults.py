"""A change of the package that tests have to notice."""

from typing import NamedTuple


class Fault(NamedTuple):
    """A change of the code that must make tests fail.

    Attributes:
        pitfall: its number, or its first word, and what is wrong.
        file: in the package.
        old: text that occurs exactly once.
        new: the same text with the fault.
        tests: pytest's ids of the tests that must fail.
    """

    pitfall: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
