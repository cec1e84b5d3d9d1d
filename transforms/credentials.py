"""No password in any output: what is written, printed or reported of an address leaves out what opens it.

The address itself (ManifestRow.source, ManifestFile.uri) keeps it, for reading only.
"""

from __future__ import annotations

import re

_BEGINS = r"(?:[a-z][a-z0-9+.-]*://|\bhttps?:/?|(?:^|(?<=[\s=,;\"'(<]))//)"
_USER = re.compile(rf"({_BEGINS})[^/?#\s]*@", re.IGNORECASE)
_BROKEN_USER = re.compile(rf"({_BEGINS})(?![\[/])[^/?#\s@:]*:(?!\d*(?:[/?#\s:,;)\"']|$)).*@", re.IGNORECASE)
"""A password with a slash, a space or the like in it, unescaped: what is there of a port is none."""

_SECRETS = (
    *("signature", "sig", "token", "secret", "password", "passwd", "pwd", "pass", "auth", "authorization"),
    *("api_?-?key", "access_?-?key", "access_?-?token", "auth_?-?token", "id_token", "sas", "jwt", "code"),
    *("x-amz-signature", "x-amz-credential", "x-amz-security-token", "x-goog-signature", "x-goog-credential"),
    *("awsaccesskeyid", "googleaccessid", "key-pair-id", "policy", "hdnea", "hdnts", "__token__"),
)
_SECRET_PARAMETER = re.compile(rf"([?&;](?:{'|'.join(_SECRETS)})=)[^&#\s]+", re.IGNORECASE)


def without_password(text: str) -> str:
    """Replace user and password of each address in a text: `https://***@host/`, as some servers' user is a token."""
    if "@" not in text or ("//" not in text and "http" not in text.lower()):
        return text
    return _BROKEN_USER.sub(r"\1***@", _USER.sub(r"\1***@", text))


def without_secrets(text: str) -> str:
    """Replace user and password, and what signs an address or opens it behind its `?` (`sig=***`), for a message.

    A row's uri keeps the latter: it may be what tells two photos apart.
    """
    text = without_password(text)
    return _SECRET_PARAMETER.sub(r"\1***", text) if "=" in text else text
