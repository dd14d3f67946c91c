"""The logarithm of float32 arrays, vectorised over several numbers at once."""

import math

import numpy as np

from lmkit.jit import kernel

LOG10_2 = math.log10(2)
FRACTION_BITS = 23
FRACTION = (1 << FRACTION_BITS) - 1
SQUARE_ROOT_2 = 0x3504F3
"""The fraction bits of a float32 just below the square root of two."""
ONE, UNIT, HALF_UNIT = 2.0**FRACTION_BITS, 2.0**-FRACTION_BITS, 2.0 ** -(FRACTION_BITS + 1)
"""One in units of the last fraction bit, and the unit."""
C0, C1, C2, C3, C4, C5, C6 = (2 / math.log(10) / (2 * i + 1) for i in range(7))
"""log10(m) = C0 s + C1 s^3 + C2 s^5 ..., s = (m - 1) / (m + 1): the inverse hyperbolic tangent's series."""


@kernel
def to_log10(values: np.ndarray) -> None:
    """Replace float32 values, none negative, by their decimal logarithms; 0 gives -inf and 1 gives 0.

    Computed in float64, with an error under 1e-11 before it is rounded, for all but subnormal numbers (below
    1.2e-38), which give about -38. A number is split into exponent and mantissa by its bits, the mantissa taken
    between the roots of 1/2 and 2, where |s| < 0.172. numpy and the C library do one number at a time.
    """
    patterns = values.view(np.int32)
    for i in range(len(values)):
        # Only int32 and no branch; otherwise the compiler does not vectorise.
        bits = patterns[i]
        fraction = np.int32(bits & FRACTION)
        upper = fraction > SQUARE_ROOT_2
        mantissa = (fraction + ONE) * (HALF_UNIT if upper else UNIT)
        exponent = np.float64(np.int32(bits >> FRACTION_BITS)) - (126.0 if upper else 127.0)
        s = (mantissa - 1.0) / (mantissa + 1.0)
        q = s * s
        series = s * (C0 + q * (C1 + q * (C2 + q * (C3 + q * (C4 + q * (C5 + q * C6))))))
        values[i] = np.float32(exponent * LOG10_2 + series) if bits > 0 else np.float32(-np.inf)
