"""The element-wise parts of a step, compiled: exponential, activations, norms, rotation, softmax.

Written so that LLVM turns every loop into vector instructions. Only sums and maxima may be reordered (`SUMS`), which changes the last
bit or two of a norm or a softmax; nothing else is computed with relaxed rules. All numbers are float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from engine.decode.machine import float_of_bits

PLAIN: dict[str, Any] = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False}
"""Options of every part. Parts are called by compiled code only and have no entry for Python: this saves a quarter of the compiling.
Without numba's own runtime nothing can be allocated or counted, and no array can be a function's result."""
SUMS: dict[str, Any] = PLAIN | {"fastmath": {"reassoc", "nsz", "nnan", "contract"}}

ZERO, HALF, ONE, TWO = (np.float32(value) for value in (0.0, 0.5, 1.0, 2.0))
LOG2_E, LN2_HIGH, LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
E6, E5, E4, E3, E2 = (np.float32(value) for value in (1.9875691e-4, 1.3981999e-3, 8.3334519e-3, 4.1665796e-2, 1.6666666e-1))
LOWEST, HIGHEST = np.float32(-87.0), np.float32(88.0)
TANH_A, TANH_B = np.float32(2 * 0.7978845608), np.float32(2 * 0.7978845608 * 0.044715)
ROOT_HALF, ERF_P = np.float32(0.70710678), np.float32(0.3275911)
ERF = tuple(np.float32(value) for value in (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429))
A1, A2, A3, A4, A5 = ERF


@njit(**PLAIN)
def exponential(x):  # type: ignore[no-untyped-def]
    """e to the x within two units in the last place, by Cephes' polynomial; x is held between -87 and 88."""
    x = min(max(x, LOWEST), HIGHEST)
    whole = np.floor(x * LOG2_E + HALF)
    x = x - whole * LN2_HIGH - whole * LN2_LOW
    series = ((((E6 * x + E5) * x + E4) * x + E3) * x + E2) * x + HALF
    return (series * x * x + x + ONE) * float_of_bits((np.int32(whole) + np.int32(127)) << np.int32(23))


@njit(**PLAIN)
def gelu_tanh(x, out):  # type: ignore[no-untyped-def]
    """The tanh form of GELU: x·σ(2u), as ½(1 + tanh u) = σ(2u)."""
    for i in range(x.shape[0]):
        value = x[i]
        out[i] = value / (ONE + exponential(-value * (TANH_A + TANH_B * value * value)))


@njit(**PLAIN)
def gelu(x, out):  # type: ignore[no-untyped-def]
    """Exact GELU; erf by Abramowitz and Stegun 7.1.26 (error below 1.5e-7)."""
    for i in range(x.shape[0]):
        value = x[i]
        size = abs(value) * ROOT_HALF
        t = ONE / (ONE + ERF_P * size)
        tail = ((((A5 * t + A4) * t + A3) * t + A2) * t + A1) * t * exponential(-size * size)
        out[i] = HALF * value * (TWO - tail if value > ZERO else tail)


@njit(**PLAIN)
def swiglu(gate, up, out):  # type: ignore[no-untyped-def]
    """SiLU of the gate times the other half."""
    for i in range(gate.shape[0]):
        out[i] = gate[i] / (ONE + exponential(-gate[i])) * up[i]


@njit(**PLAIN)
def add(amount, total):  # type: ignore[no-untyped-def]
    for i in range(total.shape[0]):
        total[i] += amount[i]


@njit(**SUMS)
def normalise(x, weight, bias, rms, eps, out):  # type: ignore[no-untyped-def]
    """Layer normalisation, or RMS normalisation without a bias, of x (C,) into out."""
    size = np.float32(x.shape[0])
    mean = ZERO
    if not rms:
        for i in range(x.shape[0]):
            mean += x[i]
        mean = mean / size
    square = ZERO
    for i in range(x.shape[0]):
        square += (x[i] - mean) * (x[i] - mean)
    factor = ONE / np.sqrt(square / size + eps)
    if rms:
        for i in range(x.shape[0]):
            out[i] = x[i] * factor * weight[i]
    else:
        for i in range(x.shape[0]):
            out[i] = (x[i] - mean) * factor * weight[i] + bias[i]


@njit(**PLAIN)
def rotate(x, cos, sin, interleaved, scale, out):  # type: ignore[no-untyped-def]
    """A head (D,) with its first R dimensions turned by the angles of a position, times `scale`, into out; R may be 0."""
    size = cos.shape[0]
    half = size // 2
    if interleaved:
        for i in range(half):
            a, b = x[2 * i], x[2 * i + 1]
            out[2 * i] = (a * cos[2 * i] - b * sin[2 * i]) * scale
            out[2 * i + 1] = (b * cos[2 * i + 1] + a * sin[2 * i + 1]) * scale
    else:
        for i in range(half):
            a, b = x[i], x[half + i]
            out[i] = (a * cos[i] - b * sin[i]) * scale
            out[half + i] = (b * cos[half + i] + a * sin[half + i]) * scale
    for i in range(size, x.shape[0]):
        out[i] = x[i] * scale


@njit(**SUMS)
def greatest(x):  # type: ignore[no-untyped-def]
    best = x[0]
    for i in range(1, x.shape[0]):
        best = max(best, x[i])
    return best


@njit(**SUMS)
def sum_exponentials(x, base):  # type: ignore[no-untyped-def]
    """Σ e^(x - base)."""
    total = ZERO
    for i in range(x.shape[0]):
        total += exponential(x[i] - base)
    return total


@njit(**SUMS)
def softmax(x):  # type: ignore[no-untyped-def]
    """x becomes its softmax."""
    base, total = greatest(x), ZERO
    for i in range(x.shape[0]):
        x[i] = exponential(x[i] - base)
        total += x[i]
    share = ONE / total
    for i in range(x.shape[0]):
        x[i] *= share


@njit(**SUMS)
def length_of(x):  # type: ignore[no-untyped-def]
    """The Euclidean length of a vector."""
    total = ZERO
    for i in range(x.shape[0]):
        total += x[i] * x[i]
    return np.sqrt(total)
