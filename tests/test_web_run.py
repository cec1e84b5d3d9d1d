"""A catalog on a web server: the same pictures as from files, and on the second night next to nothing is asked for."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import digests, draw_product, report_rows, run, run_json
from webserver import Site, reset, serve, status

from transforms.storage import web

pytestmark = pytest.mark.usefixtures("u2netp")
NIGHT = ("--model", "u2netp", "--allow_private_addresses")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Four photos and the manifest that names them, one in the host's root; the last has a weak ETag only."""
    monkeypatch.setattr(web, "FIRST_WAIT_S", 0.001)
    with serve() as site:
        for n, name in enumerate(("/shop/p/0.jpg", "/shop/p/1.jpg?size=big", "/2.jpg", "/shop/p/3.jpg")):
            site.pages[name] = (photo(n), f'W/"{n}"' if n == 3 else f'"{n}"')
        rows = ["id,uri", "zero,p/0.jpg", f",{site.url}/shop/p/1.jpg?size=big", "two,/2.jpg", "three,p/3.jpg"]
        site.pages["/shop/today.csv?key=a/b"] = ("\n".join(rows).encode(), None)
        yield site


def photo(seed: int) -> bytes:
    buffer = io.BytesIO()
    draw_product(seed, (200, 160)).save(buffer, "JPEG")
    return buffer.getvalue()


def night(site: Site, output: Path, *more: str) -> int:
    site.log.clear()
    return run("run", "--manifest", f"{site.url}/shop/today.csv?key=a/b", "--output", output, *NIGHT, *more)


def photos_read(site: Site) -> list[str]:
    return sorted(path for path in site.asked("GET") if ".csv" not in path)


def test_photos_on_the_web_give_the_pictures_of_local_ones(site: Site, tmp_path: Path) -> None:
    assert night(site, tmp_path / "out") == 0
    assert len(photos_read(site)) == 4
    ids = ["zero", f"{site.url.removeprefix('http://')}/shop/p/1", "two", "three"]
    rows = {row["id"]: row for row in report_rows(tmp_path / "out")}
    versions = [rows[id]["source_version"] for id in ids]
    assert [version and version.partition("@")[0] for version in versions] == ['"0"', '"1"', '"2"', None]
    (tmp_path / "files").mkdir()
    for n in range(4):
        (tmp_path / f"files/{n}.jpg").write_bytes(photo(n))
    assert run("run", "--manifest", tmp_path / "files", "--output", tmp_path / "local", "--model", "u2netp") == 0
    local = [row["output_sha256"] for row in report_rows(tmp_path / "local")]
    assert [rows[id]["output_sha256"] for id in ids] == local


@pytest.mark.parametrize("trouble", [status(503), reset])
def test_a_server_in_trouble_for_a_while_costs_nothing(site: Site, tmp_path: Path, trouble: object) -> None:
    assert night(site, tmp_path / "calm") == 0
    for path in site.pages:
        site.tricks[path] = [trouble, trouble]  # type: ignore[list-item]
    assert night(site, tmp_path / "rough") == 0
    assert digests(tmp_path / "rough") == digests(tmp_path / "calm")


def test_what_changed_on_the_server_is_done_again_and_nothing_else(site: Site, tmp_path: Path) -> None:
    assert night(site, tmp_path / "out") == 0
    assert night(site, tmp_path / "out") == 0
    assert photos_read(site) == ["/shop/p/3.jpg"]  # a weak ETag promises nothing
    assert run_json(tmp_path / "out")["work"] == {"photos_read": 1}
    site.pages["/2.jpg"] = (photo(9), '"9"')
    assert night(site, tmp_path / "out") == 0
    assert photos_read(site) == ["/2.jpg", "/shop/p/3.jpg"]
    work = run_json(tmp_path / "out")["work"]
    assert (work["photos_predicted"], work["images_written"]) == (1, 1)
    site.tricks["/2.jpg"], site.always = [status(500)], {"/2.jpg"}
    assert night(site, tmp_path / "out", "--max_failure_fraction", "0.5") == 0
    rows = {row["id"]: row for row in report_rows(tmp_path / "out")}
    assert (rows["two"]["status"], rows["two"]["code"]) == ("failed", "http_error")
    assert (tmp_path / "out" / rows["two"]["output_uri"]).exists()  # the shop's picture stays


def test_a_packed_manifest_is_unpacked_whatever_its_address(site: Site, tmp_path: Path) -> None:
    text = b"uri\nhttp://me:secret@" + site.url.removeprefix("http://").encode() + b"/2.jpg\n"
    site.pages |= {"/m.csv.gz?key=a.b/c": (gzip.compress(text), None), "/plain.csv.gz": (text, None)}
    for name in site.pages:
        if ".gz" in name:
            assert run("run", "--manifest", f"{site.url}{name}", "--output", tmp_path / "out", *NIGHT) == 0
            assert "secret" not in report_rows(tmp_path / "out")[0]["id"]


def test_private_servers_must_be_allowed_and_verify_repairs_from_the_web(site: Site, tmp_path: Path) -> None:
    arguments = ("--manifest", f"{site.url}/shop/today.csv?key=a/b", "--output", tmp_path / "out", "--model", "u2netp")
    assert run("run", *arguments) == 1
    assert {row["code"] for row in report_rows(tmp_path / "out")} == {"blocked_address"}
    assert photos_read(site) == site.asked("HEAD") == []
    assert night(site, tmp_path / "out") == 0
    (tmp_path / "out/images/two.jpg").unlink()
    assert run("verify", "--output", tmp_path / "out", "--repair") == 0
    assert photos_read(site)[-1:] == ["/shop/p/3.jpg"]
    assert run("migrate", *arguments, "--allow_private_addresses", "--policy", "otsu") == 0
    assert {row["method"] for row in report_rows(tmp_path / "out")} == {"otsu"}


def test_a_wrong_address_is_a_failed_row_and_of_a_manifest_an_error_of_the_request(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.pages["/local.csv"] = (b"id,uri\na,file:///etc/passwd\nb,x:y.jpg\n", None)
    assert run("run", "--manifest", f"{site.url}/local.csv", "--output", tmp_path / "bad", *NIGHT) == 1
    assert {row["code"] for row in report_rows(tmp_path / "bad")} == {"bad_row"}
    site.pages["/bad.csv"] = (b"id,uri\na,http://[::1/x.jpg\nb,//[\nc,ftp://x/y\nd,http://\n", None)
    assert run("run", "--manifest", f"{site.url}/bad.csv", "--output", tmp_path / "bad", *NIGHT) == 1
    assert [row["code"] for row in report_rows(tmp_path / "bad")] == ["bad_row", "not_found", "bad_row", "bad_row"]
    capsys.readouterr()
    for path, said in (("/none.csv", "404"), ("/page", "expected an ending"), ("/shop/p/", "expected an ending")):
        assert run("run", "--manifest", f"{site.url}{path}", "--output", tmp_path / "out", *NIGHT) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    manifest = ("--manifest", f"{site.url}/shop/today.csv?key=a/b")
    for command in (("run", *manifest), ("verify",), ("migrate", *manifest, "--policy", "0.7")):
        assert run(*command, "--output", f"{site.url}/out") == 2
        assert "gs://" in capsys.readouterr().err
