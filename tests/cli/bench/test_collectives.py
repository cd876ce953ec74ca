"""The parser against programs written by hand, and against sums whose size is known."""

import subprocess
import sys
import textwrap

import pytest

from jaxvision.cli.bench.collectives import parse

MESH = "replica_groups=mesh['axis_0'=2,'axis_1'=4] "


def parse_line(line):
    [collective] = parse(f'ENTRY %main {{\n  {line}\n}}')
    return collective


@pytest.mark.parametrize(
    'line, kind, dtype, size, members',
    [
        (
            '%a = f32[3,5]{1,0} all-reduce(%x), replica_groups={{0,1},{2,3}}, to_apply=%add',
            'all-reduce',
            'f32',
            60,
            (0, 1),
        ),
        (
            'ROOT %a = bf16[8,4]{1,0:T(8,128)} all-gather(%x), '
            'replica_groups=[2,4]<=[8], dimensions={0}',
            'all-gather',
            'bf16',
            64,
            (0, 1, 2, 3),
        ),
        (
            '%a = f32[2]{0} reduce-scatter(%x), replica_groups=[4,2]<=[2,4]T(1,0), dimensions={0}',
            'reduce-scatter',
            'f32',
            16,
            (0, 4),
        ),
        (
            '%a = f32[] all-reduce(%x), ' + MESH + "{'axis_0','axis_1'}, to_apply=%add",
            'all-reduce',
            'f32',
            4,
            tuple(range(8)),
        ),
        (
            '%a = f32[7]{0} all-reduce(%x), ' + MESH + "{'axis_0'}, to_apply=%add",
            'all-reduce',
            'f32',
            28,
            (0, 4),
        ),
        (
            "%a = f32[7]{0} all-reduce(%x), replica_groups=mesh['x'=4,'y'=2], "
            "device_ids=([2,4]T(1,0)) {'x'}, to_apply=%add",
            'all-reduce',
            'f32',
            28,
            (0, 1, 2, 3),
        ),
        (
            '%a = (f32[2]{0}, f32[8]{0}) all-gather-start(%x), '
            'replica_groups=[1,4]<=[4], dimensions={0}',
            'all-gather',
            'f32',
            32,
            (0, 1, 2, 3),
        ),
        (
            '%a = (u8[6]{0}, u8[6]{0}, u32[], u32[]) collective-permute-start(%x), '
            'source_target_pairs={{0,1},{1,0}}',
            'collective-permute',
            'u8',
            6,
            (0, 1),
        ),
        (
            '%a = s8[9]{0} all-to-all(%x), replica_groups={{0,1,2}}',
            'all-to-all',
            's8',
            9,
            (0, 1, 2),
        ),
    ],
)
def test_kind_bytes_and_group_of_every_form(line, kind, dtype, size, members):
    collective = parse_line(line)
    assert (
        collective.kind,
        collective.dtype,
        collective.bytes,
        collective.members,
    ) == (
        kind,
        dtype,
        size,
        members,
    )


COMBINED = """
  %c = (f32[4]{0}, f32[], f32[2,3]{1,0}) all-reduce(%x, %y, %z), replica_groups={{0,1}},
to_apply=%add, metadata={op_name="jit(f)/(jvp(M)/norm/sum:jvp()/sum:transpose(jvp(M))/dot)"}
""".replace(',\nto', ', to')


def test_a_combined_operation_is_several_arrays_with_their_names():
    collectives = parse(COMBINED)
    assert [c.bytes for c in collectives] == [16, 4, 24]
    assert {c.operation for c in collectives} == {'c'}
    assert [c.op_name for c in collectives] == [
        'jit(f)/jvp(M)/norm/sum',
        'jit(f)/jvp()/sum',
        'jit(f)/transpose(jvp(M))/dot',
    ]
    assert [c.group for c in collectives] == ['batch statistics', 'scalars', 'gradient']


def test_other_instructions_are_left_out():
    assert not parse("""
      %a = f32[4]{0} add(%all-reduce.1, %b)
      %b = f32[4]{0} all-reduce-done(%s)
      %c = f32[4]{0} fusion(%x), metadata={op_name="all-reduce(a)"}""")


def test_arrays_that_a_collective_of_another_layer_needs_are_waited_for():
    collectives = parse("""
      %one = (f32[4]{0}, f32[6]{0}) all-reduce(%x, %y), metadata={op_name="f/(a:b)"}
      %a = f32[4]{0} get-tuple-element(%one), index=0
      %b = f32[6]{0} get-tuple-element(%one), index=1
      %n = f32[4]{0} negate(%a)
      %two = f32[4]{0} all-reduce(%n), metadata={op_name="f/c"}
      %sum = f32[] all-reduce(%r), metadata={op_name="f/norm"}
      ROOT %out = (f32[6]{0}, f32[4]{0}, f32[]) tuple(%b, %two, %sum)""")
    assert [c.waited_for for c in collectives] == [True, False, False, False]


def test_collectives_of_a_compiled_program_have_the_expected_size():
    script = """
        import os
        os.environ['JAX_PLATFORMS'] = 'cpu'
        os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=4'
        import jax, jax.numpy as jnp, numpy as np
        from jax.sharding import Mesh, PartitionSpec as P
        from jaxvision.cli.bench.collectives import parse
        mesh = Mesh(np.array(jax.devices()).reshape(2, 2), ('a', 'b'))
        def program(function, dtype, out):
            mapped = jax.shard_map(function, mesh=mesh, in_specs=P('a', 'b'), out_specs=out,
                                   check_vma=False)
            shape = jax.ShapeDtypeStruct((8, 6), dtype)
            [sent] = parse(jax.jit(mapped).lower(shape).compile().as_text())
            return sent.kind, sent.bytes, sent.members, sent.promoted
        psum, gather = jax.lax.psum, jax.lax.all_gather
        got = [program(lambda x: psum(x, ('a', 'b')), jnp.float32, P()),
               program(lambda x: psum(x, 'a'), jnp.int32, P(None, 'b')),
               program(lambda x: gather(x, 'b'), jnp.float32, P('a')),
               program(lambda x: psum(x, 'a'), jnp.bfloat16, P(None, 'b'))]
        want = [('all-reduce', 4 * 3 * 4, (0, 1, 2, 3), False),
                ('all-reduce', 4 * 3 * 4, (0, 2), False),
                ('all-gather', 2 * 4 * 3 * 4, (0, 1), False),
                # A CPU sends bfloat16 as float32.
                ('all-reduce', 4 * 3 * 4, (0, 2), True)]
        assert got == want, got
    """
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
