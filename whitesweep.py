"""whitesweep from Python. This page is all of it that others may use; what stands elsewhere may change any day.

One photo that you hold in memory (neither Beam nor a folder is needed):

- `cut_out`: bytes in, bytes out, with the statistics of its mask: what `run` would write for that photo.
- `saliency_map`, `network_input`: its map alone, and what the network is given.
- `Policy`, `Rule`, `load_policy`: how a map becomes a mask.

Photos by the thousand, in a Beam pipeline of your own:

- `PutOnWhite`: a PTransform from plain rows to `PhotoOutcome`s, which writes pictures and maps.
- `U2NetModelHandler`: the network for Beam's RunInference.

Errors: `PhotoError` (`code`, a failure code of docs/reference.md, and `message`) is about one photo; `RequestError` and
`PolicyError` say that what was asked for cannot be; `FatalError` that no photo would be done (altered weights, a dead
device). Each is one line. The weights are fetched by `python -m weights`, once.

`import whitesweep` loads neither Beam nor an engine. The first photo loads this process's one network, which threads
share; another model, or other settings of it, take its place. From then on Pillow's own limit of pixels is off in this
process, as `max_pixels` is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RequestError
from transforms.beam_faults import without_annotations
from transforms.errors import FatalError, PhotoError
from transforms.pixels.methods import DEFAULT_POLICY
from transforms.pixels.policy import Policy, PolicyError, Rule
from transforms.pixels.types import Cutout, MaskStatistics

if TYPE_CHECKING:
    from pipeline.checks import Settings
    from pipeline.model_handler import U2NetModelHandler
    from pipeline.put_on_white import PutOnWhite
    from transforms.plain_rows import PhotoOutcome

__all__ = [
    "Cutout",
    "FatalError",
    "MaskStatistics",
    "PhotoError",
    "PhotoOutcome",
    "Policy",
    "PolicyError",
    "PutOnWhite",
    "RequestError",
    "Rule",
    "U2NetModelHandler",
    "cut_out",
    "load_policy",
    "network_input",
    "saliency_map",
]


def cut_out(
    data: bytes,
    policy: str | Policy = DEFAULT_POLICY,
    *,
    category: str | None = None,
    attributes: Mapping[str, str] | None = None,
    saliency: NDArray[np.uint8] | None = None,
    background: str = "white",
    format: str = "same",
    model: str = "u2net",
    **more: Unpack[Settings],
) -> Cutout:
    """Put one photo on white: the bytes that `run` would write for it under the same settings.

    Args:
        data: the photo's file, of any format that is read.
        policy: a threshold, the name of a method, the path of a TOML file, or a Policy.
        category, attributes: by which the policy finds the rule that serves the photo.
        saliency: its map, uint8 [320, 320], if you have it; then the network is not asked.
        background: a colour name, `#rrggbb` or `transparent`.
        format: `same`, `jpeg`, `png` or `webp`.
        model: `u2net`, or `u2netp`, the small one.
        more: weights, device, precision, batch_size, sharpen, interpolation, keep_metadata, profile, max_bytes and
            max_pixels, as the flags of `run` of those names.

    Returns:
        data: the picture's file. format, content_type: what it is. threshold: the one in force, 0..1, None for `soft`.
        statistics: of the mask; None of a photo that was kept as it stood on white already. mask_flags: what is to be
        said of it. violations: of the profile, if there is one.

    Raises:
        PhotoError: the photo cannot be used, or nothing was found in it (`no_subject`).
        RequestError: a setting is not what it may be. TypeError: data are not bytes. FatalError: see above.

    Example:
        >>> import io
        >>> from PIL import Image, ImageDraw
        >>> photo, file = Image.new("RGB", (300, 200), "#b0a890"), io.BytesIO()
        >>> ImageDraw.Draw(photo).ellipse((80, 40, 220, 170), fill="#a02020")
        >>> photo.save(file, "JPEG")
        >>> cutout = cut_out(file.getvalue(), "0.5", model="u2netp", format="png")
        >>> cutout.content_type, cutout.threshold, cutout.statistics.components
        ('image/png', 0.5, 1)
        >>> picture = Image.open(io.BytesIO(cutout.data))
        >>> picture.size, picture.getpixel((5, 5))
        ((300, 200), (255, 255, 255))
    """
    from pipeline.checks import make_settings
    from transforms.one_photo import cutout_of

    settings = make_settings(policy, background=background, format=format, model=model, **more)
    return cutout_of(data, settings, category, attributes or {}, saliency)


def saliency_map(data: bytes, *, model: str = "u2net", **more: Unpack[Settings]) -> NDArray[np.uint8]:
    """Ask the network where the product is: uint8 [320, 320], the raw sigmoid probability times 255.

    Arguments and errors are those of cut_out.

    Example:
        >>> import io
        >>> from PIL import Image, ImageDraw
        >>> file = io.BytesIO()
        >>> photo = Image.new("RGB", (300, 200), "#b0a890")
        >>> ImageDraw.Draw(photo).ellipse((80, 40, 220, 170), fill="#a02020")
        >>> photo.save(file, "JPEG")
        >>> found = saliency_map(file.getvalue(), model="u2netp")
        >>> found.shape, found[160, 160] > found[5, 5]
        ((320, 320), np.True_)
        >>> cut_out(file.getvalue(), "otsu", saliency=found).format
        'jpeg'
    """
    from pipeline.checks import make_settings
    from transforms.one_photo import map_of

    return map_of(data, make_settings(model=model, **more))


def network_input(data: bytes, *, sharpen: int = 150) -> NDArray[np.uint8]:
    """Make what the network is given of a photo: on white, sharpened, resized; uint8 [320, 320, 3], RGB.

    Raises:
        PhotoError: the photo cannot be used. RequestError: sharpen is not from 0 to 1000.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (300, 200), "red").save(file, "PNG")
        >>> network_input(file.getvalue()).shape
        (320, 320, 3)
    """
    from pipeline.checks import make_settings
    from transforms.one_photo import input_of

    return input_of(data, make_settings(model=None, sharpen=sharpen))


def load_policy(text: str) -> Policy:
    """Load a policy: a threshold such as `0.7`, the name of a method, or the path of a TOML file (docs/reference.md).

    Raises:
        PolicyError: it is none of these, or a parameter is not what it may be; one line.

    Example:
        >>> policy = load_policy("ramp")
        >>> policy.default.method, dict(policy.default.parameters)
        ('ramp', {'threshold': 0.7, 'width': 0.2})
    """
    from transforms import settings

    return settings.load_policy(text)


without_annotations(cut_out, saliency_map)

_WITH_BEAM = {
    "PhotoOutcome": "transforms.plain_rows",
    "PutOnWhite": "pipeline.put_on_white",
    "U2NetModelHandler": "pipeline.model_handler",
}


def __getattr__(name: str) -> Any:
    """Import what needs Beam when it is asked for."""
    if name not in _WITH_BEAM:
        raise AttributeError(f"module 'whitesweep' has no attribute {name!r}")
    return getattr(import_module(_WITH_BEAM[name]), name)
