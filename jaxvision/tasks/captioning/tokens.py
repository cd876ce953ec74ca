"""Captions as arrays: words by number, and texts as bytes."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Int32, UInt8

from jaxvision.data.protocol import Unreadable
from jaxvision.metrics.captions import tokenize
from jaxvision.models.sequence.decoding import BEGIN, END, UNKNOWN


def vocabulary(captions: list[list[list[str]]], fewest: int) -> list[str]:
    """The tokens by number: those with a meaning of their own, then words, the commonest first."""
    counts = Counter(word for each in captions for caption in each for word in caption)
    known = [word for word, count in counts.items() if count >= fewest]
    special = {END: '<end>', BEGIN: '<begin>', UNKNOWN: '<unknown>'}
    return [
        *map(special.get, range(len(special))),
        *sorted(known, key=lambda word: (-counts[word], word)),
    ]


def numbering(
    words: list[str], shape: Iterable[int]
) -> Callable[[list[str]], Int32[np.ndarray, 'r l']]:
    """Texts -> int32 [R, L], a line each, as far as there are lines: its words' numbers, with END
    in the last place at least."""
    numbers = {word: number for number, word in enumerate(words)}

    def number(texts: list[str]) -> Int32[np.ndarray, 'r l']:
        found = np.full(tuple(shape), END, np.int32)
        for line, text in zip(found, texts):
            tokens = [numbers.get(word, UNKNOWN) for word in tokenize(text)]
            line[: min(len(tokens), len(line) - 1)] = tokens[: len(line) - 1]
        return found

    return number


def wording(words: list[str], tokens: Int32[np.ndarray, 'l']) -> list[str]:
    """The words before END."""
    said = itertools.takewhile(lambda token: token != END, tokens.tolist())
    return [words[token] for token in said]


def as_bytes(texts: list[str]) -> bytes:
    """A line each."""
    return '\n'.join(' '.join(text.split()) for text in texts).encode()


def padded(text: bytes, room: int) -> UInt8[np.ndarray, '{room}']:
    if len(text) > room:
        raise Unreadable(
            f'its captions are {len(text)} bytes, of {room} that there is room for'
        )
    return np.frombuffer(text.ljust(room, b'\0'), np.uint8)
