"""Seeded mutations of the program's code: does each module's own test file notice that one thing is different?

    python -m benchmarks.mutants [--seed 1] [--per_module 12] [--module statistics …]

A mutant differs from the code in one comparison, arithmetic sign, number, boolean or branch. It exists in the memory of
a forked process alone: nothing is written beside the code. Decorators, annotations and texts are left as they are.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.abc
import importlib.machinery
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent
MODULES = {
    "transforms.pixels.threshold": ("threshold",),
    "transforms.pixels.methods": ("threshold", "policy"),
    "transforms.pixels.policy": ("policy",),
    "transforms.pixels.statistics": ("statistics",),
    "transforms.output.naming": ("naming",),
    "transforms.pixels.composite": ("render",),
    "transforms.pixels.decode": ("decode", "formats"),
    "transforms.pixels.formats.colour": ("decode", "formats"),
    "transforms.output.maps": ("maps",),
    "transforms.manifest": ("manifest",),
    "transforms.pixels.upsample": ("render",),
    "transforms.pixels.encode": ("render",),
}
"""Each module, and the test files that must notice."""

WARM = ("apache_beam", "cv2", "hypothesis", "pyarrow.parquet", "PIL.Image", "pytest", "scipy", "skimage.measure")
"""Imported once, before processes are forked; nothing of ours."""

NOISE = "rounding noise alone lies between the two"
MEMORY = "the result is the same, only time or memory is not"
SQUARE = "a map is square"
EQUIVALENT = {
    "threshold": {
        'fills = rule.holes == "fill" and rule.fill_below > 1': "no hole is smaller than a cell",
        "count, labels = pieces((pixels > level(threshold)), connectivity=8)": NOISE,
        "certain = labels[(pixels > level(certainty))]": NOISE,
        "outside = np.pad((pixels <= level(threshold)), 1, constant_values=True)": NOISE,
        "small[[0, holes[0, 1]]] = False": "all that surrounds the map is one piece",
        "small[[0, holes[1, 0]]] = False": "all that surrounds the map is one piece",
    },
    "methods": {
        "if (middle - half > -NOISE) and middle + half <= 1 + NOISE:": NOISE,
        "if middle - half >= -NOISE and (middle + half < 1 + NOISE):": NOISE,
        "kept = float(((pixels > level(threshold))).mean())": NOISE,
        "if np.count_nonzero(counts) < 3:": "of two levels the lower one is found either way",
        "if (np.count_nonzero(counts) <= 2):": "of two levels the lower one is found either way",
    },
    "statistics": {
        "mask = (cleaned > level)": NOISE,
        "inside = (levels >= low * 255 - 1e-9) & ((levels < high * 255 + 1e-09))": NOISE,
        "inside = ((levels > low * 255 - 1e-09)) & (levels <= high * 255 + 1e-9)": NOISE,
        '**{f"coverage_{percent}": _share(counts, percent / 100, 2.0) for percent in range(10, 100, 10)},': (
            "no level is above 1"
        ),
        "_, mask = cv2.threshold(alpha, 127, 256, cv2.THRESH_BINARY) # compare() takes 1×1 for a scalar": (
            "OpenCV makes 255 of it"
        ),
        "count, _ = pieces(np.pad(~mask, 2, constant_values=True), connectivity=4)": "one ring of outside will do",
        "white = (WHITE_LEVEL,) * 3, (255,) * 4": "OpenCV looks at three channels",
        "white = (WHITE_LEVEL,) * 4, (255,) * 3": "OpenCV looks at three channels",
        "white = (WHITE_LEVEL,) * 3, (256,) * 3": "no level is above 255",
    },
    "naming": {
        "if len(name) > _LONGEST_SEGMENT // 5 and ( # of which no character takes more than four bytes": MEMORY,
        "if (len(name) >= _LONGEST_SEGMENT // 4) and ( # of which no character takes more than four bytes": MEMORY,
        "return unquote(stem) if True else stem": MEMORY,
    },
    "composite": {
        "STRIP = 1000001 # pixels": MEMORY,
        "if cv2.countNonZero(cv2.inRange(alpha, 1, 255)):": MEMORY,
        "if cv2.countNonZero(cv2.inRange(alpha, 1, 254)): → if True:": MEMORY,
        "rows = max(2, STRIP // rgb.shape[1])": MEMORY,
    },
    "upsample": {
        'if interpolation == "bilinear" and size[0] >= pixels.shape[1] and size[1] >= pixels.shape[1]:': SQUARE,
        'if interpolation == "bilinear" and size[0] >= pixels.shape[0] and size[1] >= pixels.shape[0]:': SQUARE,
        "side = min(size[0], pixels.shape[1]), min(size[1], pixels.shape[1])": SQUARE,
        "side = min(size[0], pixels.shape[0]), min(size[1], pixels.shape[0])": SQUARE,
    },
    "encode": {
        '"png": Encoding("png", "image/png", False, {"compress_level": 6}),': "what cannot be transparent becomes png",
        "longest = max(pixels.shape[:3])": "no side is shorter than the number of channels, and at the limit",
    },
    "decode": {
        "if True: # its decoder makes room at once": "no other file begins as a WebP does",
        'if name in ("AVIF", "HEIF"): → if True:': "no other file has such boxes",
        'if name == "PNG": → if True:': "what is no PNG comes back as it is",
        'return file.getvalue() if True else b""': "behind every opened picture are its bytes",
    },
    "colour": {
        "STEEP = 4": "no curve is known that lies between",
        "darkest = [icc.srgb_encode(curve(np.array(1 / 255))) * 256 for curve in curves if curve is not None]": (
            "no curve is known that lies between"
        ),
        "levels = np.arange(white + 2)": "no pixel has the one level more",
        "grid = np.stack(np.meshgrid(*[np.linspace(0, 255, 9)] * 3), -2).reshape(-1, 3)": (
            "other colours are tried: no profile is known that could tell"
        ),
    },
    "manifest": {
        "if storage.is_local(uri): → if False:": "below a folder both ways give the same path",
        "return (IMAGE_ENDINGS.index(ending) if True else len(IMAGE_ENDINGS), uri)": "every picture has such an ending",
        "FILES_COUNTED = 100001": "of a larger folder, how many files are looked at for a message",
    },
}
"""Mutants that change nothing anyone could see, by module and mutated line (or both lines), with the reason."""

SWAPS: dict[type[ast.AST], Any] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And},
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult},
    **{ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift},
    **{ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd},
}


@dataclass(frozen=True)
class Mutant:
    """A change of a module. source: all of it, changed. before, after: the line, or the piece of several lines."""

    module: str
    line: int
    before: str
    after: str
    source: str


def mutants_of(module: str) -> list[Mutant]:
    """Make every mutant of a module."""
    source = path_of(module).read_text()
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    found: dict[str, Mutant] = {}
    for node, changed in _changes(ast.parse(source)):
        begin = starts[node.lineno - 1] + len(lines[node.lineno - 1].encode()[: node.col_offset].decode())
        last = (node.end_lineno or node.lineno) - 1
        end = starts[last] + len(lines[last].encode()[: node.end_col_offset].decode())
        new = ast.unparse(changed)
        new = new if isinstance(changed, ast.Constant) else f"({new})"
        mutated = source[:begin] + new + source[end:]
        first, after = starts[node.lineno - 1], starts[last + 1]
        before = " ".join(source[first:after].split())
        shown = " ".join((source[first:begin] + new + source[end:after]).split())
        found.setdefault(mutated, Mutant(module, node.lineno, before, shown, mutated))
    return list(found.values())


def _changes(tree: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Give each expression that can be changed, with what it becomes."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "type_params") or isinstance(tree, ast.JoinedStr):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.expr) and (name == "test" or (name == "ifs" and value)):
                yield from ((child, ast.Constant(constant)) for constant in (True, False))
            if isinstance(child, ast.expr):
                yield from ((child, changed) for changed in _changed(child))
            yield from _changes(child)


def _changed(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.Compare):
        for number, operator in enumerate(node.ops):
            copy = deepcopy(node)
            copy.ops[number] = SWAPS[type(operator)]()
            yield copy
    elif isinstance(node, (ast.BinOp, ast.BoolOp)):
        is_union = isinstance(node, ast.BinOp) and isinstance(node.right, ast.Constant) and node.right.value is None
        if type(node.op) in SWAPS and not is_union:
            changed = deepcopy(node)
            changed.op = SWAPS[type(node.op)]()
            yield changed
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
        yield ast.Constant(not node.value if isinstance(node.value, bool) else node.value + 1)


def path_of(module: str) -> Path:
    """Give a module's file."""
    return ROOT / f"{module.replace('.', '/')}.py"


class Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a mutant in the place of its module."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(self, name: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Answer for the one module."""
        return importlib.machinery.ModuleSpec(name, self) if name == self.mutant.module else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed source."""
        module.__file__ = str(path_of(self.mutant.module))
        exec(compile(self.mutant.source, module.__file__, "exec"), module.__dict__)


def outcome(mutant: Mutant | None, tests: Sequence[str], limit: float, folder: str) -> str:
    """Run tests in a forked process: `passed`, `failed` or `timeout`."""
    child = os.fork()
    if not child:
        os.setsid()
        sink = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(sink, stream)
        import pytest

        if mutant:
            sys.meta_path.insert(0, Mutated(mutant))
        files = [str(ROOT / f"tests/test_{name}.py") for name in tests]
        options = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--basetemp", f"{folder}/{os.getpid()}")
        os._exit(int(pytest.main([*options, "--rootdir", str(ROOT), *files])))
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "failed" if status else "passed"
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def main() -> None:
    """Print every survivor, and a table of modules."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--per_module", type=int, default=12)
    parser.add_argument("--module", nargs="*", default=[], help="last part of a name; all modules if not given")
    args = parser.parse_args()
    sys.dont_write_bytecode = True
    for name in WARM:
        importlib.import_module(name)
    table: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = f"{folder}/hypothesis"
        for module, tests in MODULES.items():
            short = module.rpartition(".")[2]
            if args.module and short not in args.module:
                continue
            started = time.monotonic()
            if outcome(None, tests, 900, folder) != "passed":
                sys.exit(f"{module}: its tests fail without any change")
            limit = 20 + 5 * (time.monotonic() - started)
            every = mutants_of(module)
            chosen = random.Random(f"{args.seed} {short}").sample(every, min(args.per_module, len(every)))
            left = equivalent = 0
            for mutant in chosen:
                if outcome(mutant, tests, limit, folder) != "passed":
                    continue
                known = EQUIVALENT.get(short, {})
                reason = known.get(mutant.after) or known.get(f"{mutant.before} → {mutant.after}")
                left, equivalent = left + 1, equivalent + bool(reason)
                where = f"{path_of(module).relative_to(ROOT)}:{mutant.line}"
                said = f"{where}{f' (nothing changes: {reason})' if reason else ''}"
                print(f"{said}\n    {mutant.before}\n  → {mutant.after}\n", flush=True)
            table[short] = [len(chosen), len(chosen) - left, left, equivalent]
    table["all"] = [sum(column) for column in zip(*table.values(), strict=True)]
    print("| module | mutants | killed | survived | of which nothing changes |\n|---|---:|---:|---:|---:|")
    for short, counts in table.items():
        print(f"| {' | '.join(map(str, (short, *counts)))} |")


if __name__ == "__main__":
    main()
