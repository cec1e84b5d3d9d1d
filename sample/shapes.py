"""Build solids from signed distances: every shape maps points [3, N] to distances [N], negative inside.

After Inigo Quilez, https://iquilezles.org/articles/distfunctions/. The y axis points up and the floor is y = 0.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import CubicSpline, PchipInterpolator

Array = NDArray[np.float64]
Shape = Callable[[Array], Array]


def length(*components: Array) -> Array:
    """Return the Euclidean length of a vector given by its components."""
    total = components[0] * components[0]
    for component in components[1:]:
        total = total + component * component
    result: Array = np.sqrt(total)
    return result


def turned(p: Array, axis: str, degrees: float) -> Array:
    """Rotate vectors [3, N] about an axis; written out, as a matrix product may differ between machines."""
    a, b = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    cos, sin = float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))
    q = p.copy()
    q[a] = cos * p[a] - sin * p[b]
    q[b] = sin * p[a] + cos * p[b]
    return q


# --- solids, centred on the origin unless said otherwise ---------------------------------------------------------


def sphere(radius: float) -> Shape:
    """A ball."""
    return lambda p: length(p[0], p[1], p[2]) - radius


def ellipsoid(x: float, y: float, z: float) -> Shape:
    """An ellipsoid with these half axes; the distance is a first-order estimate."""

    def distance(p: Array) -> Array:
        k0 = length(p[0] / x, p[1] / y, p[2] / z)
        k1 = length(p[0] / x**2, p[1] / y**2, p[2] / z**2)
        return np.where(k0 < 1, (k0 - 1) * min(x, y, z), k0 * (k0 - 1) / np.maximum(k1, 1e-9))

    return distance


def box(x: float, y: float, z: float, rounding: float = 0.02) -> Shape:
    """A block with these half sizes and rounded edges."""

    def distance(p: Array) -> Array:
        qx, qy, qz = np.abs(p[0]) - (x - rounding), np.abs(p[1]) - (y - rounding), np.abs(p[2]) - (z - rounding)
        outside = length(np.maximum(qx, 0), np.maximum(qy, 0), np.maximum(qz, 0))
        return outside + np.minimum(np.maximum(np.maximum(qx, qy), qz), 0) - rounding

    return distance


def cylinder(radius: float, half_height: float, rounding: float = 0.01) -> Shape:
    """An upright cylinder with rounded edges."""

    def distance(p: Array) -> Array:
        qr, qy = length(p[0], p[2]) - (radius - rounding), np.abs(p[1]) - (half_height - rounding)
        return np.minimum(np.maximum(qr, qy), 0) + length(np.maximum(qr, 0), np.maximum(qy, 0)) - rounding

    return distance


def torus(radius: float, tube: float, squash: float = 1.0) -> Shape:
    """A lying ring; squash > 1 makes the tube taller than wide."""
    return lambda p: (length((length(p[0], p[2]) - radius), p[1] / squash) - tube) * min(1.0, squash)


def rod(
    a: Sequence[float] | Array, b: Sequence[float] | Array, radius: float, end_radius: float | None = None
) -> Shape:
    """A round-ended rod from a to b, tapering to end_radius."""
    taper = (radius if end_radius is None else end_radius) - radius
    dx, dy, dz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    scale = 1 / (dx * dx + dy * dy + dz * dz)

    def distance(p: Array) -> Array:
        x, y, z = p[0] - a[0], p[1] - a[1], p[2] - a[2]
        h = np.clip((x * dx + y * dy + z * dz) * scale, 0, 1)
        return length(x - h * dx, y - h * dy, z - h * dz) - (radius + taper * h)

    return distance


def tube(
    points: Sequence[Sequence[float]], radius: float, end_radius: float | None = None, smooth: bool = True
) -> Shape:
    """A bent rod through these points."""
    end = radius if end_radius is None else end_radius
    count = 2 * len(points) if smooth else len(points)
    stations = np.linspace(0, len(points) - 1, count)
    curve = CubicSpline(np.arange(len(points)), np.array(points))(stations)
    radii = np.linspace(radius, end, count)
    rods = [rod(curve[i], curve[i + 1], radii[i], radii[i + 1]) for i in range(count - 1)]
    return union(*rods)


def arc(start: float, stop: float, radius: float, count: int = 9) -> list[tuple[float, float, float]]:
    """Return points on a circle in the xy plane, from start to stop degrees."""
    angles = np.radians(np.linspace(start, stop, count))
    return [(float(radius * np.cos(a)), float(radius * np.sin(a)), 0.0) for a in angles]


def turnery(profile: Sequence[tuple[float, float]], wall: float = 0.0, rounding: float = 0.0) -> Shape:
    """Turn a smooth profile of (height, radius) about the y axis; with a wall it is a vessel, open above.

    The radius is tabulated finely, so that a look-up with linear interpolation shows no facets.
    """
    heights, radii = [h for h, _ in profile], [r for _, r in profile]
    low, high, size = heights[0], heights[-1], 2048
    grid = np.linspace(low, high, size)
    # The interpolant bends suddenly at its knots, which a glossy surface would show.
    table = ndimage.gaussian_filter1d(PchipInterpolator(heights, radii)(grid), 0.018 * size, mode="nearest")
    slope = np.abs(np.gradient(table, grid))
    # Across a slope the radial gap overstates the distance by 1 / cos, also for points somewhat above and below it.
    slope = ndimage.maximum_filter1d(np.minimum(slope, 3.5), int(size * min(0.5, 0.5 / (high - low))), mode="nearest")
    shrink = 0.95 / np.sqrt(1 + slope**2)

    def lookup(values: Array, y: Array) -> Array:
        at = np.clip((y - low) * ((size - 1) / (high - low)), 0, size - 1.001)
        i = at.astype(np.intp)
        f = at - i
        return values[i] * (1 - f) + values[i + 1] * f

    def distance(p: Array) -> Array:
        side = (length(p[0], p[2]) - lookup(table, p[1])) * lookup(shrink, p[1])
        if wall:
            side = np.maximum(side, -np.maximum(side + wall, low + wall - p[1]))
        qr, qy = side + rounding, np.maximum(p[1] - high, low - p[1]) + rounding
        return np.minimum(np.maximum(qr, qy), 0) + length(np.maximum(qr, 0), np.maximum(qy, 0)) - rounding

    return distance


def prism(outline: Shape, half_height: float, rounding: float = 0.02) -> Shape:
    """Raise the outline that a shape has at y = 0 to a slab with rounded edges."""

    def distance(p: Array) -> Array:
        side = outline(np.stack([p[0], np.zeros_like(p[1]), p[2]])) + rounding
        end = np.abs(p[1]) - (half_height - rounding)
        return np.minimum(np.maximum(side, end), 0) + length(np.maximum(side, 0), np.maximum(end, 0)) - rounding

    return distance


# --- ways of putting them together -------------------------------------------------------------------------------


def move(shape: Shape, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Shape:
    """Shift a shape."""
    offset = np.array([[x], [y], [z]])
    return lambda p: shape(p - offset)


def turn(shape: Shape, axis: str, degrees: float) -> Shape:
    """Rotate a shape about an axis through the origin."""
    return lambda p: shape(turned(p, axis, -degrees))


def union(*shapes: Shape) -> Shape:
    """Take all of them together."""

    def distance(p: Array) -> Array:
        nearest = shapes[0](p)
        for shape in shapes[1:]:
            np.minimum(nearest, shape(p), out=nearest)
        return nearest

    return distance


def blend(k: float, *shapes: Shape) -> Shape:
    """Take all of them together with seams smoothed over a width k."""

    def distance(p: Array) -> Array:
        nearest = shapes[0](p)
        for shape in shapes[1:]:
            other = shape(p)
            h = np.maximum(k - np.abs(nearest - other), 0) / k
            nearest = np.minimum(nearest, other) - h * h * (k / 4)
        return nearest

    return distance


def cut(shape: Shape, tool: Shape, k: float = 0.01) -> Shape:
    """Remove the tool from a shape, breaking the edge over a width k."""

    def distance(p: Array) -> Array:
        a, b = shape(p), -tool(p)
        h = np.maximum(k - np.abs(a - b), 0) / k
        return np.maximum(a, b) + h * h * (k / 4)

    return distance


def meet(shape: Shape, other: Shape) -> Shape:
    """Keep what both shapes share."""
    return lambda p: np.maximum(shape(p), other(p))


def mirrored(shape: Shape, axis: int = 0) -> Shape:
    """Repeat the positive side of a shape on the negative side of an axis."""

    def distance(p: Array) -> Array:
        q = p.copy()
        q[axis] = np.abs(q[axis])
        return shape(q)

    return distance


def around(shape: Shape, count: int, first: float = 0.0) -> Shape:
    """Repeat what lies on the +x axis count times about the y axis, the first one at that many degrees."""
    step = 2 * np.pi / count

    def distance(p: Array) -> Array:
        angle = np.arctan2(p[2], p[0]) - np.radians(first)
        angle = angle - step * np.round(angle / step)
        radius = length(p[0], p[2])
        return shape(np.stack([radius * np.cos(angle), p[1], radius * np.sin(angle)]))

    return distance


def scaled(shape: Shape, factor: float) -> Shape:
    """Enlarge a shape."""
    return lambda p: shape(p / factor) * factor
