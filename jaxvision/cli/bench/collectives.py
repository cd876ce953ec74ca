"""The collective operations of a compiled program, read from its text (HLO)."""

import math
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Integer

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
BITS = {'pred': 8, 'bf16': 16}
for _bits in (4, 8, 16, 32, 64, 128):
    BITS |= {f'{_kind}{_bits}': _bits for _kind in 'sufc'}

_INSTRUCTION = re.compile(r'\s*(?:ROOT )?%?([\w.-]+) = (.*?) ([\w-]+)\((.*)')
_ARRAY = re.compile(r'\b([a-z]+\d*\w*)\[([\d,]*)\]')
# The three forms in which XLA writes the groups of devices.
_MESH_GROUPS = re.compile(r'replica_groups=mesh\[(.*?)\](.*?)\{(.*?)\}')
_IOTA_GROUPS = re.compile(r'replica_groups=\[([\d,]+)\]<=(\[[\d,]+\](?:T\([\d,]+\))?)')
_LISTED_GROUPS = re.compile(r'(?:replica_groups|source_target_pairs)=\{\{([\d,]+)\}')
_IOTA = re.compile(r'\[([\d,]+)\](?:T\(([\d,]+)\))?')

# {name of an instruction: {element of its result, None for all of them: names of collectives}}.
Users = dict[str, dict[int | None, frozenset[str]]]


@dataclass(frozen=True)
class Collective:
    """One array that a collective operation moves. A combined operation moves several.

    Attributes:
        operation: name of the operation, which all its arrays share.
        kind: 'all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all' or
            'collective-permute'.
        dtype: dtype in HLO's notation, such as 'f32'.
        shape: shape of the result on a device.
        members: numbers of the devices of the first group; () if there are no groups.
        op_name: the name that JAX gave the operation.
        waited_for: whether a later collective of another layer depends on the array, so that
            the computation between the two has to wait.
        promoted: whether XLA reduces arrays of the operation as float32 although they are
            bfloat16, which it does on a CPU.
    """

    operation: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    members: tuple[int, ...]
    op_name: str
    waited_for: bool
    promoted: bool

    @property
    def bytes(self) -> int:
        """Bytes of the whole array: as reduced, as gathered, or before a scatter.

        For other kinds, such as all-to-all, the bytes of the result on one device.
        """
        size = math.prod(self.shape) * BITS[self.dtype] // 8
        if self.kind == 'reduce-scatter':
            return size * len(self.members)
        return size

    @property
    def group(self) -> Group:
        """The purpose, guessed from the shape, then the kind, and last the name.

        An array without axes is 'scalars', and an all-gather 'parameters gathered'. JAX
        names a 'gradient' after the transpose of a jvp. Other operations of a jvp are
        'batch statistics', and any other is 'other'.
        """
        if not self.shape:
            return 'scalars'
        if self.kind == 'all-gather':
            return 'parameters gathered'
        if 'transpose(' in self.op_name:
            return 'gradient'
        if 'jvp(' in self.op_name:
            return 'batch statistics'
        return 'other'


@dataclass(frozen=True)
class _Instruction:
    """One line of HLO: NAME = RESULT OPCODE(REST."""

    name: str
    result: str
    opcode: str
    rest: str
    operands: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The kind of collective, '' for any other instruction."""
        kind = self.opcode.removesuffix('-start')
        if kind in KINDS:
            return kind
        return ''

    @property
    def arrays(self) -> list[tuple[str, tuple[int, ...]]]:
        """(dtype, shape) of each array that the instruction results in."""
        arrays = []
        for dtype, shape in _ARRAY.findall(self.result):
            arrays.append((dtype, _integers(shape)))
        # The result of an asynchronous start is (operands, results, ...).
        if self.opcode == 'all-gather-start':
            return arrays[len(arrays) // 2 :]
        if self.opcode == 'collective-permute-start':
            return arrays[1:2]
        return arrays


def parse(hlo: str) -> list[Collective]:
    """List every array that a collective of a compiled program moves.

    Args:
        hlo: text of the program.

    Returns:
        The arrays, in the program's order. An operation inside a loop counts once.
    """
    matches = map(_INSTRUCTION.match, hlo.splitlines())
    instructions = [_instruction(match) for match in matches if match]
    users = _collective_users(instructions)
    collectives = []
    for instruction in instructions:
        if instruction.kind:
            collectives += _collectives_of(instruction, users)
    return collectives


def _instruction(match: re.Match) -> _Instruction:
    name, result, opcode, rest = match.groups()
    operands = re.findall(r'%([\w.-]+)', rest.split(')')[0])
    return _Instruction(name, result, opcode, rest, tuple(operands))


def _collectives_of(instruction: _Instruction, users: Users) -> list[Collective]:
    """The arrays that one collective moves."""
    arrays = instruction.arrays
    op_names = _op_names(instruction.rest, len(arrays))
    members = _members(instruction.rest)
    users_of_element = users[instruction.name]
    collectives = []
    for index, (dtype, shape) in enumerate(arrays):
        op_name = op_names[index]
        dependents = users_of_element[index] | users_of_element[None]
        collective = Collective(
            operation=instruction.name,
            kind=instruction.kind,
            dtype=dtype,
            shape=shape,
            members=members,
            op_name=op_name,
            waited_for=bool(dependents - {op_name}),
            promoted='_promoted' in instruction.rest,
        )
        collectives.append(collective)
    return collectives


def _collective_users(instructions: list[_Instruction]) -> Users:
    """The collectives that depend on each result, without those of scalars.

    Users come after the results that they use, so one pass from the end is enough.
    """
    users = defaultdict(lambda: defaultdict(frozenset))
    for instruction in reversed(instructions):
        users_of_element = users[instruction.name]
        # A collective adds the name of each array that it moves, in the order of its operands.
        names_by_array = []
        if instruction.kind:
            shapes = [shape for _, shape in _ARRAY.findall(instruction.result)]
            op_names = _op_names(instruction.rest, len(shapes))
            for shape, op_name in zip(shapes, op_names, strict=True):
                names_by_array.append({op_name} if shape else set())
        element = None
        if instruction.opcode == 'get-tuple-element':
            index = re.search(r'index=(\d+)', instruction.rest)
            if index:
                element = int(index[1])
        for place, operand in enumerate(instruction.operands):
            if len(names_by_array) == len(instruction.operands):
                array_users = users_of_element[place]
                names = users_of_element[None].union(array_users, names_by_array[place])
            else:
                names = frozenset().union(*users_of_element.values(), *names_by_array)
            users[operand][element] |= names
    return users


def _op_names(rest: str, count: int) -> list[str]:
    """The op_name of each array. A combined operation has one name, 'prefix/(a:b:c)'."""
    match = re.search(r'op_name="([^"]*)"', rest)
    name = match[1] if match else ''
    start = -1
    if name.endswith(')') and '/(' in name:
        start = name.find('(', name.rfind('/('))
    if count == 1 or start < 0:
        return [name] * count
    parts = name[start + 1 : -1].split(':')
    if len(parts) != count:
        return [name] * count
    return [name[:start] + part for part in parts]


def _members(rest: str) -> tuple[int, ...]:
    """The devices of the first group of an operation, () if it has no groups."""
    match = _MESH_GROUPS.search(rest)
    if match:
        return _members_of_mesh(*match.groups())
    match = _IOTA_GROUPS.search(rest)
    if match:
        table = _iota(match[2]).reshape(_integers(match[1]))
        return tuple(table[0].tolist())
    match = _LISTED_GROUPS.search(rest)
    if match:
        return _integers(match[1])
    return ()


def _members_of_mesh(mesh_text: str, ids_text: str, group_text: str) -> tuple[int, ...]:
    """The first group along some axes of a mesh of devices.

    Args:
        mesh_text: names and sizes of all axes, such as "'x'=4,'y'=2".
        ids_text: the order of the devices, see `_iota`; without one, they are in order.
        group_text: names of the axes of a group, such as "'x'".
    """
    sizes = {}
    for axis, size in re.findall(r"'(\w+)'=(\d+)", mesh_text):
        sizes[axis] = int(size)
    ids = np.arange(math.prod(sizes.values()))
    if '[' in ids_text:
        ids = _iota(ids_text)
    names = list(sizes)
    axes = [names.index(axis) for axis in re.findall(r"'(\w+)'", group_text)]
    table = ids.reshape(*sizes.values())
    groups_last = np.moveaxis(table, axes, range(-len(axes), 0))
    group_size = math.prod(groups_last.shape[-len(axes) :])
    groups = groups_last.reshape(-1, group_size)
    return tuple(groups[0].tolist())


def _iota(text: str) -> Integer[np.ndarray, 'n']:
    """Read an order of devices: '[2,4]T(1,0)' is 0 to 7 in a 2x4 table, transposed, flat."""
    shape_text, order_text = _IOTA.search(text).groups()
    shape = _integers(shape_text)
    table = np.arange(math.prod(shape)).reshape(shape)
    if order_text:
        table = table.transpose(_integers(order_text))
    return table.reshape(-1)


def _integers(text: str) -> tuple[int, ...]:
    """Read '2,4' as (2, 4), and '' as ()."""
    return tuple(int(number) for number in text.split(',') if number)
