"""One operation in several forms: by platform, where it is differentiated, and for TFLite.

All forms of an operation have the same values up to rounding. They differ in their speed on a
platform, in the speed of their derivatives, or in the converters that know them.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import jax
from jax import lax

# Part of the key of JAX's caches, so that no trace made for one target serves the other.
_FOR_TFLITE = jax.make_user_context(False)


def by_platform(cpu: Callable, default: Callable) -> Callable:
    """Choose between two forms when a program is lowered, not when it is traced.

    A program that a CPU traces for a TPU therefore has the form for TPUs. A program for one
    platform holds one form; a program exported for several platforms holds a branch. TFLite knows
    no branch, and its programs run on CPUs, so that within `for_tflite` the choice is `cpu`.

    Args:
        cpu: the form for CPUs, a function of arrays.
        default: the form for all other platforms, of the same arguments and results.

    Returns:
        A function of the same arguments, which is differentiable as often as both forms are.
    """

    def chosen(*arrays):
        if is_for_tflite():
            return cpu(*arrays)
        return lax.platform_dependent(*arrays, cpu=cpu, default=default)

    return chosen


def differentiated_as(function: Callable, form: Callable) -> Callable:
    """Compute `function`, but `form` wherever a derivative is taken, of any order.

    A program that only infers so keeps the operations that compilers and export formats know.

    Args:
        function: a function of arrays.
        form: the form with the faster derivatives, of the same arguments and results.

    Returns:
        A function of the same arguments, for forward and reverse mode.
    """
    wrapped = jax.custom_jvp(function)
    wrapped.defjvp(lambda primals, tangents: jax.jvp(form, primals, tangents))
    return wrapped


def for_tflite() -> AbstractContextManager:
    """Return a context within which what is traced holds only operations that TFLite knows.

    It has no branches by platform, and a depthwise convolution is one operation, which TFLite's
    converter recognises and quantises.
    """
    return _FOR_TFLITE(True)


def is_for_tflite() -> bool:
    """Whether the program is traced within `for_tflite`."""
    return _FOR_TFLITE.value
