"""A real Google Cloud Storage emulator over loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def emulator(monkeypatch: pytest.MonkeyPatch, bucket: str) -> Iterator[None]:
    """Serve an empty bucket, and point the client library at it."""
    server_module = pytest.importorskip("gcp_storage_emulator.server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = server_module.create_server("127.0.0.1", port, in_memory=True, default_bucket=bucket)
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    from transforms.storage import gcs

    gcs.make_client.cache_clear()
    try:
        yield
    finally:
        gcs.make_client.cache_clear()
        server.stop()
