"""What a run was asked for."""

from __future__ import annotations

import tomllib

from transforms import storage
from transforms.errors import PhotoError
from transforms.pixels.policy import Policy, PolicyError, parse_policy, plain_policy


def load_policy(text: str) -> Policy:
    """Load what the user gave for --policy: a threshold such as `0.7`, the name of a method, or a TOML file.

    Raises:
        PolicyError: it is none of these, or a parameter is not what it may be.
    """
    text = text.strip()
    if not text.endswith(".toml"):
        return plain_policy(text)
    try:
        tables = tomllib.loads(storage.read(text).data.decode("utf-8"))
    except PhotoError as error:
        raise PolicyError(f"--policy {text}: {error.message}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"--policy {text}: not TOML: {error}") from error
    return parse_policy(tables, text)
