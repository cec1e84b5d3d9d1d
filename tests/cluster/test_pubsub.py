"""A stream of a bucket's notifications, through an emulator of Pub/Sub.

Of runners that are here only Beam's BundleBasedDirectRunner reads Pub/Sub. It acknowledges what it has not done yet, so
it is none for users.
"""

from __future__ import annotations

import io
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from conftest import draw_product, run
from gs import emulator

from model.engine import EngineConfig
from transforms import storage
from transforms.output.earlier import newest_report
from transforms.output.latest import NoReportError, settle_names
from transforms.output.run import RunInfo
from transforms.settings import RunSettings
from transforms.streaming import StreamChanges

EMULATOR = os.environ.get("WHITESWEEP_PUBSUB_EMULATOR", "")
TOPIC, SUBSCRIPTION = "projects/shop-1/topics/inbox", "projects/shop-1/subscriptions/inbox"
PATIENCE_S = 120.0

pytestmark = pytest.mark.skipif(not EMULATOR, reason="WHITESWEEP_PUBSUB_EMULATOR names no emulator of Pub/Sub")


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Give what publishes a notification, with a bucket and a subscription there."""
    pubsub: Any = pytest.importorskip("google.cloud.pubsub")
    with subprocess.Popen([EMULATOR], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.stdout.readline().strip())
        publisher, subscriber = pubsub.PublisherClient(), pubsub.SubscriberClient()
        publisher.create_topic(name=TOPIC)
        subscriber.create_subscription(name=SUBSCRIPTION, topic=TOPIC)
        with emulator(monkeypatch, "shop"):
            yield lambda **attributes: publisher.publish(TOPIC, b"{}", **attributes).result(PATIENCE_S)
        server.kill()


def state(output: str) -> dict[str, str]:
    with suppress(NoReportError):
        report = newest_report(output)
        rows = [row for at in range(len(report)) for row in report.read(at, ["id", "uri", "status"]).to_pylist()]
        assert {row["status"] for row in rows} <= {"processed", "unchanged"}
        return {row["id"]: row["uri"].rpartition("/")[2] for row in rows}
    return {}


def until(output: str, wanted: dict[str, str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while (found := state(output)) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


def test_what_a_bucket_says_is_done(publish: Callable[..., None], u2netp: Any) -> None:
    for number in range(3):
        photo = io.BytesIO()
        draw_product(number, (90, 70)).save(photo, "PNG")
        storage.write(f"gs://shop/p{number}.png", photo.getvalue(), "image/png")

    def put(name: str, *lines: str) -> dict[str, str]:
        text = "\n".join(["id,uri,deleted", *lines]).replace("@", "gs://shop/p") + "\n"
        storage.write(f"gs://shop/in/{name}", text.encode())
        return {"eventType": "OBJECT_FINALIZE", "bucketId": "shop", "objectId": f"in/{name}"}

    output = "gs://shop/white"
    engine = EngineConfig(u2netp, "cpu", "fp32")
    settings = RunSettings(output, engine=engine, partial=True, redo="all", names="fingerprint")
    info = RunInfo(settings)  # with no name it has no lease to lose
    settle_names(output, "fingerprint")
    root = beam.Pipeline(options=PipelineOptions(["--runner=BundleBasedDirectRunner", "--streaming"]))
    _ = root | StreamChanges([SUBSCRIPTION], info)
    job: Any = root.run()
    publish(**put("1.csv", "a,@0.png,", "b,@1.png,"))
    until(output, {"a": "p0.png", "b": "p1.png"})
    late = put("2.csv", "a,@0.png,", "c,@0.png,")
    broken = put("broken.csv", "a,@0.png,\x00")
    publish(**put("3.csv", "a,@2.png,", "b,,true"))
    publish(**broken)
    publish(**{**late, "eventType": "OBJECT_DELETE"})
    publish(objectId="in/1.csv")  # somebody's own message
    until(output, {"a": "p2.png"})
    publish(**late)
    publish(eventType="OBJECT_FINALIZE", bucketId="shop", objectId="in/gone.csv")
    until(output, {"a": "p2.png", "c": "p0.png"})  # what is older says nothing of a any more
    assert run("verify", "--output", output) == 0
    job.cancel()
