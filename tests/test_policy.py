"""Policies as data: which rule serves a row, what is refused, and digests that mean what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from transforms.pixels.methods import METHODS
from transforms.pixels.policy import Policy, PolicyError
from transforms.settings import load_policy


def policy_of(tmp_path: Path, text: str) -> Policy:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return load_policy(str(path))


EXAMPLE = """
[default]
method = "fixed"
threshold = 0.7
minimum_component = 20

[[rule]]
match = { category = "hat", brand = "Acme" }
method = "soft"

[[rule]]
match = { brand = "Acme" }
threshold = 0.5

[category.hat]
method = "otsu"
floor = 0.4
"""


def test_the_first_matching_rule_serves_then_the_category_then_the_default(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, EXAMPLE)
    served = {
        ("hat", "Acme"): ("rule 1", "soft", {}),
        ("shoe", "Acme"): ("rule 2", "fixed", {"threshold": 0.5}),
        ("hat", "Other"): ("category hat", "otsu", {"floor": 0.4, "ceiling": 1.0}),
        ("shoe", "Other"): ("default", "fixed", {"threshold": 0.7}),
    }
    for (category, brand), (name, method, parameters) in served.items():
        found, rule = policy.rule_for(category, {"brand": brand})
        assert (found, rule.method, dict(rule.parameters)) == (name, method, parameters)
        assert rule.minimum_component == 20  # inherited from the default
    assert policy.rule_for(None, {})[0] == "default"


def test_equal_policies_written_differently_have_one_digest(tmp_path: Path) -> None:
    short = load_policy("0.70")
    long = policy_of(
        tmp_path, '# the same\n[default]\nthreshold = 0.7\ninterpolation = "bilinear"\nholes = "keep"\nfill_below = 9\n'
    )
    assert short.sha256() == long.sha256() == Policy().sha256()
    reordered = policy_of(
        tmp_path, EXAMPLE.replace('category = "hat", brand = "Acme"', 'brand = "Acme", category = "hat"')
    )
    assert reordered.sha256() == policy_of(tmp_path, EXAMPLE).sha256()


def test_every_method_and_setting_has_a_digest_of_its_own(tmp_path: Path) -> None:
    texts = [f'[default]\nmethod = "{method}"\n' for method in METHODS]
    texts += [
        f"[default]\n{line}\n"
        for line in (
            "threshold = 0.6",
            'interpolation = "nearest"',
            "minimum_component = 1",
            'holes = "fill"',
            'holes = "fill"\nfill_below = 5',
            'on_no_subject = "white"',
            'on_already_white = "keep"',
            'normalize = "minmax"',
        )
    ]
    texts.append("[category.a]\nthreshold = 0.6\n")
    texts.append('[[rule]]\nmatch = { category = "a" }\nthreshold = 0.6\n')
    assert len({policy_of(tmp_path, text).sha256() for text in texts}) == len(texts)


def test_one_interpolation_for_all_rules(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, EXAMPLE).with_interpolation("nearest")
    rules = [policy.default, *(m.rule for m in policy.matches), *(rule for _, rule in policy.categories)]
    assert {rule.interpolation for rule in rules} == {"nearest"}


@pytest.mark.parametrize("text", ["", "seven", "0", "-0.1", "1.01", "nan", "inf", "70%", "none.toml"])
def test_nonsense_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(text)
    assert str(caught.value).startswith("--policy")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("[default]\nthreshold = 2\n", "[default]: threshold is 2", "a number from 0.00392157 to 1"),
        ('[default]\nthreshold = "high"\n', "[default]: threshold is 'high'", "a number"),
        ('[default]\nmethod = "magic"\n', "[default]: method 'magic'", "fixed, otsu, soft, ramp, hysteresis, ladder"),
        ('[default]\nmethod = "otsu"\nthreshold = 0.5\n', "[default]: 'threshold'", "floor, ceiling"),
        ('[default]\nmethod = "otsu"\nfloor = 0.9\nceiling = 0.1\n', "[default]: floor 0.9", "above ceiling 0.1"),
        ('[default]\nmethod = "hysteresis"\nlow = 0.9\nhigh = 0.1\n', "[default]: low 0.9", "above high 0.1"),
        ('[default]\nmethod = "ladder"\nstart = 0.2\nstop = 0.5\n', "[default]: stop 0.5", "above start 0.2"),
        ("[category.hat]\nminimum_component = 1.5\n", "[category.hat]: minimum_component is 1.5", "a whole number"),
        ("[[rule]]\nmatch = {}\n", "[[rule]] 1: match", "a table of strings"),
        ("[[rule]]\nthreshold = 0.5\n", "[[rule]] 1: match", "a table of strings"),
        ('[rule]\nmatch = { a = "b" }\n', "[[rule]]", "two brackets"),
        ('[default]\nholes = "plug"\n', "[default]: holes 'plug'", "keep, fill"),
        ("[rules]\n", "'rules'", "default, rule, category"),
        ("[default\n", "not TOML", ""),
        ("threshold = true\n", "'threshold'", "default, rule, category"),
        ("[default]\nthreshold = true\n", "threshold is True", "a number"),
    ],
)
def test_a_wrong_file_is_told_where_and_what_is_allowed(tmp_path: Path, text: str, where: str, what: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy_of(tmp_path, text)
    message = str(caught.value)
    assert "policy.toml" in message
    assert where in message
    assert what in message
    assert "\n" not in message
