"""Storage: the same behaviour for local files and for gs://, and never half a file."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gs import emulator

from transforms import storage
from transforms.errors import FatalError, PhotoError
from transforms.storage import gcs


@pytest.fixture(params=["local", "gs"])
def base(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty folder of each kind."""
    if request.param == "local":
        yield str(tmp_path / "store")
    else:
        with emulator(monkeypatch, "shop"):
            yield "gs://shop/some/prefix"


def code_of(uri: str, max_bytes: int | None = None) -> str:
    with pytest.raises(PhotoError) as caught:
        storage.read(uri, max_bytes)
    assert "\n" not in caught.value.message
    return caught.value.code


def test_what_is_written_is_read_and_replaced(base: str) -> None:
    uri = f"{base}/a b/ü+%.jpg"  # (the emulator, unlike the service, stumbles over # and ?)
    storage.write(uri, b"first", "image/jpeg")
    first = storage.read(uri)
    assert first.data == b"first"
    assert storage.read(uri).version == first.version
    storage.write(uri, b"second!", "image/jpeg")
    assert storage.read(uri).data == b"second!"
    assert storage.read(uri).version != first.version
    with storage.open_read(uri, 100) as stream:
        assert stream.read() == b"second!"


def test_knows_what_a_file_holds(base: str) -> None:
    assert not storage.holds(f"{base}/x", b"abc")
    storage.write(f"{base}/x", b"abc")
    assert storage.holds(f"{base}/x", b"abc")
    assert not storage.holds(f"{base}/x", b"abd")
    assert not storage.holds(f"{base}/x", b"ab")


def test_lists_globs_and_finds(base: str) -> None:
    for name in ("m.csv", "x/1.jpg", "x/2.png", "x/deep/3.jpg"):
        storage.write(f"{base}/{name}", b"-")
    assert list(storage.list_files(f"{base}/x")) == [f"{base}/x/{n}" for n in ("1.jpg", "2.png", "deep/3.jpg")]
    assert storage.glob(f"{base}/x/*.jpg") == [f"{base}/x/1.jpg"]
    assert storage.glob(f"{base}/**/*.jpg") == [f"{base}/x/1.jpg", f"{base}/x/deep/3.jpg"]
    assert storage.glob(f"{base}/x/[!1].*") == [f"{base}/x/2.png"]
    assert storage.glob(f"{base}/m.csv") == [f"{base}/m.csv"]
    assert storage.glob(f"{base}/none*") == []
    assert storage.is_folder(f"{base}/x")
    assert not storage.is_folder(f"{base}/m.csv")
    assert storage.exists(f"{base}/m.csv")
    assert not storage.exists(f"{base}/x")


def test_missing_and_too_large(base: str) -> None:
    storage.write(f"{base}/ten", b"0123456789")
    assert code_of(f"{base}/none") == "not_found"
    assert code_of(f"{base}/ten", 9) == "too_large"
    assert storage.read(f"{base}/ten", 10).data == b"0123456789"


def test_an_empty_file_is_read(base: str) -> None:
    storage.write(f"{base}/empty", b"")
    assert storage.read(f"{base}/empty", 5).data == b""


def test_names_are_resolved_against_the_manifests_folder() -> None:
    assert storage.join("/data/shop", "a/../b.jpg") == "/data/shop/b.jpg"
    assert storage.join("/data/shop", "/abs.jpg") == "/abs.jpg"
    assert storage.join("/data/shop", "gs://b/c.jpg") == "gs://b/c.jpg"
    assert storage.join("gs://bucket/shop", "a/b.jpg") == "gs://bucket/shop/a/b.jpg"
    assert storage.join("gs://bucket/shop", "../../../b.jpg") == "gs://bucket/b.jpg"
    assert storage.local_path("file:///a%20b") == "/a b"


def test_other_schemes_are_refused() -> None:
    assert code_of("ftp://host/x.jpg") == "bad_row"


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert code_of(str(tmp_path / "pipe")) == "not_found"
    assert code_of("/dev/zero", 1000) == "not_found"
    assert code_of("a\0b") == "not_found"


def test_a_process_out_of_handles_is_not_the_photos_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"x")
    for code, expected in ((errno.EMFILE, FatalError), (errno.EIO, PhotoError)):

        def fail(*_: object, code: int = code) -> None:
            raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patch:
            patch.setattr("os.fstat", fail)
            with pytest.raises(expected):
                storage.read(str(tmp_path / "x"))


def test_links_are_followed_but_not_in_circles_and_hidden_files_are_not_seen(base: str, tmp_path: Path) -> None:
    for name in ("a/1", "a/.hidden", ".dark/2", "b/3"):
        storage.write(f"{base}/{name}", b"-")
    if not base.startswith("gs://"):
        (Path(base) / "a" / "loop").symlink_to(base)
        (tmp_path / "far").mkdir()
        (tmp_path / "far" / "4").write_bytes(b"-")
        (Path(base) / "c").symlink_to(tmp_path / "far")
    expected = ["a/1", "b/3"] + ([] if base.startswith("gs://") else ["c/4"])
    assert [uri[len(base) + 1 :] for uri in storage.list_files(base)] == expected


def test_errors_of_the_object_store_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with emulator(monkeypatch, "shop"):
        assert code_of("gs://nobucket/x") == "not_found"
        for ask in (lambda: list(storage.list_files("gs://nobucket/x")), lambda: storage.glob("gs://nobucket/*.csv")):
            with pytest.raises(PhotoError, match="no such object or bucket"):
                ask()
        with pytest.raises(ValueError, match="not a pattern"):
            storage.glob("gs://shop/[z-a]*")


def test_a_folder_in_place_of_a_file_is_not_found(tmp_path: Path) -> None:
    assert code_of(str(tmp_path)) == "not_found"
    assert code_of(str(tmp_path / ("n" * 300))) == "not_found"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_forbidden(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"x")
    path.chmod(0)
    assert code_of(str(path)) == "forbidden"


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "x.jpg"
    target.write_bytes(b"old")

    def fail(code: int) -> None:
        def replace(*_: object) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "replace", replace)

    fail(errno.ENOSPC)
    with pytest.raises(FatalError, match="the disk is full"):
        storage.write(str(target), b"new")
    fail(errno.EIO)
    with pytest.raises(PhotoError, match="write_failed"):
        storage.write(str(target), b"new")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.jpg"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    target, sizes = str(tmp_path / "x"), set()
    storage.write(target, b"a" * 3_000_000)
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            sizes.add(len(storage.read(target).data))

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(40):
        storage.write(target, bytes([n]) * (3_000_000 if n % 2 else 1_000_000))
    done.set()
    reader.join()
    assert sizes <= {3_000_000, 1_000_000}


def test_one_client_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with emulator(monkeypatch, "shop"):
        clients = []
        threads = [threading.Thread(target=lambda: clients.append(gcs.client())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(client) for client in clients}) == 1
