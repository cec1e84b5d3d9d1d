"""Measure whitesweep beside its peers: the same photos, the same u2net weights, the same processors, file to file.

    python -m benchmarks.peers --work FOLDER [--photos FOLDER] [--count 40] [--megapixels 1.0] [--rounds 3]

Each tool is run as its users run it on a folder, as a whole process, on all processors this one may use, in turn in
each round: over a few photos, then over all. The difference of the two gives the speed without start-up; peak memory
is that of the largest process. All are run once before, untimed, as some compile code when they are first used.

By default the tools do not do the same: the peers compute in float32 and write transparent PNG, whitesweep computes in
bfloat16 where the processor does, and writes pictures on white in the photo's own format, maps and a report. So it is
run three times: as it comes, and twice set to what rembg does (no sharpening, the map stretched to 0..1, its values as
alpha, transparent PNG), the second time in float32 too. The masks compared are alpha ≥ 128 of the very files whose
making was timed. They cannot be equal, for the resizes differ: to 320×320 and back rembg uses Lanczos, CarveKit
bicubic, backgroundremover an antialiased linear one and Lanczos, whitesweep the authors': bilinear, not antialiased.

Each peer gets a virtual environment under --work, from PyPI, held to constraints.txt. Those that need torch see the
running interpreter's packages after their own, so that torch is not installed again. The weights lie where the peers
would download them to: for rembg the ONNX file, for the others a checkpoint with the authors' names, in which batch
norm changes nothing. CarveKit is told the sha512 of that file, or it would delete it; no peer is changed otherwise.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model.machine import available_cpus
from weights.fetch import fetch
from weights.published import FOLDER

Masks = dict[str, NDArray[np.bool_]]  # by the name of the photo
ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "rembg": ["rembg[cli,cpu]==2.0.86", "gradio==6.15.1", "numba==0.68.1", "pymatting==1.1.16"],
    "backgroundremover": ["backgroundremover==0.4.5", "moviepy==1.0.3", "numba==0.68.1", "pymatting==1.1.16"],
    "carvekit": ["carvekit==4.1.2", "fastapi==0.165.0", "opencv-python==5.0.0.93", "pydantic==2.14.3"],
}
NEED_TORCH = {"backgroundremover", "carvekit"}
NOT_RUN = {"transparent-background": "has no U²-Net; the weights of its own network, InSPyReNet, are not on PyPI"}
CARVEKIT = """
from carvekit.utils.download_models import MODELS_CHECKSUMS
MODELS_CHECKSUMS["u2net.pth"] = "{}"
from carvekit.__main__ import removebg
removebg()
"""
# What rembg does with a map.
POLICY = '[default]\nmethod = "soft"\nnormalize = "minmax"\non_no_subject = "white"\nrefine = "none"\nedge = "cut"\n'
ALIKE = " like rembg, fp32"
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}  # no modules of ours


class ToolError(Exception):
    """A tool that cannot be set up or run: one line that says why."""


@dataclass
class Tool:
    """A tool, how it is run on a folder, and what was measured."""

    name: str
    version: str
    command: list[str]  # with {photos} and {output} to be filled in
    environment: Mapping[str, str]
    seconds: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))  # by number of photos
    megabytes: float = 0

    def rates(self) -> tuple[float, float]:
        """Give photos a second, with start-up and without: medians over the rounds."""
        (few, short), (many, long) = sorted(self.seconds.items())
        further = statistics.median(b - a for a, b in zip(short, long, strict=True)) / (many - few)
        return many / statistics.median(long), 1 / further if further > 0 else float("nan")


def measured(command: list[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Run a command; give its seconds, and the peak resident memory of the largest of its processes in MB."""
    with tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=said, stderr=said, cwd=ROOT, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            last = said.read().strip().rpartition("\n")[2]
            raise ToolError(f"{Path(command[0]).name} ended with {process.returncode}: {last[:200]}")
    return seconds, usage.ru_maxrss / 1024


def make_photos(source: Path, folder: Path, count: int, megapixels: float) -> None:
    """Enlarge photos to JPEG files of one area; where photos are too few, files of the same one differ in a comment."""
    endings = {".jpg", ".jpeg", ".png", ".webp"}
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in endings)
    if not found:
        raise SystemExit(f"no photos in {source}; name a folder with --photos")
    random.Random(0).shuffle(found)
    folder.mkdir(parents=True)
    for number in range(count):
        with Image.open(found[number % len(found)]) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
        scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        image.save(folder / f"{number:05d}.jpg", quality=92, comment=f"photo {number}")


def place_weights(home: Path) -> None:
    """Put the published weights where each peer looks for them under its home folder."""
    import torch  # here and in a process of its own: the peak memory of a process is passed on to those it starts

    from model.checkpoint import BATCH_NORM_EPSILON
    from weights.files import locate, read

    fetch("u2net", keep_onnx=True)
    state = {name: torch.tensor(array) for name, array in read(locate("u2net")).items()}
    for name, bias in list(state.items()):
        if name.endswith(".conv_s1.bias"):
            norm = name.replace(".conv_s1.bias", ".bn_s1")
            state[f"{norm}.weight"] = torch.ones_like(bias)
            state[f"{norm}.bias"] = state[f"{norm}.running_mean"] = torch.zeros_like(bias)
            state[f"{norm}.running_var"] = torch.full_like(bias, 1 - BATCH_NORM_EPSILON)
            state[f"{norm}.num_batches_tracked"] = torch.tensor(0)
    carvekit = home / ".cache/carvekit/checkpoints/u2net-universal"
    for folder in (home / ".u2net", carvekit):
        folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, home / ".u2net/u2net.pth")
    shutil.copy(home / ".u2net/u2net.pth", carvekit)
    shutil.copy(FOLDER / "u2net.onnx", home / ".u2net")


def install(name: str, folder: Path) -> None:
    """Make a peer's virtual environment, unless it is there."""
    done, wanted = folder / "installed.txt", "\n".join(PACKAGES[name])
    if done.is_file() and done.read_text() == wanted:
        return
    print(f"installing {name} …", file=sys.stderr, flush=True)
    measured([sys.executable, "-m", "venv", "--clear", str(folder)], CLEAN)
    if name in NEED_TORCH:
        packages = next(folder.glob("lib/python*/site-packages"))
        (packages / "torch-of-whitesweep.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [str(folder / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    measured([*pip, "--constraint", str(ROOT / "constraints.txt"), *PACKAGES[name]], CLEAN)
    done.write_text(wanted)


def peer(name: str, work: Path) -> Tool:
    """Set a peer up; a ToolError says why it cannot be had."""
    programs, home, checkpoint = work / f"{name}-peer/bin", work / "home", work / "home/.u2net/u2net.pth"
    install(name, programs.parent)
    command = [str(programs / name), "p", "--model", "u2net", "{photos}", "{output}"]
    if name == "backgroundremover":
        command[1:] = ["--model", "u2net", "--input-folder", "{photos}", "--output-folder", "{output}"]
    if name == "carvekit":
        with open(checkpoint, "rb") as file:
            code = CARVEKIT.format(hashlib.file_digest(file, "sha512").hexdigest())
        command = [str(programs / "python"), "-c", code, "-i", "{photos}", "-o", "{output}", "--net", "u2net"]
        command += ["--seg_mask_size", "320", "--post", "none"]
    paths = {"HOME": str(home), "U2NET_HOME": str(home / ".u2net"), "U2NET_PATH": str(checkpoint)}
    return Tool(name, PACKAGES[name][0].partition("==")[2], command, CLEAN | paths)


def ourselves(scratch: Path) -> list[Tool]:
    """Set whitesweep up: as it comes, as rembg does it, and that in float32."""
    (scratch / "policy.toml").write_text(POLICY)
    run = [sys.executable, "-m", "pipeline", "run", "--manifest", "{photos}", "--output", "{output}"]
    run += ["--model", "u2net", "--max_failure_fraction", "1"]  # the few photos may be those without a product
    alike = ["--sharpen", "0", "--policy", str(scratch / "policy.toml"), "--background", "transparent"]
    alike += ["--format", "png"]
    settings = {"": [], " like rembg": alike, ALIKE: [*alike, "--precision", "fp32"]}
    ours = version("whitesweep")
    return [Tool(f"whitesweep{more}", ours, run + flags, os.environ) for more, flags in settings.items()]


def measure(tools: list[Tool], rounds: int, folders: list[Path], scratch: Path) -> dict[str, str]:
    """Run each tool in turn, first untimed; drop those that fail, and give the reasons."""
    failed: dict[str, str] = {}
    for number in range(rounds + 1):
        for tool in [tool for tool in tools if tool.name not in failed]:
            for photos in folders if number else folders[:1]:
                output = scratch / tool.name
                shutil.rmtree(output, ignore_errors=True)
                output.mkdir(parents=True)
                command = [word.format(photos=photos, output=output) for word in tool.command]
                try:
                    seconds, megabytes = measured(command, tool.environment)
                except ToolError as error:
                    failed[tool.name] = str(error)
                    break
                print(f"round {number}: {tool.name}, {photos.name}: {seconds:.1f} s", file=sys.stderr, flush=True)
                if number:
                    tool.seconds[len(list(photos.iterdir()))].append(seconds)
                    tool.megabytes = max(tool.megabytes, megabytes)
    return failed


def pictures(output: Path) -> dict[str, Path]:
    """Give the pictures that a tool made, by the name of the photo."""
    folder = output / "images" if (output / "report").is_dir() else output
    return {path.stem.removeprefix("output_"): path for path in folder.glob("*") if path.stat().st_size}


def masks(output: Path) -> Masks:
    """Read what a tool found to be the product; nothing if its pictures have no alpha."""
    found = {}
    for name, path in pictures(output).items():
        with Image.open(path) as image:
            if "A" in image.getbands():
                found[name] = np.asarray(image.getchannel("A")) >= 128
    return found


def agreement(ours: Masks, theirs: Masks) -> str:
    """Compare two tools' masks: cells of mean and least IoU, and of the share of pixels that differ."""
    pairs = [(ours[name], theirs[name]) for name in ours.keys() & theirs.keys()]
    if not pairs:
        return "no alpha | – | –"
    ious = [(a & b).sum() / (a | b).sum() if (a | b).any() else 1.0 for a, b in pairs]
    differing = sum((a != b).sum() for a, b in pairs) / sum(a.size for a, _ in pairs)
    return f"{np.mean(ious):.4f} | {min(ious):.4f} | {differing:.3%}"


def print_tables(tools: list[Tool], missing: dict[str, str], scratch: Path) -> None:
    """Print what was measured as Markdown: speed and memory, then masks."""
    rates = {tool.name: tool.rates() for tool in tools}
    base, further_base = rates.get("rembg", (float("nan"), float("nan")))
    print("| tool | version | pictures | photos a second | without start-up | × rembg | without start-up | peak MB |")
    print("|---|---|---|---|---|---|---|---|")
    for tool in tools:
        whole, further = rates[tool.name]
        cells = [tool.name, tool.version, str(len(pictures(scratch / tool.name)))]
        cells += [f"{whole:.2f}", f"{further:.2f}", f"{whole / base:.2f}", f"{further / further_base:.2f}"]
        print(f"| {' | '.join(cells)} | {tool.megabytes:.0f} |")
    for name, reason in missing.items():
        print(f"| {name} | not measured: {reason} |" + " |" * 6)
    found = {tool.name: masks(scratch / tool.name) for tool in tools}
    for beside in [name for name in ("rembg", f"whitesweep{ALIKE}") if name in found]:
        print(f"\n| masks beside {beside} | mean IoU | least IoU | pixels that differ |\n|---|---|---|---|")
        for name in [name for name in found if name != beside]:
            print(f"| {name} | {agreement(found[name], found[beside])} |")


def main() -> None:
    """Set up, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    images, known = Path("../shared/data/catalog/images"), [*PACKAGES, *NOT_RUN]
    parser.add_argument("--photos", type=Path, default=images, help=f"a folder of images (default: {images})")
    parser.add_argument("--megapixels", type=float, default=1.0, help="what they are enlarged to (default: 1.0)")
    parser.add_argument("--count", type=int, default=40, help="how many (default: 40)")
    parser.add_argument("--few", type=int, help="how many in the short runs (default: a quarter of --count)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    parser.add_argument("--work", type=Path, help="where the peers are installed, 2.1 GB (default: temporary)")
    parser.add_argument("--peer", action="append", choices=known, help="may be given more than once (default: all)")
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.home:
        place_weights(flags.home)
        return
    few = flags.few or flags.count // 4
    if not 0 < few < flags.count or flags.rounds < 1:
        parser.error("there must be a round, and --few must be less than --count")
    with tempfile.TemporaryDirectory(prefix="peers-") as temporary:
        scratch = Path(temporary)
        work = (flags.work or scratch).resolve()
        folders = [scratch / "photos/few", scratch / "photos/all"]
        for folder, count in zip(folders, (few, flags.count), strict=True):
            make_photos(flags.photos, folder, count, flags.megapixels)
        measured([sys.executable, "-m", "benchmarks.peers", "--home", str(work / "home")], os.environ)
        tools, missing = ourselves(scratch), {name: NOT_RUN[name] for name in flags.peer or known if name in NOT_RUN}
        for name in [name for name in flags.peer or known if name not in NOT_RUN]:
            try:
                tools.append(peer(name, work))
            except ToolError as error:
                missing[name] = str(error)
        missing |= measure(tools, flags.rounds, folders, scratch)
        print(f"{flags.count} photos of {flags.megapixels} megapixels, {few} in the short runs; ", end="")
        print(f"{flags.rounds} rounds; {available_cpus()} processors\n")
        print_tables([tool for tool in tools if tool.name not in missing], missing, scratch)


if __name__ == "__main__":
    main()
