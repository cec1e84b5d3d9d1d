"""Photograph a product that is only a signed distance function: sphere tracing, soft light, a lens and a sensor.

The picture is made in two layers. Behind: floor and wall, met by the ray in closed form, out of focus with distance.
In front: the product, marched ray by ray. Shadows, occlusion and mirror images on the floor are smooth, so a coarse
grid is enough for them; edges of the product get extra rays. After https://iquilezles.org/articles/raymarchingdf/.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from sample.shapes import Array, Shape, length, turned

BLOCK = 16384  # points at a time: the temporaries of a distance function then stay in the cache
TILE = 4  # pixels
Colour = tuple[float, float, float]
Paint = Callable[[Array], Array]  # points [3, N] -> linear RGB [3, N]
Relief = Callable[[Array], Array]  # points [3, N] -> height [N]


@dataclass(frozen=True, slots=True)
class Material:
    """What a surface looks like; colours are linear RGB, or a paint that gives them by place."""

    colour: Colour | Paint
    roughness: float = 0.5
    metal: float = 0.0
    sheen: float = 0.0  # the bright rim of cloth and fur
    glow: float = 0.0  # emitted light, as a multiple of the colour
    glass: float = 0.0  # share of light that passes through, tinted by the colour
    relief: Relief | None = None  # bends the normal only


@dataclass(frozen=True, slots=True)
class Part:
    """A shape with its material."""

    shape: Shape
    material: Material


@dataclass(frozen=True, slots=True)
class Rig:
    """The lights: a soft key light, a weaker fill light, and light from all around."""

    key: tuple[float, float, float] = (-0.55, 0.75, 0.5)  # towards the light
    key_colour: Colour = (2.3, 2.2, 2.05)
    softness: float = 0.16  # apparent radius of the key light: how wide shadows blur
    fill: tuple[float, float, float] = (0.8, 0.35, 0.55)
    fill_colour: Colour = (0.26, 0.29, 0.33)
    sky: Colour = (0.46, 0.48, 0.52)


@dataclass(frozen=True, slots=True)
class Backdrop:
    """What stands behind: a floor that ends at a wall; paints get [x, z, pixel size] and [x, y, pixel size]."""

    floor: Paint
    wall: Paint
    depth: float = 6.0  # from the product back to the wall
    edge: float = 6.0  # from the product back to the end of the floor; a table ends before the wall
    sweep: float = 0.0  # width of a soft bend from floor to wall, as in a studio
    mirror: float = 0.0  # how glossy the floor is
    bounce: Colour = (0.4, 0.38, 0.35)  # floor colour as the product sees it


@dataclass(frozen=True, slots=True)
class Shot:
    """A product, where it stands, and how the camera looks at it. Angles in degrees."""

    parts: tuple[Part, ...]
    backdrop: Backdrop
    rig: Rig = field(default_factory=Rig)
    facing: float = 0.0
    elevation: float = 14.0
    view: float = 28.0
    fill: float = 0.72  # share of the frame that the product takes, in its larger direction
    offset: tuple[float, float] = (0.0, 0.0)  # centre of the product, in half frames
    aperture: float = 0.02
    exposure: float = 1.0
    grain: float = 0.007
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole at a place, looking along -z and down; vectors are [3, 1], lens shift in half frame heights."""

    place: Array
    right: Array
    up: Array
    forward: Array
    slope: float
    shift: tuple[float, float]
    width: int
    height: int

    def rays(self, x: Array, y: Array) -> Array:
        """Return unit directions [3, N] through pixel positions."""
        u = ((2 * x - self.width) / self.height + self.shift[0]) * self.slope
        v = ((self.height - 2 * y) / self.height + self.shift[1]) * self.slope
        return unit(self.forward + self.right * u + self.up * v)

    @property
    def pixel(self) -> float:
        """Size of a pixel at distance 1."""
        return 2 * self.slope / self.height


def unit(v: Array) -> Array:
    """Scale vectors [3, N] to length 1."""
    return v / np.maximum(length(v[0], v[1], v[2]), 1e-12)


def dot(a: Array, b: Array) -> Array:
    """Return the inner products [N] of vectors [3, N]."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def column(values: tuple[float, float, float]) -> Array:
    """Return three numbers as [3, 1], to go with [3, N]."""
    return np.array(values, dtype=np.float64).reshape(3, 1)


def smooth(low: float, high: float, x: Array) -> Array:
    """Step from 0 to 1 between low and high."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def blocks(count: int, size: int = BLOCK) -> Iterator[slice]:
    """Cut a range into slices of at most size."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


class Box:
    """The block between two corners [3]."""

    def __init__(self, low: Array, high: Array) -> None:
        self.centre, self.half = ((low + high) / 2).tolist(), ((high - low) / 2).tolist()

    def least(self, p: Array) -> Array:
        """Return a lower bound [N] of the distance to anything inside; negative in the box."""
        x, y, z = (np.abs(p[i] - self.centre[i]) - self.half[i] for i in range(3))
        return np.maximum(np.maximum(x, y), z)


class Solid:
    """A product ready to be marched: one distance for all parts, and the box they lie in."""

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self.parts = parts
        # Find the surface on a coarse grid: some grid point is nearer to it than half a cell's diagonal.
        axes = [np.arange(-2.4, 2.4, 0.08), np.arange(0.0, 3.2, 0.08), np.arange(-2.4, 2.4, 0.08)]
        grid = np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")])
        clouds = [grid[:, np.abs(part.shape(grid)) < 0.07] for part in parts]
        self.boxes = [Box(c.min(axis=1) - 0.1, c.max(axis=1) + 0.1) for c in clouds]
        self.cloud = np.concatenate(clouds, axis=1)
        self.low = self.cloud.min(axis=1, keepdims=True) - 0.1
        self.high = self.cloud.max(axis=1, keepdims=True) + 0.1

    def distance(self, p: Array) -> Array:
        """Return the distance [N] to the nearest part; parts whose box is farther than what was found are skipped."""
        out = np.full(p.shape[1], np.inf)
        for s in blocks(p.shape[1]):
            q, nearest = p[:, s], out[s]
            for part, box in zip(self.parts, self.boxes, strict=True):
                at = np.flatnonzero(box.least(q) < nearest)
                if at.size == nearest.size:
                    np.minimum(nearest, part.shape(q), out=nearest)
                elif at.size:
                    nearest[at] = np.minimum(nearest[at], part.shape(q[:, at]))
        return out

    def nearest_part(self, p: Array) -> NDArray[np.intp]:
        """Return which part [N] is nearest to points on the surface."""
        out = np.zeros(p.shape[1], dtype=np.intp)
        nearest = np.full(p.shape[1], np.inf)
        for i, (part, box) in enumerate(zip(self.parts, self.boxes, strict=True)):
            inside = np.flatnonzero(box.least(p) < 0)
            for s in blocks(inside.size):
                at = inside[s]
                d = part.shape(p[:, at])
                closer = d < nearest[at]
                out[at[closer]], nearest[at[closer]] = i, d[closer]
        return out

    def span(self, place: Array, ray: Array, margin: float = 0.0) -> tuple[Array, Array]:
        """Return where rays enter and leave the box, [N] each; they miss where enter >= leave."""
        inverse = 1 / np.where(np.abs(ray) < 1e-9, 1e-9, ray)
        a, b = (self.low - margin - place) * inverse, (self.high + margin - place) * inverse
        enter, leave = np.minimum(a, b), np.maximum(a, b)
        first = np.maximum(np.maximum(enter[0], enter[1]), np.maximum(enter[2], 0))
        return first, np.minimum(np.minimum(leave[0], leave[1]), leave[2])

    def march(self, place: Array, ray: Array, precision: float, start: Array | float = 0.0) -> Array:
        """Return the distance [N] along each ray to the surface, infinite where there is none.

        The surface counts as reached at precision times the distance.
        """
        enter, leave = self.span(place, ray)
        enter = np.maximum(enter, start)
        found = np.full(ray.shape[1], np.inf)
        active = np.flatnonzero(enter < leave)
        t, leave, ray = enter[active], leave[active], ray[:, active]
        place = np.broadcast_to(place, (3, found.size))[:, active]
        for step in range(110):
            if not active.size:
                break
            d = self.distance(place + ray * t)
            hit = d < precision * t
            found[active[hit]] = t[hit]
            t = t + d * 0.93
            if step % 2 or hit.any():
                keep = ~hit & (t < leave)
                active, t, leave, ray, place = active[keep], t[keep], leave[keep], ray[:, keep], place[:, keep]
        return found

    def shade_from(self, place: Array, light: Array, softness: float) -> Array:
        """Return how much of a round light each point [N] sees: 0 in full shadow, 1 in full light."""
        enter, leave = self.span(place, np.broadcast_to(light, place.shape), margin=0.25)
        seen = np.ones(place.shape[1])
        active = np.flatnonzero(enter < leave)
        t, leave, p = np.maximum(enter[active], 0.02), leave[active], place[:, active]
        for _ in range(40):
            if not active.size:
                break
            d = self.distance(p + light * t)
            seen[active] = np.minimum(seen[active], d / (softness * t))
            t = t + np.clip(d, 0.022 + 0.01 * t, 0.5)
            keep = (t < leave) & (seen[active] > -1)
            active, t, leave, p = active[keep], t[keep], leave[keep], p[:, keep]
        seen = np.maximum(seen, -1)
        # The visible share of a disc behind a straight edge, to third order.
        return 0.25 * (1 + seen) ** 2 * (2 - seen)

    def openness(self, place: Array, normal: Array, reach: float) -> Array:
        """Return how open the surroundings of surface points [N] are, 0 to 1."""
        hidden = np.zeros(place.shape[1])
        weight = 1.0
        for i in range(4):
            h = reach * (0.06 + 0.94 * (i / 3) ** 1.5)
            hidden += weight * np.maximum(h - self.distance(place + normal * h), 0) / h
            weight *= 0.72
        return np.exp(-0.62 * hidden)


def look(shot: Shot, solid: Solid, width: int, height: int) -> Camera:
    """Set the camera up so that the product takes the wanted share of the frame."""
    down = np.radians(shot.elevation)
    forward = column((0.0, -float(np.sin(down)), -float(np.cos(down))))
    right, up = column((1.0, 0.0, 0.0)), column((0.0, float(np.cos(down)), -float(np.sin(down))))
    slope = float(np.tan(np.radians(shot.view / 2)))
    cloud = turned(solid.cloud, "y", shot.facing)
    centre = (cloud.min(axis=1, keepdims=True) + cloud.max(axis=1, keepdims=True)) / 2
    x, y, z = dot(cloud - centre, right), dot(cloud - centre, up), dot(cloud - centre, forward)
    near, far = 1.0, 60.0
    for _ in range(40):
        distance = (near + far) / 2
        u, v = x / (z + distance) / slope * (height / width), y / (z + distance) / slope
        too_large = z.min() + distance < 0.3 or max(np.ptp(u), np.ptp(v)) / 2 > shot.fill
        near, far = (distance, far) if too_large else (near, distance)
    shift = (
        float(u.max() + u.min()) / 2 * width / height - shot.offset[0] * width / height,
        float(v.max() + v.min()) / 2 - shot.offset[1],
    )
    return Camera(centre - forward * distance, right, up, forward, slope, shift, width, height)


class Studio:
    """One shot being taken: it shades points of the product and of the room. Points are in product coordinates."""

    def __init__(self, shot: Shot, width: int, height: int) -> None:
        self.shot, self.rig, self.backdrop = shot, shot.rig, shot.backdrop
        self.solid = Solid(shot.parts)
        self.camera = look(shot, self.solid, width, height)
        self.place = self.to_product(self.camera.place)
        self.key_in_room = unit(column(self.rig.key))
        self.key = self.to_product(self.key_in_room)
        self.fill = self.to_product(unit(column(self.rig.fill)))
        self.starts = self.tile_starts()

    def tile_starts(self) -> Array:
        """Return how far the rays of each tile of TILE x TILE pixels may safely start; infinite where all miss.

        One ray stands for the cone of its tile, and stops as soon as the surface is three times the cone's radius away.
        """
        camera = self.camera
        gy, gx = np.mgrid[0 : camera.height // TILE + 1, 0 : camera.width // TILE + 1]
        ray = self.to_product(camera.rays((gx.ravel() + 0.5) * TILE, (gy.ravel() + 0.5) * TILE))
        return self.solid.march(self.place, ray, 3 * 0.75 * TILE * camera.pixel).reshape(gx.shape)

    def to_product(self, v: Array) -> Array:
        """Turn room vectors with the product."""
        return turned(v, "y", -self.shot.facing)

    def to_room(self, v: Array) -> Array:
        """Turn product vectors back."""
        return turned(v, "y", self.shot.facing)

    def surroundings(self, ray: Array, blur: Array | float) -> Array:
        """Return the light [3, N] that comes in along rays: soft boxes, ceiling, wall and floor."""
        ray = self.to_room(ray)
        blur = np.asarray(blur) + 0.03
        sky, bounce = column(self.rig.sky), column(self.backdrop.bounce)
        up = smooth(-0.6, 1.0, ray[1])
        light = sky * (0.35 + 0.9 * up)
        for direction, colour, wide, high, power in (
            (self.key_in_room, self.rig.key_colour, 0.42, 0.55, 2.6),
            (unit(column(self.rig.fill)), self.rig.fill_colour, 0.2, 0.8, 7.0),
            (unit(column((-0.9, 0.22, 0.35))), self.rig.sky, 0.1, 0.9, 3.0),
        ):
            side = unit(np.stack([direction[2], 0 * direction[0], -direction[0]]))
            above = np.stack(
                [
                    direction[1] * side[2] - direction[2] * side[1],
                    direction[2] * side[0] - direction[0] * side[2],
                    direction[0] * side[1] - direction[1] * side[0],
                ]
            )
            facing = dot(ray, direction)
            a, b = dot(ray, side) / np.maximum(facing, 0.05), dot(ray, above) / np.maximum(facing, 0.05)
            edge = np.clip((wide - np.abs(a)) / blur + 0.5, 0, 1) * np.clip((high - np.abs(b)) / blur + 0.5, 0, 1)
            spread = 1 / (1 + 1.6 * blur + 5 * blur * blur)
            light = light + column(colour) * (power * edge * (facing > 0) * spread)
        ground = np.clip(0.5 - ray[1] / (blur * 1.2 + 0.05), 0, 1)
        return light * (1 - ground) + bounce * 1.1 * ground

    def product_light(self, p: Array, ray: Array) -> Array:
        """Return the light [3, N] that leaves the product at points p towards a viewer along rays."""
        out = np.empty_like(p)
        which = self.solid.nearest_part(p)
        normal = np.empty_like(p)
        for i, part in enumerate(self.solid.parts):
            at = np.flatnonzero(which == i)
            for s in blocks(at.size):
                normal[:, at[s]] = part_normal(part, p[:, at[s]])
        lit = dot(normal, self.key)
        shadow = np.zeros(p.shape[1])
        front = np.flatnonzero(lit > 0)
        start = p[:, front] + normal[:, front] * 0.012
        shadow[front] = self.solid.shade_from(start, self.key, self.rig.softness)
        open_ = self.solid.openness(p, normal, 0.32)
        # The floor hides half the sky from what stands low on it.
        open_ = open_ * (1 - 0.3 * np.exp(-np.maximum(p[1], 0) * 6) * (1 - np.maximum(normal[1], 0)))
        mirrored = ray - 2 * dot(ray, normal) * normal
        free = np.clip(self.solid.distance(p + mirrored * 0.22 + normal * 0.01) / 0.16, 0, 1) * 0.5 + 0.5
        for i, part in enumerate(self.solid.parts):
            at = np.flatnonzero(which == i)
            for s in blocks(at.size):
                j = at[s]
                out[:, j] = self.surface(
                    part.material, p[:, j], normal[:, j], ray[:, j], mirrored[:, j], shadow[j], open_[j], free[j]
                )
        return out

    def surface(
        self,
        material: Material,
        p: Array,
        normal: Array,
        ray: Array,
        mirrored: Array,
        shadow: Array,
        open_: Array,
        free: Array,
    ) -> Array:
        """Light one material: Lambert under key, fill and sky; a Fresnel-weighted mirror image of the surroundings."""
        rig = self.rig
        colour = material.colour(p) if callable(material.colour) else column(material.colour)
        facing = np.clip(-dot(ray, normal), 0, 1)
        key = np.maximum(dot(normal, self.key), 0) * shadow
        fill = np.maximum(dot(normal, self.fill) * 0.7 + 0.3, 0) * open_
        up = 0.5 + 0.5 * normal[1]
        around = (column(rig.sky) * up + column(self.backdrop.bounce) * 0.8 * (1 - up)) * open_
        diffuse = column(rig.key_colour) * key + column(rig.fill_colour) * fill + around
        rim = (1 - facing) ** 5
        base = 0.04 + (colour - 0.04) * material.metal
        gloss = (1 - material.roughness) ** 2
        fresnel = (base + (1 - base) * rim * gloss) * (material.metal + (1 - material.metal) * (0.25 + 0.75 * gloss))
        reflected = self.surroundings(mirrored, material.roughness) * free * (0.45 + 0.55 * open_)
        light = colour * diffuse * (1 - material.metal) * (1 - material.glass) * 0.62 + fresnel * reflected
        if material.glass:
            through = unit(ray * 0.7 - normal * 0.45 * facing)
            light = light + colour * self.surroundings(through, 0.5) * material.glass * (0.25 + 0.75 * facing)
        if material.sheen:
            light = light + (colour * 0.6 + 0.06) * diffuse * material.sheen * (1 - facing) ** 3
        return light + colour * material.glow

    def product(self, x: Array, y: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Return light [3, N] and whether the product is there [N], for pixel positions."""
        light, there = np.zeros((3, x.size)), np.zeros(x.size, dtype=bool)
        start = self.starts[np.maximum(y, 0).astype(np.intp) // TILE, np.maximum(x, 0).astype(np.intp) // TILE]
        at = np.flatnonzero(np.isfinite(start))
        ray = self.to_product(self.camera.rays(x[at], y[at]))
        t = self.solid.march(self.place, ray, self.camera.pixel * 0.25, start[at])
        hit = np.isfinite(t)
        at, ray, t = at[hit], ray[:, hit], t[hit]
        light[:, at] = self.product_light(self.place + ray * t, ray)
        there[at] = True
        return light, there

    def floor_effects(self, x: Array, y: Array) -> Array:
        """Return [6, N] for pixel positions: key light seen, openness, the product's mirror image (RGB), its share."""
        out = np.zeros((6, x.size))
        out[:2] = 1
        ray = self.to_product(self.camera.rays(x, y))
        t = -self.place[1] / np.minimum(ray[1], -1e-6)
        near = np.flatnonzero((ray[1] < -1e-4) & (t < 40))
        p = self.place + ray[:, near] * t[near]
        p[1] = 0.0
        upwards = np.broadcast_to(column((0.0, 1.0, 0.0)), p.shape)
        out[0, near] = self.solid.shade_from(p, self.key, self.rig.softness)
        enter, leave = self.solid.span(p, upwards, margin=0.8)
        by = np.flatnonzero(enter < leave)
        out[1, near[by]] = self.solid.openness(p[:, by], upwards[:, by], 0.55)
        if self.backdrop.mirror:
            back = ray[:, near] * column((1.0, -1.0, 1.0))
            t = self.solid.march(p + back * 0.004, back, 0.002)
            hit = np.isfinite(t)
            q = p[:, hit] + back[:, hit] * t[hit]
            out[2:5, near[hit]] = self.product_light(q, back[:, hit])
            # Less than perfect polish: the image fades with the height of what is mirrored.
            out[5, near[hit]] = np.exp(-q[1] * 1.2)
        return out

    def behind(self) -> Array:
        """Return the light of floor and wall, [3, height, width], in and out of focus."""
        camera, back = self.camera, self.backdrop
        w, h = camera.width, camera.height
        coarse = 2 if w * h < 900_000 else 3
        cw, ch = -(-w // coarse), -(-h // coarse)
        gy, gx = np.mgrid[0:ch, 0:cw]
        x, y = (gx.ravel() + 0.5) * (w / cw), (gy.ravel() + 0.5) * (h / ch)
        planes = self.floor_effects(x, y).reshape(6, ch, cw)
        if back.mirror:
            planes[2:] = ndimage.gaussian_filter(planes[2:], (0, 1.0, 0.7), truncate=3)
            planes[2:5] *= planes[5]
        if back.sweep:  # plain paper has no detail that the coarse grid could miss, nor any to be out of focus
            paper, _ = self.room(camera.rays(x, y), planes.reshape(6, -1))
            return np.stack([resized(plane, w, h) for plane in paper.reshape(3, ch, cw)])
        effects = np.stack([resized(plane, w, h).ravel() for plane in planes])

        seen, distance = np.empty((3, h * w)), np.empty(h * w)
        for s in blocks(h * w, 2 * BLOCK):
            index = np.arange(s.start, s.stop)
            ray = camera.rays(index % w + 0.5, index // w + 0.5)
            seen[:, s], distance[s] = self.room(ray, effects[:, s])
        light, depth = seen.reshape(3, h, w), distance.reshape(h, w)
        if not self.shot.aperture:
            return light
        between = camera.place - self.to_room(self.solid.cloud.mean(axis=1, keepdims=True))
        focus = float(length(*between)[0])
        # Circle of confusion as the standard deviation of a Gaussian, in pixels; the product's own depth is sharp.
        sigma = self.shot.aperture * h * np.maximum(np.abs(1 - focus / depth) - 0.06, 0)
        return defocused(light, np.minimum(sigma, 0.03 * h))

    def room(self, ray: Array, effects: Array) -> tuple[Array, Array]:
        """Return light [3, N] and distance [N] of floor and wall along room rays."""
        camera, back, rig = self.camera, self.backdrop, self.rig
        to_floor = -camera.place[1] / np.minimum(ray[1], -1e-6)
        to_wall = (-back.depth - camera.place[2]) / np.minimum(ray[2], -1e-6)
        z = camera.place[2] + ray[2] * to_floor
        on_floor = (ray[1] < -1e-6) & (z > -back.edge)
        depth = np.where(on_floor, to_floor, to_wall)
        p = camera.place + ray * depth
        seen, open_, mirror = effects[0], effects[1], effects[5]
        blend = on_floor.astype(np.float64)
        if back.sweep:
            # Distance along the paper, 0 in the corner: from floor to wall without a visible bend.
            along = np.where(on_floor, p[2] + back.depth, -p[1])
            blend = smooth(-back.sweep, back.sweep, along)
        out = np.empty_like(ray)
        key, sky = column(rig.key_colour), column(rig.sky)
        # The light stands at a distance: its pool of light is brightest near the product.
        pool = 1 / (1 + 0.035 * ((p[0] + 0.8) ** 2 + (p[2] * 0.8) ** 2))
        lamp = self.key_in_room
        floor_light = key * (lamp[1] * seen * pool) + (sky + column(rig.fill_colour) * 0.5) * open_ * (0.6 + 0.4 * pool)
        facing = np.maximum(lamp[2], 0.15)
        wall_pool = 1 / (1 + 0.03 * ((p[0] + 1.0) ** 2 + (p[1] - 2.0) ** 2))
        wall_light = key * (facing * wall_pool * 0.8) + (sky * 0.75 + column(rig.fill_colour) * 0.4) * (
            0.6 + 0.4 * wall_pool
        )
        light = floor_light * blend + wall_light * (1 - blend)
        at = np.flatnonzero(on_floor)
        size = depth * camera.pixel
        flat = size / np.maximum(-ray[1], 0.05)
        out[:, at] = back.floor(np.stack([p[0, at], p[2, at], np.sqrt(size[at] * flat[at])]))
        up = np.flatnonzero(~on_floor)
        out[:, up] = back.wall(np.stack([p[0, up], p[1, up], size[up]]))
        if back.sweep:
            # One roll of paper: its two colours run into each other.
            out[:, at] += (back.wall(p[:, at]) - out[:, at]) * (1 - blend[at])
            out[:, up] += (back.floor(p[:, up]) - out[:, up]) * blend[up]
        out *= light * 0.62
        if back.mirror:
            polish = back.mirror * (0.06 + 0.94 * (1 - np.clip(-ray[1], 0, 1)) ** 5) * on_floor * blend
            around = back.wall(np.stack([p[0] * 0 + 0.3, p[1] * 0 + 1.5, size])) * sky
            out = out + polish * (around * (1 - mirror) * 0.6 + effects[2:5])
        return out, depth


def part_normal(part: Part, p: Array) -> Array:
    """Return outward normals [3, N] by differences over a tetrahedron, bent by the relief of the material."""
    corners = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], dtype=np.float64)
    relief = part.material.relief
    total = np.zeros_like(p)
    for corner in corners:
        offset = corner.reshape(3, 1) * 0.0025
        d = part.shape(p + offset)
        if relief is not None:
            d = d - relief(p + offset)
        total += corner.reshape(3, 1) * d
    return unit(total)


def resized(plane: Array, width: int, height: int) -> Array:
    """Resize one plane [h, w] bilinearly."""
    image = Image.fromarray(plane.astype(np.float32), "F").resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float64)


def blurred(light: Array, sigma: float) -> Array:
    """Blur [3, h, w] by a Gaussian of this many pixels, on a smaller grid where that shows no difference."""
    h, w = light.shape[1:]
    shrink = max(1, int(sigma / 1.5))
    small = np.stack([resized(plane, -(-w // shrink), -(-h // shrink)) for plane in light])
    small = ndimage.gaussian_filter(small, (0, sigma / shrink, sigma / shrink), truncate=2.5, mode="nearest")
    return np.stack([resized(plane, w, h) for plane in small])


def defocused(light: Array, sigma: Array) -> Array:
    """Blur [3, h, w] by a Gaussian whose width [h, w] varies: levels of blur, mixed between neighbours."""
    levels = [light]
    widths = [0.0]
    while widths[-1] < sigma.max():
        widths.append(1.5 if len(widths) == 1 else widths[-1] * 2)
        levels.append(blurred(light, widths[-1]))
    at = np.interp(sigma, widths, np.arange(len(widths), dtype=np.float64))
    out = np.zeros_like(light)
    for i, level in enumerate(levels):
        out += level * np.maximum(1 - np.abs(at - i), 0)
    return out


def product_layer(studio: Studio, extra: int = 4) -> tuple[Array, Array]:
    """Return the product's light [3, h, w] times its coverage, and the coverage [h, w]; edges get extra rays."""
    w, h = studio.camera.width, studio.camera.height
    gy, gx = np.mgrid[0:h, 0:w]
    light, there = studio.product(gx.ravel() + 0.5, gy.ravel() + 0.5)
    light, coverage = light.reshape(3, h, w), there.reshape(h, w).astype(np.float64)
    tone = np.sqrt(np.minimum(light, 1.5))
    step = np.zeros((h, w), dtype=bool)
    for axis in (0, 1):
        near, far = (slice(None, -1), slice(None)), (slice(1, None), slice(None))
        if axis:
            near, far = near[::-1], far[::-1]
        change = np.abs(np.diff(tone, axis=axis + 1)).max(axis=0) > 0.1
        change |= np.diff(coverage, axis=axis) != 0
        step[near] |= change
        step[far] |= change
    at = np.flatnonzero(step.ravel())
    total, count = light.reshape(3, -1)[:, at], coverage.ravel()[at]
    x, y = (at % w).astype(np.float64) + 0.5, (at // w).astype(np.float64) + 0.5
    for i in range(extra):
        # A sunflower of sub-pixel positions; the centre was the first ray.
        radius, angle = 0.62 * math.sqrt((i + 0.7) / extra), 2.399963 * i
        more, hit = studio.product(x + radius * math.cos(angle), y + radius * math.sin(angle))
        total, count = total + more, count + hit
    light.reshape(3, -1)[:, at] = total / (extra + 1)
    coverage.ravel()[at] = count / (extra + 1)
    return light, coverage


def developed(light: Array, shot: Shot) -> Array:
    """Turn linear light [3, h, w] into display values 0..1 [h, w, 3]: bloom, vignette, film curve, grain."""
    h, w = light.shape[1:]
    light = light * shot.exposure
    light = light + 0.25 * blurred(np.maximum(light - 0.9, 0), 0.012 * h)
    y, x = np.mgrid[0:h, 0:w]
    light = light * (1 - 0.16 * ((x / w - 0.5) ** 2 + (y / h - 0.5) ** 2) * 2)
    # Narkowicz's fit of the ACES curve, https://knarkowicz.wordpress.com/2016/01/06/aces-filmic-tone-mapping-curve/
    curve = light * (2.51 * light + 0.03) / (light * (2.43 * light + 0.59) + 0.14)
    display = np.moveaxis(encoded(np.clip(curve, 0, 1)), 0, 2)
    if shot.grain:
        random = np.random.default_rng(shot.seed)
        grey, tint = (random.standard_normal((h, w, n), dtype=np.float32) for n in (1, 3))
        grey, tint = (ndimage.gaussian_filter(n, (s, s, 0), truncate=2.5) for n, s in ((grey, 0.4), (tint, 0.7)))
        display = display + shot.grain * (1.2 - 0.7 * display) * (1.3 * grey + 0.9 * tint)
    return display


def encoded(linear: Array) -> Array:
    """Apply the sRGB transfer curve."""
    return np.where(linear < 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def photograph(shot: Shot, width: int, height: int) -> tuple[NDArray[np.uint8], Array]:
    """Take the picture: sRGB uint8 [h, w, 3] and the product's coverage of each pixel, 0..1 [h, w]."""
    studio = Studio(shot, width, height)
    light, coverage = product_layer(studio)
    # A lens is never pixel-sharp; the same softness joins the two layers.
    picture = ndimage.gaussian_filter(light + studio.behind() * (1 - coverage), (0, 0.45, 0.45), truncate=3)
    display = developed(picture, shot)
    return np.rint(np.clip(display, 0, 1) * 255).astype(np.uint8), coverage


def cut_out(shot: Shot, width: int, height: int) -> tuple[NDArray[np.uint8], Array]:
    """Take the product alone, on white, without a shadow: sRGB uint8 [h, w, 3] and its coverage [h, w]."""
    light, coverage = product_layer(Studio(shot, width, height))
    display = developed(light / np.maximum(coverage, 1e-6), replace(shot, grain=shot.grain / 2))
    display = display * coverage[..., None] + (1 - coverage[..., None])
    return np.rint(np.clip(display, 0, 1) * 255).astype(np.uint8), coverage
