"""Captions as arrays: word numbers, and texts as bytes."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Int32, UInt8

from jaxvision.data.protocol import Unreadable
from jaxvision.metrics.captions import References, tokenize
from jaxvision.models.sequence.decoding import BEGIN, END, UNKNOWN

_SPECIAL = {END: '<end>', BEGIN: '<begin>', UNKNOWN: '<unknown>'}


def vocabulary(captions: Iterable[References], fewest: int) -> tuple[str, ...]:
    """Number the words of captions: END, BEGIN, UNKNOWN, then words by frequency.

    Args:
        captions: the tokenized captions of each example.
        fewest: smallest number of occurrences of a word in the vocabulary.

    Returns:
        The words by number. Equally frequent words are in alphabetical order.
    """
    all_captions = itertools.chain.from_iterable(captions)
    counts = Counter(itertools.chain.from_iterable(all_captions))
    special = [_SPECIAL[number] for number in range(len(_SPECIAL))]
    frequent = [word for word, count in counts.items() if count >= fewest]
    frequent.sort(key=lambda word: (-counts[word], word))
    return *special, *frequent


def make_numbering(
    words: Sequence[str], shape: Iterable[int]
) -> Callable[[Sequence[str]], Int32[np.ndarray, 'r l']]:
    """Build the function that converts texts to word numbers.

    Args:
        words: the vocabulary.
        shape: (texts, length) of the result. Texts beyond this number are left out. Short
            texts are padded with END, long texts are cut, so that the last number is END.

    Returns:
        `(texts) -> int32 [texts, length]`. A word outside the vocabulary becomes UNKNOWN, and a
        missing text a row of END.
    """
    numbers = {word: number for number, word in enumerate(words)}

    def number(texts: Sequence[str]) -> Int32[np.ndarray, 'r l']:
        array = np.full(tuple(shape), END, np.int32)
        for line, text in zip(array, texts, strict=False):
            word_numbers = [numbers.get(word, UNKNOWN) for word in tokenize(text)]
            kept = word_numbers[: len(line) - 1]
            line[: len(kept)] = kept
        return array

    return number


def to_words(words: Sequence[str], tokens: Int32[np.ndarray, 'l']) -> list[str]:
    """Return the words of a caption, given as word numbers, before the first END."""
    before_end = itertools.takewhile(lambda token: token != END, tokens.tolist())
    return [words[int(token)] for token in before_end]


def as_bytes(texts: Iterable[str]) -> bytes:
    """Encode texts as UTF-8, with a line break between two texts and none at the end.

    White space within a text, line breaks included, becomes single spaces. White space
    around a text is removed.
    """
    return '\n'.join(' '.join(text.split()) for text in texts).encode()


def pad(text: bytes, size: int) -> UInt8[np.ndarray, '{size}']:
    """Pad encoded text with zeros at the end to `size` bytes, as a read-only array.

    Raises:
        Unreadable: The text is longer.
    """
    if len(text) > size:
        raise Unreadable(
            f'its captions have {len(text)} bytes, more than the limit {size}'
        )
    return np.frombuffer(text.ljust(size, b'\0'), np.uint8)
