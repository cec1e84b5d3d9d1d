"""Policies as data: which rule serves a row, what is refused, and digests that mean what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.pixels.methods import METHODS
from transforms.pixels.policy import Policy, PolicyError, parse_canonical, parse_policy, plain_policy
from transforms.settings import load_policy

pytestmark = pytest.mark.pure


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


LEAST = 1 / 255
PARAMETERS = [
    ("fixed", "threshold", LEAST, 1, 0.7),
    ("otsu", "floor", 0, 1, 0),
    ("otsu", "ceiling", 0, 1, 1),
    ("ramp", "threshold", LEAST, 1, 0.7),
    ("ramp", "width", 0.01, 1, 0.2),
    ("hysteresis", "low", LEAST, 1, 0.4),
    ("hysteresis", "high", LEAST, 1, 0.8),
    ("ladder", "start", LEAST, 1, 0.9),
    ("ladder", "stop", LEAST, 1, 0.3),
    ("ladder", "step", 0.01, 1, 0.1),
    ("ladder", "minimum_share", 0, 1, 0.02),
    ("soft", "minimum_component", 0, 102_400, 50),
    ("soft", "fill_below", 0, 102_400, 102_400),
]
"""Method, parameter, and its least, greatest and usual value."""

CHOICES = {
    "interpolation": ["bilinear", "nearest"],
    "holes": ["keep", "fill"],
    "on_no_subject": ["fail", "keep", "white"],
    "on_already_white": ["process", "keep"],
    "normalize": ["raw", "minmax"],
}
"""Settings of every method; the first is the usual one."""


def refusal(default: Any = None, **tables: Any) -> str:
    """Give why a file is refused, or nothing."""
    try:
        parse_policy({**({} if default is None else {"default": default}), **tables}, "p.toml")
    except PolicyError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("method", "name", "least", "greatest", "usual"), PARAMETERS)
def test_a_parameter_has_its_range_and_its_default(
    method: str, name: str, least: float, greatest: float, usual: float
) -> None:
    rule = parse_policy({"default": {"method": method}}, "p.toml").default
    assert dict(rule.parameters).get(name, getattr(rule, name, None)) == usual
    step = 1 if name in ("minimum_component", "fill_below") else 1e-6
    for value in (least, greatest):  # one parameter may rule another out, for a reason of its own
        assert "expected" not in refusal({"method": method, name: value})
    beyond: list[Any] = [least - step, greatest + step, -greatest, str(usual), True, None]
    for value in [*beyond, *([1.5] if step == 1 else [])]:
        assert f"p.toml, [default]: {name} is {value!r}, expected a" in refusal({"method": method, name: value})


@pytest.mark.parametrize("name", CHOICES)
def test_a_setting_has_its_choices_and_its_default(name: str) -> None:
    assert getattr(Policy().default, name) == CHOICES[name][0]
    for value in CHOICES[name]:
        assert getattr(parse_policy({"default": {name: value}}, "p.toml").default, name) == value
    assert f"{name} 'other' is none of {', '.join(CHOICES[name])}" in refusal({name: "other"})


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"method": "ramp", "threshold": 0.1, "width": 0.2}, ""),  # the band may begin at 0 …
        ({"method": "ramp", "threshold": 0.9, "width": 0.2}, ""),  # … and end at 1
        ({"method": "ramp", "threshold": 0.7, "width": 0.6}, ""),
        ({"method": "ramp", "threshold": 0.5, "width": 1}, ""),
        ({"method": "ramp", "threshold": 0.09, "width": 0.2}, "from -0.01 to 0.19 leaves 0..1"),
        ({"method": "ramp", "threshold": 0.09, "width": 0.2}, "around 0.09 is at most 0.18"),
        ({"method": "ramp", "threshold": 0.92, "width": 0.2}, "around 0.92 is at most 0.16"),
        ({"method": "otsu", "floor": 0.5, "ceiling": 0.5}, ""),
        ({"method": "hysteresis", "low": 0.5, "high": 0.5}, ""),
        ({"method": "ladder", "start": 0.5, "stop": 0.5}, ""),
        ({"method": "ladder", "start": 0.5, "stop": 0.51}, "stop 0.51 is above start 0.5"),
        ({"method": 7}, "method 7 is none of"),
        ({"method": ["fixed"]}, "method ['fixed'] is none of"),
    ],
)
def test_what_parameters_may_not_be_together(table: dict[str, Any], said: str) -> None:
    assert said in refusal(table)
    assert bool(said) is bool(refusal(table))


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, ("otsu", {"floor": 0.4, "ceiling": 1})),
        ({"method": "otsu", "ceiling": 0.8}, ("otsu", {"floor": 0.4, "ceiling": 0.8})),
        ({"method": "fixed"}, ("fixed", {"threshold": 0.7})),  # what only the other method has is not inherited
        ({"method": "soft"}, ("soft", {})),
    ],
)
def test_rules_inherit_what_they_do_not_say(own: dict[str, Any], expected: tuple[str, dict[str, float]]) -> None:
    base = {"method": "otsu", "floor": 0.4, "holes": "fill", "fill_below": 9}
    for more in ({"rule": [{"match": {"a": "b"}, **own}]}, {"category": {"hat": own}}):
        policy = parse_policy({"default": base, **more}, "p.toml")
        _, rule = policy.rule_for("hat", {"a": "b"})
        assert (rule.method, dict(rule.parameters)) == expected
        assert (rule.holes, rule.fill_below) == ("fill", 9)


def test_of_a_usual_default_a_rule_inherits_its_threshold_unless_its_method_is_another() -> None:
    rules = [{"match": {"a": "1"}}, {"match": {"a": "2"}, "method": "soft"}]
    policy = parse_policy({"default": {"threshold": 0.3}, "rule": rules}, "p.toml")
    assert [dict(match.rule.parameters) for match in policy.matches] == [{"threshold": 0.3}, {}]


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"rule": [{"match": {"a": "b"}}, {"match": {"a": 1}}]}, "p.toml, [[rule]] 2: match must be"),
        ({"rule": [{"match": "a"}]}, "p.toml, [[rule]] 1: match must be"),
        ({"rule": ["a"]}, "p.toml, [[rule]]: expected a table"),
        ({"category": "hat"}, "p.toml, [category]: expected a table"),
        ({"category": {"hat": 0.7}}, "p.toml, [category.hat]: expected a table"),
        ({"default": 0.7}, "p.toml, [default]: expected a table"),
        ({"category": {"a\nb": 0.7}}, "p.toml, [category.a b]: expected a table"),
    ],
)
def test_a_table_must_stand_where_one_is_expected(tables: dict[str, Any], said: str) -> None:
    assert refusal(**tables).startswith(said)


def test_the_category_is_an_attribute_too_and_an_empty_one_is_none() -> None:
    rules = [{"match": {"category": "hat"}, "threshold": 0.2}, {"match": {"category": ""}, "threshold": 0.3}]
    policy = parse_policy({"rule": rules, "category": {"hat": {}, "shoe": {}}}, "p.toml")
    assert policy.rule_for("hat", {"category": "shoe"})[0] == "rule 1"
    assert policy.rule_for("shoe", {})[0] == "category shoe"
    assert policy.rule_for("", {})[0] == "default"
    assert policy.rule_for(None, {"category": "hat"})[0] == "rule 1"


def test_a_policy_that_says_nothing_is_the_usual_one_and_has_the_digest_of_stored_reports() -> None:
    assert parse_policy({}, "p.toml") == Policy()
    assert Policy().sha256() == "4ef100731a300334e3a0914f51aea852edea203582f72dcec55bf30bb8896aff"


def test_a_policy_of_a_word() -> None:
    with pytest.raises(PolicyError, match=r"expected a threshold such as 0\.7, fixed, otsu, soft"):
        plain_policy("no")
    assert plain_policy("0.5").default.parameters == (("threshold", 0.5),)
    assert plain_policy("hysteresis").default.parameters == (("high", 0.8), ("low", 0.4))


def ascending(low: float, *names: str) -> st.SearchStrategy[dict[str, float]]:
    """Draw parameters of which each is at least the one before."""
    values = st.lists(st.floats(low, 1), min_size=len(names), max_size=len(names)).map(sorted)
    return values.map(lambda drawn: dict(zip(names, drawn, strict=True)))


OWN: dict[str, st.SearchStrategy[dict[str, float]]] = {
    "fixed": ascending(LEAST, "threshold"),
    "otsu": ascending(0, "floor", "ceiling"),
    "soft": st.just({}),
    "ramp": st.floats(0.2, 0.8).flatmap(
        lambda middle: st.fixed_dictionaries({"threshold": st.just(middle), "width": st.floats(0.01, 0.4)})
    ),
    "hysteresis": ascending(LEAST, "low", "high"),
    "ladder": ascending(LEAST, "stop", "start"),
}
SHARED = {
    **{name: st.sampled_from(choices) for name, choices in CHOICES.items()},
    **{name: st.integers(0, 102_400) for name in ("minimum_component", "fill_below")},
}


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a table that says its method, all that the method has, and some of what all have."""
    method = draw(st.sampled_from(sorted(OWN)))
    return {"method": method, **draw(OWN[method]), **draw(st.fixed_dictionaries({}, optional=SHARED))}


NAMES = st.text(max_size=5)
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "default": rules(),
        "rule": st.lists(
            st.builds(lambda match, rule: {"match": match, **rule}, st.dictionaries(NAMES, NAMES, min_size=1), rules()),
            max_size=3,
        ),
        "category": st.dictionaries(NAMES, rules(), max_size=3),
    },
)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(POLICIES)
def test_any_policy_comes_back_from_what_run_json_says_of_it(tables: dict[str, Any]) -> None:
    policy = parse_policy(tables, "p.toml")
    again = parse_canonical(json.loads(json.dumps(policy.canonical())))
    assert again.sha256() == policy.sha256()
    assert again.canonical() == policy.canonical()
    for attributes in (dict(match.attributes) for match in policy.matches):
        category = attributes.pop("category", None)
        assert again.rule_for(category, attributes)[0] == policy.rule_for(category, attributes)[0]
    for table, rule in [
        *zip([tables["default"]] if "default" in tables else [], [policy.default], strict=False),
        *zip(tables.get("rule", []), (match.rule for match in policy.matches), strict=True),
    ]:
        said = {**dict(rule.parameters), **{name: getattr(rule, name) for name in ("method", *SHARED)}}
        assert {name: said[name] for name in table if name != "match"} == {
            name: value for name, value in table.items() if name != "match"
        }


odd = (
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
)
odd_tables = st.dictionaries(st.sampled_from(["method", "threshold", "width", "floor", "match", "holes"]) | NAMES, odd)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.dictionaries(
        st.sampled_from(["default", "rule", "category"]),
        odd | odd_tables | st.lists(odd_tables, max_size=2) | st.dictionaries(NAMES, odd_tables, max_size=2),
    )
)
def test_whatever_stands_in_a_file_is_a_policy_or_one_line(tables: dict[str, Any]) -> None:
    said = refusal(**tables)
    assert not said or said.startswith(("p.toml, [", "p.toml: "))
    assert "\n" not in said


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


def test_ids_and_uris_are_matched_with_patterns_and_attributes_as_they_are(tmp_path: Path) -> None:
    rules = (
        'match = { id = "shoe-*", uri = "*/new/?.jpg" }\nthreshold = 0.1',
        'match = { id = "[1]", brand = "A*" }\nthreshold = 0.2',
        'match = { id = "Hat/*" }\nthreshold = 0.3',
        'match = { uri = "*" }\nthreshold = 0.4',
    )
    (tmp_path / "p.toml").write_text("".join(f"[[rule]]\n{rule}\n" for rule in rules))
    policy = load_policy(str(tmp_path / "p.toml"))

    def named(id: str, uri: str = "", **attributes: str) -> str:
        return policy.rule_for("hat", attributes, id, uri)[0]

    assert named("shoe-7", "in/new/1.jpg") == "rule 1"
    assert named("shoe-7", "in/new/12.jpg") == "rule 4"
    assert named("[1]", brand="A*") == named("1", brand="A*") == "rule 2"  # itself, and what it means as a pattern
    assert named("[1]", brand="Acme") == "rule 4"
    assert named("Hat/a/b") == "rule 3"
    assert named("hat/a") == "rule 4"
    assert policy.rule_names() == ["rule 1", "rule 2", "rule 3", "rule 4"]
    assert parse_canonical(json.loads(json.dumps(policy.canonical()))) == policy
