"""Gradients with respect to a named intermediate that a network returns.

A returned array is not an argument, so JAX has no gradient with respect to it. The program of the
network is therefore evaluated equation by equation, with a delta added where the array is computed.
The gradient with respect to that delta, at 0, is the gradient with respect to the array.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core
from jaxtyping import Array

from jaxvision.attribution.gradients import refuse_zero
from jaxvision.attribution.types import Activations, Images, Network, ScoreOf, Scores
from jaxvision.core.errors import UserError, unknown
from jaxvision.core.types import Value

# Names of the equation that calls a compiled function, in the versions of JAX.
_COMPILED = ('jit', 'pjit')

_Atom = core.Var | core.Literal
# Arrays, also of NumPy if they are constants.
_Values = dict[core.Var, Value]


class LayerGradient(NamedTuple):
    """An intermediate array of some images, and the gradient of their scores.

    Attributes:
        activations: the intermediate, [B, ...].
        gradients: of the scores with respect to `activations`, [B, ...].
        scores: [B].
    """

    activations: Activations
    gradients: Activations
    scores: Scores


class _Program(NamedTuple):
    """The equations of a network for some images.

    Attributes:
        closed: the equations, with their constants.
        tree: structure of (outputs, intermediates).
        outputs: the variables of the outputs.
        intermediates: the variable of each intermediate, by name.
    """

    closed: core.ClosedJaxpr
    tree: jax.tree_util.PyTreeDef
    outputs: list[_Atom]
    intermediates: dict[str, _Atom]


class _Origin(NamedTuple):
    """The equation that computes a variable.

    Attributes:
        places: its number, after those of the compiled functions around it; () for an argument.
        variable: its result, inside of all compiled functions.
    """

    places: tuple[int, ...]
    variable: _Atom


def layer_gradient(
    network: Network, images: Images, layer: str, score_of: ScoreOf
) -> LayerGradient:
    """Compute the gradient of scores with respect to an intermediate.

    Args:
        network: `(images) -> (outputs, intermediates)`. It is traced once.
        images: in [0, 1].
        layer: name of the intermediate, whose first axis is that of the images.
        score_of: `(outputs) -> scores [B]`, such as a column of the logits.

    Returns:
        The intermediate, its gradient and the scores. If the call is traced, a gradient that is
        zero everywhere is NaN.

    Raises:
        UserError: The network has no such intermediate. Or the gradient of an image is zero
            everywhere, because the layer does not reach the score.
    """
    program = _trace(network, images)
    if layer not in program.intermediates:
        raise unknown('layer: there is no intermediate', layer, program.intermediates)
    variable = program.intermediates[layer]
    if isinstance(variable, core.Literal):
        raise UserError(
            f'layer={layer}: expected an array that depends on the image. This one is a '
            'constant. Choose another layer.'
        )

    def total(delta: Array) -> tuple[Array, tuple[Array, Array]]:
        flat = _evaluate(program.closed, [images], variable, delta)
        outputs, intermediates = jax.tree.unflatten(program.tree, flat)
        scores = score_of(outputs)
        return scores.sum(), (intermediates[layer], scores)

    zero = jnp.zeros(variable.aval.shape, variable.aval.dtype)
    gradients, (activations, scores) = jax.grad(total, has_aux=True)(zero)
    return LayerGradient(activations, refuse_zero(gradients, layer), scores)


def layers(network: Network, images: Images) -> list[str]:
    """List the intermediates that the outputs depend on, in the order of computation.

    Intermediates that are outputs themselves are left out.

    Args:
        network: `(images) -> (outputs, intermediates)`. It is traced, and not computed.
        images: in [0, 1]; only their shape matters.
    """
    program = _trace(network, images)
    jaxpr = program.closed.jaxpr
    final = [_origin(jaxpr, atom).variable for atom in program.outputs]
    needed = _needed(jaxpr, program.outputs)
    places = {}
    for name, atom in program.intermediates.items():
        origin = _origin(jaxpr, atom)
        if origin.variable in needed and origin.variable not in final:
            places[name] = origin.places
    return sorted(places, key=places.__getitem__)


def default_layers(network: Network, images: Images) -> list[str]:
    """List the layers for class activation maps, the best one first.

    They are the feature maps [B, H, W, C] on the path to the outputs, the last one first. For a
    network of tokens they are its blocks without the last one, which reaches a class token only.
    A layer on the path may still have no influence on one score, such as that of a box.

    Args:
        network: `(images) -> (outputs, intermediates)`.
        images: in [0, 1]; only their shape matters.

    Raises:
        UserError: The network has neither feature maps nor two blocks of tokens.
    """
    _, intermediates = jax.eval_shape(network, images)
    reaching = layers(network, images)
    maps = [name for name in reaching if _is_map(intermediates[name].shape)]
    blocks = [name for name in reaching if name.startswith('block')]
    chosen = maps or blocks[:-1]
    if chosen:
        return chosen[::-1]
    raise UserError(
        'layer: expected a network with feature maps or blocks of tokens. This one has only '
        f'{", ".join(intermediates) or "no intermediates"}. Choose another method.'
    )


def _is_map(shape: Sequence[int]) -> bool:
    return len(shape) == 4 and shape[1] * shape[2] > 1


def _trace(network: Network, images: Images) -> _Program:
    closed, shapes = jax.make_jaxpr(network, return_shape=True)(images)
    tree = jax.tree.structure(shapes)
    outputs, intermediates = jax.tree.unflatten(tree, closed.jaxpr.outvars)
    return _Program(closed, tree, jax.tree.leaves(outputs), intermediates)


def _evaluate(
    closed: core.ClosedJaxpr,
    inputs: Sequence[Value],
    variable: core.Var,
    delta: Array,
) -> list[Value]:
    """Evaluate equations, with `delta` added where a variable is computed.

    Args:
        closed: the equations.
        inputs: their arguments.
        variable: computed by an equation, perhaps inside a compiled function; or an argument.
        delta: in the shape of the variable.
    """
    jaxpr = closed.jaxpr
    values = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    values |= zip(jaxpr.invars, inputs, strict=True)
    place = _place(jaxpr, variable)
    if place is None:
        values[variable] += delta
        _run(jaxpr, jaxpr.eqns, values)
        return [_value(atom, values) for atom in jaxpr.outvars]
    equation = jaxpr.eqns[place]
    _run(jaxpr, jaxpr.eqns[:place], values)
    inner = _inner_variable(equation, variable)
    if inner is None:
        _run(jaxpr, [equation], values)
        values[variable] += delta
    else:
        arguments = [_value(atom, values) for atom in equation.invars]
        results = _evaluate(equation.params['jaxpr'], arguments, inner, delta)
        values.update(zip(equation.outvars, results, strict=True))
    _run(jaxpr, jaxpr.eqns[place + 1 :], values)
    return [_value(atom, values) for atom in jaxpr.outvars]


def _place(jaxpr: core.Jaxpr, variable: core.Var) -> int | None:
    """The number of the equation that computes a variable; None for an argument."""
    for place, equation in enumerate(jaxpr.eqns):
        if variable in equation.outvars:
            return place
    return None


def _inner_variable(equation: core.JaxprEqn, variable: core.Var) -> core.Var | None:
    """The variable inside a compiled function that becomes a result of its call."""
    if equation.primitive.name not in _COMPILED:
        return None
    inner = equation.params['jaxpr'].jaxpr.outvars[equation.outvars.index(variable)]
    return None if isinstance(inner, core.Literal) else inner


def _run(
    jaxpr: core.Jaxpr, equations: Sequence[core.JaxprEqn], values: _Values
) -> None:
    """Evaluate some equations of a program, and add their results to `values`."""
    arguments = {}
    results = {}
    for equation in equations:
        for atom in equation.invars:
            if isinstance(atom, core.Var) and atom not in results:
                arguments[atom] = values[atom]
        kept = [each for each in equation.outvars if not isinstance(each, core.DropVar)]
        results |= dict.fromkeys(kept)
    part = jaxpr.replace(
        constvars=[], invars=list(arguments), outvars=list(results), eqns=equations
    )
    computed = jax.core.eval_jaxpr(part, (), *arguments.values())
    values.update(zip(results, computed, strict=True))


def _value(atom: _Atom, values: _Values) -> Value:
    return atom.val if isinstance(atom, core.Literal) else values[atom]


def _origin(jaxpr: core.Jaxpr, atom: _Atom) -> _Origin:
    """Find the equation that computes a variable, inside of compiled functions."""
    place = None if isinstance(atom, core.Literal) else _place(jaxpr, atom)
    if place is None:
        return _Origin((), atom)
    equation = jaxpr.eqns[place]
    inner = _inner_variable(equation, atom)
    if inner is None:
        return _Origin((place,), atom)
    origin = _origin(equation.params['jaxpr'].jaxpr, inner)
    return _Origin((place, *origin.places), origin.variable)


def _needed(jaxpr: core.Jaxpr, results: Iterable[_Atom]) -> set[core.Var]:
    """The variables on which results depend, also inside of compiled functions."""
    needed = {atom for atom in results if isinstance(atom, core.Var)}
    for equation in reversed(jaxpr.eqns):
        if needed.isdisjoint(equation.outvars):
            continue
        arguments = equation.invars
        if equation.primitive.name in _COMPILED:
            inner = equation.params['jaxpr'].jaxpr
            pairs = zip(equation.outvars, inner.outvars, strict=True)
            inner_needed = _needed(
                inner, [atom for outer, atom in pairs if outer in needed]
            )
            pairs = zip(equation.invars, inner.invars, strict=True)
            arguments = [atom for atom, argument in pairs if argument in inner_needed]
            needed |= inner_needed
        needed |= {atom for atom in arguments if isinstance(atom, core.Var)}
    return needed
