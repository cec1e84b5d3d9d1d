"""Ids become file names: injective and unable to leave the folder."""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.errors import PhotoError
from transforms.output.naming import id_of_output, output_name

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("sku-1", "images/sku-1.jpg"),
        ("a/b c", "images/a/b c.jpg"),
        ("παπούτσι", "images/παπούτσι.jpg"),
        ("100%", "images/100%25.jpg"),
        ("a:b*?", "images/a%3Ab%2A%3F.jpg"),
        (".hidden", "images/%2Ehidden.jpg"),
        ("a\\b", "images/a%5Cb.jpg"),
        ("x.jpg/y", "images/x%2Ejpg/y.jpg"),
        ("v1.2/y", "images/v1.2/y.jpg"),
        ("...", "images/%2E.%2E.jpg"),
    ],
)
def test_names(id: str, name: str) -> None:
    assert output_name(id, "jpg") == name


def test_no_two_ids_share_a_name_and_none_leaves_the_folder() -> None:
    ids = ["".join(letters) for n in range(1, 5) for letters in itertools.product("a./%2E ~", repeat=n)]
    names: dict[str, str] = {}
    for id in ids:
        try:
            name = output_name(id, "jpg")
        except PhotoError:
            continue
        assert names.setdefault(name, id) == id
        assert os.path.normpath(name) == name
        assert name.startswith("images/")
        assert not any(part.startswith(".") for part in name.split("/"))
    assert len(names) > 1000


def test_no_folder_is_called_like_a_file() -> None:
    for ending in ("jpg", "JPG", "jpeg", "png", "webp"):
        assert output_name(f"a.{ending}/b", "jpg").split("/")[1] != output_name("a", ending).split("/")[1]


@pytest.mark.parametrize(
    ("id", "reason"),
    [("", "is empty"), ("/a", "begins with /"), ("a//b", "has an empty"), ("a\x7f", "control character")],
)
def test_a_bad_id_is_told_why(id: str, reason: str) -> None:
    with pytest.raises(PhotoError, match=reason):
        output_name(id, "jpg")


@pytest.mark.parametrize(
    "id", ["", "/a", "a/../b", "..", ".", "a//b", "a/", "a\0b", "a\nb", "\udcff", "x" * 300, "/".join("x" * 999)]
)
def test_bad_ids(id: str) -> None:
    with pytest.raises(PhotoError) as caught:
        output_name(id, "jpg")
    assert caught.value.code == "bad_id"
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("longest", "one_more"),
    [
        ("x" * 200, "x" * 201),
        ("ü" * 100, "ü" * 100 + "x"),
        ("\U00020000" * 50, "\U00020000" * 50 + "x"),
        ("\U00020000" * 50, "\U00020000" * 51),
        ("%" * 66 + "xx", "%" * 67),  # as it is escaped
        ("x" * 200 + "/y", "x" * 201 + "/y"),
        ("/".join(["x" * 200] * 4 + ["x" * 96]), "/".join(["x" * 200] * 4 + ["x" * 97])),
    ],
)
def test_a_part_has_at_most_200_bytes_and_a_name_900(longest: str, one_more: str) -> None:
    output_name(longest, "jpg")
    with pytest.raises(PhotoError, match="too long for a file name") as caught:
        output_name(one_more, "jpg")
    assert caught.value.code == "bad_id"


odd_ids = st.lists(st.sampled_from([*"ab/.%~ \\:*?[\"'é\u0301\U0001f600", "..", "%2F", ".jpg", ".PNG", "x" * 90]))
some_ids = odd_ids.map("".join) | st.text(st.characters(codec=None), max_size=30)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(some_ids, st.sampled_from(["jpg", "png", "webp"]))
def test_every_id_is_refused_for_a_reason_or_has_a_safe_name_that_gives_it_back(id: str, extension: str) -> None:
    parts = id.split("/")
    wrong = bool(CONTROL.search(id)) or not {"", ".", ".."}.isdisjoint(parts)
    with suppress(PhotoError):
        name = output_name(id, extension)
        assert not wrong
        check_name(name, id, extension)
        return
    assert wrong or max(3 * len(part.encode()) for part in parts) > 200  # escaping may take three bytes for one


def check_name(name: str, id: str, extension: str) -> None:
    images, *folders, file = name.split("/")
    assert images == "images"
    assert len(folders) == id.count("/")  # slashes alone make folders
    for part in (*folders, file):
        assert 0 < len(part.encode()) <= 205
        assert not part.startswith((".", "~", " "))
        assert not part.endswith((".", " "))
        assert not set(part) & set('\\:*?[]{}"<>|$;`#')
        assert all(c.isascii() or unicodedata.category(c)[0] in "LN" for c in part)
    assert not any(folder.lower().endswith((".jpg", ".jpeg", ".png", ".webp")) for folder in folders)
    assert file.endswith(f".{extension}")
    assert id_of_output("/".join((*folders, file)), "stable") == id
