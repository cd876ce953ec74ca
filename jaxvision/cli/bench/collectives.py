"""The collective operations of a compiled program, read from its text (HLO)."""

import math
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import numpy as np

Group = Literal[
    'gradient', 'batch statistics', 'parameters gathered', 'scalars', 'other'
]

KINDS = (
    'all-reduce',
    'all-gather',
    'reduce-scatter',
    'all-to-all',
    'collective-permute',
)
BITS = {
    'pred': 8,
    'bf16': 16,
    **{f'{kind}{bits}': bits for kind in 'sufc' for bits in (4, 8, 16, 32, 64, 128)},
}

_INSTRUCTION = re.compile(r'\s*(?:ROOT )?%?([\w.-]+) = (.*?) ([\w-]+)\((.*)')
_ARRAY = re.compile(r'\b([a-z]+\d*\w*)\[([\d,]*)\]')


@dataclass(frozen=True)
class Collective:
    """One array that a collective moves; a combined operation has several, of one `operation`."""

    operation: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    members: tuple[int, ...]  # the devices of its first group
    op_name: str
    waited_for: bool  # a later collective of another layer, so the computation between, needs it
    promoted: bool  # XLA for CPUs reduces bfloat16 arrays as float32: some of this operation were

    @property
    def bytes(self) -> int:
        """Of the whole array: what is reduced, gathered, or (before it) scattered."""
        scattered = len(self.members) if self.kind == 'reduce-scatter' else 1
        return math.prod(self.shape) * BITS[self.dtype] // 8 * scattered

    @property
    def group(self) -> Group:
        """By the name that JAX gave the operation: a gradient is the transpose of a jvp, and what
        the forward pass reduces over the batch are its statistics."""
        if not self.shape:
            return 'scalars'
        if self.kind == 'all-gather':
            return 'parameters gathered'
        if 'transpose(' in self.op_name:
            return 'gradient'
        return 'batch statistics' if 'jvp(' in self.op_name else 'other'


@dataclass(frozen=True)
class _Instruction:
    name: str
    result: str
    opcode: str
    rest: str
    operands: tuple[str, ...]

    @property
    def kind(self) -> str:
        kind = self.opcode.removesuffix('-start')
        return kind if kind in KINDS else ''


def parse(hlo: str) -> list[Collective]:
    """Every array that a collective of a compiled program moves, in the program's order.

    An operation inside a loop counts once.
    """
    instructions = [
        _instruction(match)
        for match in map(_INSTRUCTION.match, hlo.splitlines())
        if match
    ]
    needed_by = _needed_by(instructions)
    return [
        collective
        for one in instructions
        if one.kind
        for collective in _elements(one, needed_by)
    ]


def _instruction(match: re.Match) -> _Instruction:
    name, result, opcode, rest = match.groups()
    operands = re.findall(r'%([\w.-]+)', rest.split(')')[0])
    return _Instruction(name, result, opcode, rest, tuple(operands))


def _elements(one: _Instruction, needed_by: dict) -> list[Collective]:
    arrays = _ARRAY.findall(one.result)
    if one.opcode in (
        'all-gather-start',
        'collective-permute-start',
    ):  # (operands, results, ...)
        arrays = arrays[len(arrays) // 2 :] if one.kind == 'all-gather' else arrays[1:2]
    names, members = _op_names(one.rest, len(arrays)), _members(one.rest)
    return [
        Collective(
            one.name,
            one.kind,
            dtype,
            tuple(map(int, filter(None, shape.split(',')))),
            members,
            op_name,
            bool((needed_by[one.name][index] | needed_by[one.name][None]) - {op_name}),
            '_promoted' in one.rest,
        )
        for index, ((dtype, shape), op_name) in enumerate(
            zip(arrays, names, strict=True)
        )
    ]


def _needed_by(
    instructions: list[_Instruction],
) -> dict[str, dict[int | None, frozenset]]:
    """{name: {element: op_names of the collectives, scalars aside, that depend on it}}; element
    None is the whole result. Users come after what they use, so one pass from the end is enough."""
    needed_by = defaultdict(lambda: defaultdict(frozenset))
    for one in reversed(instructions):
        mine, names = needed_by[one.name], []
        if one.kind:
            arrays = _ARRAY.findall(one.result)
            names = [
                {name} if shape else set()
                for (_, shape), name in zip(
                    arrays, _op_names(one.rest, len(arrays)), strict=True
                )
            ]
        index = (
            re.search(r'index=(\d+)', one.rest)
            if one.opcode == 'get-tuple-element'
            else None
        )
        for place, operand in enumerate(one.operands):
            if len(names) == len(one.operands):  # array by array
                found = mine[None].union(mine[place], names[place])
            else:
                found = frozenset().union(*mine.values(), *names)
            needed_by[operand][int(index[1]) if index else None] |= found
    return needed_by


def _op_names(rest: str, count: int) -> list[str]:
    """The op_name of each array; a combined operation has 'prefix/(a:b:c)'."""
    match = re.search(r'op_name="([^"]*)"', rest)
    name = match[1] if match else ''
    start = (
        name.find('(', name.rfind('/(')) if name.endswith(')') and '/(' in name else -1
    )
    if count == 1 or start < 0:
        return [name] * count
    parts = name[start + 1 : -1].split(':')
    return (
        [name[:start] + part for part in parts]
        if len(parts) == count
        else [name] * count
    )


def _members(rest: str) -> tuple[int, ...]:
    """The first replica group, of any of the forms in which XLA writes them."""
    if match := re.search(r'replica_groups=mesh\[(.*?)\](.*?)\{(.*?)\}', rest):
        sizes = {
            axis: int(size) for axis, size in re.findall(r"'(\w+)'=(\d+)", match[1])
        }
        ids = (
            _iota(match[2]) if '[' in match[2] else np.arange(math.prod(sizes.values()))
        )
        axes = [list(sizes).index(axis) for axis in re.findall(r"'(\w+)'", match[3])]
        groups = np.moveaxis(ids.reshape(*sizes.values()), axes, range(-len(axes), 0))
        return tuple(
            groups.reshape(-1, math.prod(groups.shape[-len(axes) :]))[0].tolist()
        )
    if match := re.search(
        r'replica_groups=\[([\d,]+)\]<=(\[[\d,]+\](?:T\([\d,]+\))?)', rest
    ):
        return tuple(
            _iota(match[2]).reshape(*map(int, match[1].split(',')))[0].tolist()
        )
    if match := re.search(
        r'(?:replica_groups|source_target_pairs)=\{\{([\d,]+)\}', rest
    ):
        return tuple(map(int, match[1].split(',')))
    return ()


def _iota(text: str) -> np.ndarray:
    """[2,4]T(1,0) is 0 to 7 in a 2x4 table, transposed, in a row."""
    shape, order = re.search(r'\[([\d,]+)\](?:T\(([\d,]+)\))?', text).groups()
    shape = [int(size) for size in shape.split(',')]
    order = [int(axis) for axis in order.split(',')] if order else range(len(shape))
    return np.arange(math.prod(shape)).reshape(shape).transpose(order).reshape(-1)
