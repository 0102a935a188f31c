"""The colours by escape speed: night blue, sea, sand, ember, and back without a seam."""

import math
from collections.abc import Sequence
from itertools import pairwise

INSIDE = bytes((8, 6, 16))
SHADES = 2048
PERIOD = 0.9  # the colours repeat after this difference in the logarithm of the step count
START = 0.08
STOPS: Sequence[tuple[float, tuple[int, int, int]]] = (
    (0.00, (4, 10, 38)),
    (0.16, (14, 66, 126)),
    (0.34, (96, 184, 206)),
    (0.46, (250, 246, 226)),
    (0.60, (248, 178, 62)),
    (0.76, (176, 54, 38)),
    (0.90, (44, 10, 44)),
    (1.00, (4, 10, 38)),
)


def shade(part: float) -> bytes:
    """Return the colour at a position from 0 to 1 along the stops, as three bytes.

    It is eased, so that no stop shows as an edge.
    """
    for (low, dark), (high, light) in pairwise(STOPS):
        if part <= high:
            along = (1 - math.cos(math.pi * (part - low) / (high - low))) / 2
            return bytes(round(a + (b - a) * along) for a, b in zip(dark, light, strict=True))
    return bytes(STOPS[-1][1])


PALETTE = [shade(number / SHADES) for number in range(SHADES)]


def colour(speed: float) -> bytes:
    """Return the colour of a smooth step count.

    The logarithm keeps fine structures from turning into noise.
    """
    return PALETTE[int((math.log(speed + 2) / PERIOD + START) % 1.0 * SHADES)]
