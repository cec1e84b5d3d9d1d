"""An object store that cannot be reached does not cost every photo two minutes."""

from __future__ import annotations

import socket

import pytest

from transforms import storage
from transforms.errors import PhotoError
from transforms.storage import gcs, hosts


def test_a_store_that_is_not_there_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{taken.getsockname()[1]}")
    monkeypatch.setattr(gcs, "PATIENCE_S", {"GET": 0.5, "HEAD": 0.5})
    monkeypatch.setattr(gcs, "SHORT_PATIENCE_S", 0.5)
    monkeypatch.setattr(gcs, "SERVICE", hosts.Host("the store", 64))
    gcs.make_client.cache_clear()
    try:
        uris = [f"gs://bucket/{n}" for n in range(200)]
        assert set(storage.source_facts(uris).values()) == {None}
        codes = []
        for uri in uris:
            with pytest.raises(PhotoError) as caught:
                storage.read(uri, 1000)
            codes.append(caught.value.code)
        assert codes[0] in ("timeout", "http_error")
        assert codes[1:] == ["host_unavailable"] * 199
        assert "the store is left alone" in caught.value.message
    finally:
        gcs.make_client.cache_clear()
