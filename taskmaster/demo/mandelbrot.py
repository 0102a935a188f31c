"""The numbers behind the picture: the point of each pixel, and how fast it escapes.

This is pure Python on purpose, so that a tile takes CPU time.
"""

import math
from dataclasses import dataclass, replace

FAR = 32.0  # every point beyond 2 escapes; a larger radius makes the colours smooth


@dataclass(frozen=True, slots=True)
class Poster:
    """A view of the plane, and its size in pixels. `span` is the width of the view."""

    width: int
    height: int
    centre: complex = -0.74516 + 0.11260j
    span: float = 0.0042
    limit: int = 1200

    def point(self, column: float, row: float) -> complex:
        """Return the centre of a pixel. Rows count downwards, the plane's axis points up."""
        scale = self.span / self.width
        return self.centre + complex(
            (column + 0.5 - self.width / 2) * scale, (self.height / 2 - row - 0.5) * scale
        )

    def sketch(self, width: int) -> "Poster":
        """Return the same view with fewer pixels."""
        height = max(1, round(width * self.height / self.width))
        return replace(self, width=width, height=height)


def steps(point: complex, limit: int) -> tuple[int, float]:
    """Return how many steps the point takes to escape, and its distance then.

    A point that never escapes takes `limit` steps, and its distance is 0.
    """
    z = 0j
    for step in range(limit):
        z = z * z + point
        distance = abs(z)
        if distance > FAR:
            return step, distance
    return limit, 0.0


def smooth(step: int, distance: float) -> float:
    """Return the step count as a continuous value."""
    return step + 1 - math.log2(math.log(distance) / math.log(FAR))
