"""In words: in which settings a run differs from the one before it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from transforms.pixels.methods import METHODS
from transforms.pixels.policy import Rule

SCOPES = ("format", "background", "keep_metadata", "sharpen")
BEFORE = {"refine": "none", "edge": "cut"}
"""What a policy did that was written before it could say so."""
TOLD = 4
"""How many differences of a policy are told one by one."""


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Say what decides rows or pictures and is not as it was.

    Args:
        before, now: RunSettings.record; before may be of another version, and lack what that did not know.
    """
    try:
        return _differences(before, now)
    except (AttributeError, KeyError, TypeError, ValueError):
        return ["those of the run before cannot be read"]


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    told = []
    one, other = before.get("network"), now.get("network")
    if isinstance(one, dict) and isinstance(other, dict):
        same_model = one.get("model") == other.get("model")
        told += _changed("model", one.get("model"), other.get("model"))
        if same_model and one.get("weights_sha256") != other.get("weights_sha256"):
            told.append("other weights")
        told += _changed("precision", one.get("precision"), other.get("precision"))
    for name in SCOPES:
        if name in before and not (name == "sharpen" and other is None):
            told += _changed(name, _word(name, before[name]), _word(name, now.get(name)))
    return told + _policies(before.get("policy"), now.get("policy")) + _profiles(before, now) + _decisions(before, now)


def _profiles(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    one, other = before.get("profile"), now.get("profile")
    names = [profile["name"] if profile else "none" for profile in (one, other)]
    if one == other:
        return []
    return [f"profile {names[0]} -> {names[1]}" if names[0] != names[1] else f"profile {names[0]} asks other things"]


def _decisions(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    one, other = (record.get("decisions") or {"count": 0, "sha256": None} for record in (before, now))
    if one["sha256"] == other["sha256"]:
        return []
    return [f"decisions on single photos {one['count']} -> {other['count']}"]


def _changed(name: str, before: Any, now: Any) -> list[str]:
    return [] if before == now or before is None else [f"{name} {before} -> {now}"]


def _word(name: str, value: Any) -> Any:
    if name == "background":
        return "transparent" if value is None else "#" + "".join(f"{channel:02x}" for channel in value)
    return {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value


def _policies(before: Any, now: Any) -> list[str]:
    """Say which rules of two policies in canonical form differ, and in what."""
    if not isinstance(before, dict) or not isinstance(now, dict) or before == now:
        return []
    if not any(policy.get(part) for policy in (before, now) for part in ("rules", "categories")):
        return [f"policy {_plain(before.get('default', {}))} -> {_plain(now.get('default', {}))}"]
    told = []
    one, other = _rules(before), _rules(now)
    for name in [*other, *(name for name in one if name not in other)]:
        if name not in one or name not in other:
            told.append(f"policy: {name} is {'new' if name in other else 'gone'}")
        elif one[name] != other[name]:
            keys = [key for key in {**one[name], **other[name]} if one[name].get(key) != other[name].get(key)]
            values = (f"{key} {one[name].get(key)} -> {other[name].get(key)}" for key in keys)
            told.append(f"policy: {name}: {', '.join(values)}")
    return told if len(told) <= TOLD else [*told[:TOLD], f"and {len(told) - TOLD} more rules"]


def _rules(policy: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Give the rules by name, each as one flat table."""
    named = {"default": policy.get("default", {})}
    named |= {f"rule {number}": rule for number, rule in enumerate(policy.get("rules", []), start=1)}
    named |= {f"category {name}": rule for name, rule in policy.get("categories", {}).items()}
    return {name: {**BEFORE, **rule, **rule.get("parameters", {}), "parameters": None} for name, rule in named.items()}


def _plain(rule: dict[str, Any]) -> str:
    """Write a rule as --policy would have it, and what is not the method's own default."""
    method, parameters = rule.get("method"), rule.get("parameters", {})
    if method == "fixed":
        name = f"{parameters.get('threshold')}"
    else:
        known = METHODS[method].parameters if method in METHODS else {}
        own = {key: value for key, value in parameters.items() if key not in known or known[key].default != value}
        name = " ".join([str(method), *(f"{key} {value}" for key, value in own.items())])
    rule = {**BEFORE, **rule}
    usual = {f.name: getattr(Rule(), f.name) for f in fields(Rule) if f.name not in ("method", "parameters")}
    more = [f"{key} {rule[key]}" for key, value in usual.items() if rule.get(key, value) != value]
    return ", ".join([name, *more])
