"""The picture in numbers: which point of the plane a pixel is, and how fast it escapes. Pure Python, on purpose."""

import math
from dataclasses import dataclass

FAR = 32.0  # beyond 2 every point escapes; farther out the colours become smooth


@dataclass(frozen=True, slots=True)
class Poster:
    """A view of the plane and its size in pixels. `span`: the width of the view."""

    width: int
    height: int
    centre: complex = -0.74516 + 0.11260j
    span: float = 0.0042
    limit: int = 1200

    def point(self, column: float, row: float) -> complex:
        """The middle of a pixel; its rows go down, the plane's go up."""
        scale = self.span / self.width
        return self.centre + complex(
            (column + 0.5 - self.width / 2) * scale, (self.height / 2 - row - 0.5) * scale
        )

    def sketch(self, width: int) -> "Poster":
        """The same view with fewer pixels."""
        height = max(1, round(width * self.height / self.width))
        return Poster(width, height, self.centre, self.span, self.limit)


def steps(point: complex, limit: int) -> tuple[int, float]:
    """How many steps the point takes to get far away, and how far it got. `limit` steps: it stays for ever."""
    z = 0j
    for step in range(limit):
        z = z * z + point
        far = abs(z)
        if far > FAR:
            return step, far
    return limit, 0.0


def smooth(step: int, far: float) -> float:
    """The step count without its jumps."""
    return step + 1 - math.log2(math.log(far) / math.log(FAR))
