"""Several implementations (forms) of one operation, chosen by platform and by use.

All forms of an operation have the same values up to rounding. They differ in speed on a platform,
in the speed of their derivatives, or in the converters that support them.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import jax
from jax import lax

# The format that a program is traced for: '', 'savedmodel' or 'tflite'. It is a part of the key of
# JAX's caches, so that these programs have separate traces.
_FORMAT = jax.make_user_context('')


def by_platform(cpu: Callable, default: Callable) -> Callable:
    """Choose between two forms when a program is lowered, not when it is traced.

    A program that is traced on a CPU for a TPU therefore has the form for TPUs. A program for one
    platform contains one form, and a program exported for several platforms contains a branch.
    TFLite does not support this branch and runs on CPUs. Within `for_tflite` the choice is `cpu`.

    Args:
        cpu: the form for CPUs, a function of arrays.
        default: the form for all other platforms, with the same arguments and results.

    Returns:
        A function with the same positional arguments. It is differentiable as often as both forms
        are.
    """

    def choose(*arrays):
        if is_for_tflite():
            return cpu(*arrays)
        return lax.platform_dependent(*arrays, cpu=cpu, default=default)

    return choose


def differentiated_as(function: Callable, form: Callable) -> Callable:
    """Use one form of a function for its values, and another one for its derivatives.

    A program without derivatives keeps the operations that compilers and export formats recognise.

    Args:
        function: a function of arrays.
        form: a form with faster derivatives of any order, with the same arguments and results.

    Returns:
        A function with the same arguments, for forward and reverse mode.
    """

    def differentiate(primals, tangents):
        return jax.jvp(form, primals, tangents)

    wrapped = jax.custom_jvp(function)
    wrapped.defjvp(differentiate)
    return wrapped


def for_tflite() -> AbstractContextManager:
    """Return a context in which programs are traced with operations that TFLite supports.

    These programs have no branches by platform. A depthwise convolution is one operation, which
    TFLite's converter recognises and quantises.
    """
    return _FORMAT('tflite')


def is_for_tflite() -> bool:
    """Return True if the program is traced within `for_tflite`."""
    return _FORMAT.value == 'tflite'


def for_savedmodel() -> AbstractContextManager:
    """Return a context in which programs are traced with operations that TensorFlow loads."""
    return _FORMAT('savedmodel')


def is_for_tensorflow() -> bool:
    """Return True if the program is traced within `for_savedmodel` or `for_tflite`."""
    return _FORMAT.value in ('savedmodel', 'tflite')
