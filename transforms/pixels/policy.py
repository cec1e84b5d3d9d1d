"""Policies are data: a TOML file or a word says which rule serves a row, and what each of its parameters is."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from transforms.errors import in_one_line
from transforms.pixels.frame import LONGEST, Frame, parse_canvas
from transforms.pixels.methods import DEFAULT_METHOD, METHODS, THRESHOLD, Method, Range
from transforms.pixels.upsample import INTERPOLATIONS

PATTERNED = ("id", "uri")
"""What of a row may be matched with patterns; attributes are matched as they are."""


class PolicyError(Exception):
    """A policy that cannot be understood; one line that names the file, the rule and what is allowed."""

    def __init__(self, message: str) -> None:
        super().__init__(in_one_line(message))


CHOICES: dict[str, tuple[str, ...]] = {
    "interpolation": tuple(INTERPOLATIONS),
    "refine": ("guided", "none"),
    "edge": ("blend", "cut"),
    "position": ("center", "top", "bottom"),
    "holes": ("keep", "fill"),
    "on_no_subject": ("fail", "keep", "white"),
    "on_already_white": ("process", "keep"),
    "normalize": ("raw", "minmax"),
}
"""What the settings that every method shares may be; the first is the default."""

SIZES = {"minimum_component": Range(0, 102_400, 50, whole=True), "fill_below": Range(0, 102_400, 102_400, whole=True)}
"""Sizes in cells of the map, of which there are 102,400."""
FRAMES = {"fill": Range(0.1, 1, 0.85), "enlarge": Range(0.01, 10, 1), "cover": Range(0.01, 1, 1)}
"""Of a canvas: the share that the product spans, how far it may be enlarged, and the share that it may cover."""
SIDES = {"minimum_side": Range(1, LONGEST, 1, whole=True), "maximum_side": Range(1, LONGEST, LONGEST, whole=True)}
"""Of a canvas that is a ratio: what its longer side may be, pixels."""
OF_A_CANVAS = ("canvas", "position", *FRAMES, *SIDES)
SHARPEN = Range(0, 1000, 150, whole=True)
"""Percent; 0 is off."""
SHARED = (*SIZES, *CHOICES, "canvas", *FRAMES, *SIDES, "sharpen")
"""Settings that every method has."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How a probability becomes alpha, with every setting said.

    parameters: the method's own, sorted by name. refine: `guided` brings the map to the photo's size along the photo's
    edges, unless interpolation is `nearest`. edge: `blend` mixes the pixels along the outline as their colours say, and
    takes the old background out of them; `cut` leaves both to the method. minimum_component: smaller pieces of the mask
    are dropped, cells. holes, fill_below: enclosed background smaller than this many cells is kept or filled.
    on_no_subject: an empty mask is a failed row, the original photo, or a white picture. on_already_white: a photo that
    is on white already goes through, or is kept without the network being asked. normalize: `minmax` stretches each map
    to 0..1, as the authors' scripts and rembg do.
    canvas: the size of the picture (`2000x2000`), or its ratio (`4:5`), and then minimum_side and maximum_side; empty
    for that of the photo. fill, enlarge, cover, position: how the product stands in it, as in frame.Frame.
    sharpen: how much the photo is sharpened for the network, percent; None for what the run says. The one setting that
    asks for another map.
    """

    method: str = DEFAULT_METHOD
    parameters: tuple[tuple[str, float], ...] = (("threshold", THRESHOLD.default),)
    interpolation: str = "bilinear"
    refine: str = "guided"
    edge: str = "blend"
    minimum_component: int = 50
    holes: str = "keep"
    fill_below: int = 102_400
    on_no_subject: str = "fail"
    on_already_white: str = "process"
    normalize: str = "raw"
    canvas: str = ""
    fill: float = 0.85
    enlarge: float = 1.0
    cover: float = 1.0
    minimum_side: int = 1
    maximum_side: int = LONGEST
    position: str = "center"
    sharpen: int | None = None

    @property
    def how(self) -> Method:
        """The method."""
        return METHODS[self.method]

    @property
    def keeps_white(self) -> bool:
        """Whether a photo that stands on white already stays as it is, so that nobody needs its map."""
        return self.on_already_white == "keep" and not (self.how.drops or self.how.whitens)

    @property
    def frame(self) -> Frame | None:
        """The canvas, if the rule wants one."""
        if not self.canvas:
            return None
        width, height, is_ratio = parse_canvas(self.canvas)
        sides = (self.minimum_side, self.maximum_side) if is_ratio else None
        return Frame(width, height, self.fill, self.enlarge, self.position, self.cover, sides)

    def canonical(self) -> dict[str, Any]:
        """Write the rule in the one form that digests are taken of; what has no effect is left out."""
        form = {f.name: getattr(self, f.name) for f in fields(self)}
        form["parameters"] = dict(self.parameters)
        if self.holes == "keep":
            del form["fill_below"]
        if self.sharpen is None:
            del form["sharpen"]
        if not self.canvas:
            for name in OF_A_CANVAS:
                del form[name]
        elif not parse_canvas(self.canvas)[2]:
            for name in SIDES:
                del form[name]
        return form

    def sha256(self) -> str:
        """Name the rule: 64 hex digits."""
        return _digest(self.canonical())


@dataclass(frozen=True, slots=True)
class Match:
    """A rule for the rows that have all of some attributes (`category` counts as one)."""

    attributes: tuple[tuple[str, str], ...]
    rule: Rule


@dataclass(frozen=True, slots=True)
class Policy:
    """A default rule, rules by attribute of which the first that matches serves, then rules by category."""

    default: Rule = Rule()
    matches: tuple[Match, ...] = ()
    categories: tuple[tuple[str, Rule], ...] = ()

    def rule_for(
        self, category: str | None, attributes: dict[str, str], id: str = "", uri: str = ""
    ) -> tuple[str, Rule]:
        """Find the rule that serves a row, and its name: `rule 1`, `category hat` or `default`.

        What a rule asks of `id` and `uri` may be a pattern, of which `*` stands for slashes too.
        """
        known = {**attributes, **({"category": category} if category else {}), "id": id, "uri": uri}
        for number, match in enumerate(self.matches, start=1):
            if all(_meets(known.get(name), name, value) for name, value in match.attributes):
                return f"rule {number}", match.rule
        for name, rule in self.categories:
            if name == category:
                return f"category {name}", rule
        return "default", self.default

    def rule_names(self) -> list[str]:
        """Name the rules that are for some rows alone, as rule_for does."""
        numbered = [f"rule {number}" for number in range(1, len(self.matches) + 1)]
        return numbered + [f"category {name}" for name, _ in self.categories]

    def with_interpolation(self, interpolation: str) -> Policy:
        """Give the same policy with one interpolation in all its rules."""
        return Policy(
            replace(self.default, interpolation=interpolation),
            tuple(Match(m.attributes, replace(m.rule, interpolation=interpolation)) for m in self.matches),
            tuple((name, replace(rule, interpolation=interpolation)) for name, rule in self.categories),
        )

    def canonical(self) -> dict[str, Any]:
        """Write the policy in the one form that its digest is taken of."""
        return {
            "default": self.default.canonical(),
            "rules": [{"match": dict(match.attributes), **match.rule.canonical()} for match in self.matches],
            "categories": {name: rule.canonical() for name, rule in self.categories},
        }

    def sha256(self) -> str:
        """Name the policy: 64 hex digits, equal for equal policies however they were written."""
        return _digest(self.canonical())


def _meets(found: str | None, name: str, wanted: str) -> bool:
    if found == wanted:
        return True
    return name in PATTERNED and found is not None and fnmatch.fnmatchcase(found, wanted)


def plain_policy(word: str, base: Mapping[str, Any] = MappingProxyType({})) -> Policy:
    """Make a policy of a threshold such as `0.7`, or of the name of a method. base: what else its rule says.

    Raises:
        PolicyError: it is neither, or a threshold that there cannot be.
    """
    try:
        table: dict[str, Any] = {"threshold": float(word)}
    except ValueError:
        table = {"method": word}
        if word not in METHODS:
            expected = f"a threshold such as 0.7, {', '.join(METHODS)}, or a .toml file"
            raise PolicyError(f"--policy {word}: expected {expected}") from None
    return Policy(_rule({**base, **table}, f"--policy {word}"))


def parse_policy(tables: dict[str, Any], file: str, base: Mapping[str, Any] = MappingProxyType({})) -> Policy:
    """Make a policy of a parsed TOML file: `[default]`, `[[rule]]` with `match = {…}`, and `[category.<name>]`.

    Rules by attribute and category inherit what they do not say from `[default]`, but for the parameters of another
    method. base: what `[default]` inherits.

    Raises:
        PolicyError: it is none, or a parameter is not what it may be.
    """
    _known(tables, ("default", "rule", "category"), file)
    base = {**base, **_table(tables.get("default", {}), f"{file}, [default]")}
    default = _rule(base, f"{file}, [default]")
    matches = []
    for number, table in enumerate(_list(tables.get("rule", []), f"{file}, [[rule]]"), start=1):
        where = f"{file}, [[rule]] {number}"
        match = table.pop("match", None)
        if not isinstance(match, dict) or not match or not all(isinstance(v, str) for v in match.values()):
            raise PolicyError(f'{where}: match must be a table of strings, such as {{ brand = "Acme" }}')
        matches.append(Match(tuple(sorted(match.items())), _rule(_inherit(base, table), where)))
    categories = []
    for name, table in sorted(_table(tables.get("category", {}), f"{file}, [category]").items()):
        where = f"{file}, [category.{name}]"
        categories.append((name, _rule(_inherit(base, _table(table, where)), where)))
    return Policy(default, tuple(matches), tuple(categories))


def parse_canonical(form: dict[str, Any]) -> Policy:
    """Make a policy of its canonical form, as run.json has it.

    Raises:
        PolicyError: it is none.
    """
    tables = {
        "default": _flat(form["default"]),
        "rule": [_flat(rule) for rule in form["rules"]],
        "category": {name: _flat(rule) for name, rule in form["categories"].items()},
    }
    return parse_policy(tables, "run.json")


def change_rule(rule: Rule, table: dict[str, Any], where: str) -> Rule:
    """Give a rule with some of its settings changed. A method's parameters stand for the method as a whole.

    So `threshold = 0.5` alone is the method `fixed`, whatever the rule had; without any of them its method stays.
    Whether a table can be used does not depend on the rule.

    Raises:
        PolicyError: a setting is not what it may be.
    """
    before = _flat(rule.canonical())
    if not table.keys() <= set(SHARED):
        before = {name: value for name, value in before.items() if name in SHARED}
    return _rule({**before, **table}, where)


def _flat(rule: dict[str, Any]) -> dict[str, Any]:
    return {**{name: value for name, value in rule.items() if name != "parameters"}, **rule["parameters"]}


def _inherit(base: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    method = base.get("method", DEFAULT_METHOD)
    if table.get("method", method) != method and isinstance(method, str) and method in METHODS:
        base = {name: value for name, value in base.items() if name not in METHODS[method].parameters}
    return {**base, **table}


def _rule(table: Any, where: str) -> Rule:
    table = _table(table, where)
    method = table.get("method", DEFAULT_METHOD)
    if not isinstance(method, str) or method not in METHODS:
        raise PolicyError(f"{where}: method {method!r} is none of {', '.join(METHODS)}")
    own = METHODS[method].parameters
    _known(table, ("method", *own, *SHARED), where)
    parameters = {name: _number(table.get(name, span.default), span, f"{where}: {name}") for name, span in own.items()}
    if problem := METHODS[method].problem(parameters):
        raise PolicyError(f"{where}: {problem}")
    settings: dict[str, Any] = {
        name: int(_number(table.get(name, span.default), span, f"{where}: {name}"))
        for name, span in {**SIZES, **SIDES}.items()
    }
    if settings["minimum_side"] > settings["maximum_side"]:
        raise PolicyError(f"{where}: minimum_side {settings['minimum_side']} is above its maximum_side")
    for name, choices in CHOICES.items():
        settings[name] = table.get(name, choices[0])
        if settings[name] not in choices:
            raise PolicyError(f"{where}: {name} {settings[name]!r} is none of {', '.join(choices)}")
    for name, span in FRAMES.items():
        settings[name] = _number(table.get(name, span.default), span, f"{where}: {name}")
    if canvas := table.get("canvas", ""):
        try:
            width, height, is_ratio = parse_canvas(str(canvas))
            settings["canvas"] = f"{width}{':' if is_ratio else 'x'}{height}"
        except ValueError as error:
            raise PolicyError(f"{where}: canvas {error}") from error
    if "sharpen" in table:
        settings["sharpen"] = int(_number(table["sharpen"], SHARPEN, f"{where}: sharpen"))
    return Rule(method, tuple(sorted(parameters.items())), **settings)


def _number(value: Any, span: Range, where: str) -> float:
    right = isinstance(value, (int, float)) and not isinstance(value, bool) and span.low <= value <= span.high
    if not right or (span.whole and value != int(value)):
        raise PolicyError(f"{where} is {value!r}, expected {span}")
    return float(value)


def _known(table: dict[str, Any], names: tuple[str, ...], where: str) -> None:
    for name in table:
        if name not in names:
            raise PolicyError(f"{where}: {name!r} is none of {', '.join(names)}")


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PolicyError(f"{where}: expected a table")
    return dict(value)


def _list(value: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise PolicyError(f"{where}: expected [[rule]], with two brackets")
    return [_table(item, where) for item in value]


def _digest(form: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()
