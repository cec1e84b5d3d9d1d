"""Ids become file names: injective and unable to leave the folder."""

from __future__ import annotations

import itertools
import os

import pytest

from transforms.errors import PhotoError
from transforms.output.naming import output_name


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
    "id", ["", "/a", "a/../b", "..", ".", "a//b", "a/", "a\0b", "a\nb", "\udcff", "x" * 300, "/".join("x" * 999)]
)
def test_bad_ids(id: str) -> None:
    with pytest.raises(PhotoError) as caught:
        output_name(id, "jpg")
    assert caught.value.code == "bad_id"
    assert "\n" not in caught.value.message
