"""No password in any output: not in a report, a message, a log or a lease."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import draw_product, newest, report_rows, run, run_json
from webserver import Site, serve, status

from transforms import credentials
from transforms.errors import FatalError, PhotoError
from transforms.output import lease
from transforms.storage import web

PASSWORD = "s3cr3t-Pa$$w0rd"
NIGHT = ("--model", "u2netp", "--allow_private_addresses")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(web, "FIRST_WAIT_S", 0.001)
    with serve() as site:
        yield site


def as_user(url: str) -> str:
    return url.replace("://", f"://user:{PASSWORD}@")


def everything(folder: Path) -> str:
    """Give all that is written below a folder as one text, tables unpacked."""
    said = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            said.append(str(path))
            if path.suffix == ".parquet":
                said.append(str(pq.ParquetFile(path).read().to_pylist()))
            else:
                said.append(path.read_bytes().decode("latin-1"))
    return "\n".join(said)


@pytest.mark.usefixtures("u2netp")
def test_a_password_is_used_and_never_said(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    buffer = io.BytesIO()
    draw_product(1, (200, 160)).save(buffer, "JPEG")
    site.pages["/a.jpg"] = (buffer.getvalue(), '"a"')
    for path, trick in (
        ("/gone.jpg", status(404)),
        ("/busy.jpg", status(503)),
        ("/moved.jpg", status(302, Location=as_user(f"{site.url}/gone.jpg"))),
        ("/far.jpg", status(302, Location=f"ftp://user:{PASSWORD}@x/y")),
    ):
        site.tricks[path] = [trick]
        site.always.add(path)
    home = as_user(site.url)
    rows = [
        "id,uri,link",
        f"good,{home}/a.jpg,{home}/page",
        f",{home}/gone.jpg,",
        *(f"{name},{home}/{name}.jpg," for name in ("busy", "moved", "far")),
        f"port,http://user:{PASSWORD}@host:99999999/x.jpg,",
        f"odd,http://user:{PASSWORD}/odd@host/x.jpg,",
        f"space,http://user:{PASSWORD} odd@host/x.jpg,",
        f"dead,https://user:{PASSWORD}@127.0.0.1:1/x.jpg,",
        f"ftp,ftp://user:{PASSWORD}@host/x.jpg,",
        f"token,http://{PASSWORD}@nowhere.invalid/x.jpg,",
        f"signed,{site.url}/gone.jpg?w=1&sig={PASSWORD},",
        f"relative,//user:{PASSWORD}@{site.url.removeprefix('http://')}/a.jpg,",
        f"{home}/a.jpg,{home}/a.jpg,",
        f"twin,{home}/a.jpg,",
        f"twin,{home}/a.jpg?2,",
        f"x,{home}/a.jpg,y,z,too many",
    ]
    site.pages["/m.csv"] = ("\n".join(rows).encode(), None)
    output, manifest = tmp_path / "out", f"{home}/m.csv"
    arguments = ("run", "--manifest", manifest, "--output", output, *NIGHT, "--max_failure_fraction", "1")
    monkeypatch.setattr(sys, "argv", [*map(str, arguments)])
    leases: list[dict[str, Any]] = []
    made = lease.Lease._lease

    def keep(self: lease.Lease) -> dict[str, Any]:
        leases.append(made(self))
        return leases[-1]

    monkeypatch.setattr(lease.Lease, "_lease", keep)
    assert run(*arguments) == 0
    first = {row["id"]: row for row in report_rows(output)}
    assert (first["good"]["status"], first["relative"]["status"]) == ("processed", "processed")
    assert first["good"]["uri"] == site.url.replace("://", "://***@") + "/a.jpg"
    assert dict(first["good"]["attributes"]) == {"link": site.url.replace("://", "://***@") + "/page"}
    assert "sig=***" in first["signed"]["message"]
    assert run_json(output)["settings"]["manifest"] == [site.url.replace("://", "://***@") + "/m.csv"]
    assert "--manifest http://***@" in leases[0]["command"]

    site.log.clear()
    assert run(*arguments) == 0  # the second night knows the photo again
    assert "/a.jpg" not in site.asked("GET")
    assert {row["id"]: row for row in report_rows(output)}["good"]["status"] == "unchanged"

    assert run("verify", "--output", output) == 0
    (output / first["good"]["output_uri"]).unlink()
    assert run("verify", "--output", output, "--repair") == 1
    for path in ("/none.csv", "/page", "/none/"):
        assert run("run", "--manifest", f"{home}{path}", "--output", tmp_path / "other", *NIGHT) == 2
    site.pages["/cut.csv.gz"] = (gzip.compress("\n".join(rows).encode())[:-20], None)
    run("run", "--manifest", f"{home}/cut.csv.gz", "--output", tmp_path / "cut", *NIGHT)

    said = capfd.readouterr()
    signed = everything(newest(output)).replace(f"'{site.url}/gone.jpg?w=1&sig={PASSWORD}'", "")
    assert PASSWORD not in signed  # but in the uri column, where a signature is part of the photo's name
    assert PASSWORD not in said.out + said.err
    assert PASSWORD not in everything(tmp_path / "cut") + everything(output / "report" / "latest.json")
    assert PASSWORD not in json.dumps(leases)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://me:pw@h.example/a@2x.jpg", "https://***@h.example/a@2x.jpg"),
        ("https://token@h/x", "https://***@h/x"),
        ("https://me:p@w@h/x", "https://***@h/x"),
        ("HTTP://me:@h", "HTTP://***@h"),
        ("//me:pw@h/x", "//***@h/x"),
        ("http:me:pw@h/x", "http:***@h/x"),
        ("http://me:p/w@h/x", "http://***@h/x"),
        ("http://me:p#w@h/x", "http://***@h/x"),
        ("--manifest=https://me:pw@h/x --output o", "--manifest=https://***@h/x --output o"),
        ("http://a:b@h/1: redirects to http://c:d@h/2", "http://***@h/1: redirects to http://***@h/2"),
        ("https://cdn.example/a@2x.jpg", "https://cdn.example/a@2x.jpg"),
        ("https://cdn.example:8080/a@2x.jpg", "https://cdn.example:8080/a@2x.jpg"),
        ("https://cdn.example/x//b@2x.jpg", "https://cdn.example/x//b@2x.jpg"),
        ("http://[::1]:80/a@b", "http://[::1]:80/a@b"),
        ("http://h/?mail=a@b", "http://h/?mail=a@b"),
        ("photos//a@2x.jpg", "photos//a@2x.jpg"),
        ("see https://h.example:443, or mail me@h.example", "see https://h.example:443, or mail me@h.example"),
        ("gs://bucket/a@b", "gs://bucket/a@b"),
    ],
)
def test_user_and_password_are_taken_out_and_nothing_else(text: str, said: str) -> None:
    assert credentials.without_password(text) == said
    assert PhotoError("http_error", text).message == str(FatalError(text)) == said


def test_what_signs_an_address_is_no_part_of_a_message() -> None:
    for name in ("X-Amz-Signature", "sig", "token", "api_key", "X-Goog-Signature"):
        assert credentials.without_secrets(f"http://h/x?w=1&{name}=abc&h=2: no") == f"http://h/x?w=1&{name}=***&h=2: no"
    assert credentials.without_secrets("http://h/x?design=abc&monkey=1") == "http://h/x?design=abc&monkey=1"
