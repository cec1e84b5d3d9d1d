"""Dataflow: its presets, the refusals before anything is begun, and the graph as its runner would hand it in.

Dataflow itself is not asked. Its runner does here all that it does before it would send the job.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.pipeline_context import PipelineContext
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from conftest import run
from test_graph import PHOTO_STEPS, stages_of_a_photo

from model.engine import EngineConfig
from pipeline.graph import build_run
from pipeline.runners import beam_arguments
from transforms.manifest import ManifestFile
from transforms.output.run import RunInfo
from transforms.pixels.policy import parse_policy
from transforms.pixels.render import OutputSettings
from transforms.plan import PlanConfig
from transforms.settings import RunSettings
from transforms.streaming import StreamChanges
from weights.files import WeightsFile

JOB = ["--project=shop", "--region=europe-west1", "--temp_location=gs://bucket/tmp", "--sdk_container_image=w:1"]
PATHS = ["--manifest=gs://bucket/catalog.parquet", "--output=gs://bucket/white"]
ENGINE = EngineConfig(WeightsFile("u2net", "/weights", "0" * 64), "cuda", "bf16")
NOTIFICATIONS = "projects/shop-1/subscriptions/manifests"
LARGEST_REQUEST = 10 << 20
"""Of a job, in bytes: https://docs.cloud.google.com/dataflow/quotas."""


def handed_in(monkeypatch: pytest.MonkeyPatch, build: Callable[[beam.Pipeline], object], *flags: str) -> Any:
    """Give a graph as Dataflow's runner would hand it in.

    The client of its service, which needs Google's packages, is replaced: by then the graph is as it stays.
    """
    client: Any = types.ModuleType("apiclient")
    client.get_container_image_from_options = lambda options: "w:1"
    client.Job = lambda options, graph: graph
    monkeypatch.setitem(sys.modules, "apache_beam.runners.dataflow.internal.apiclient", client)
    monkeypatch.setattr("apache_beam.runners.dataflow.internal.apiclient", client, raising=False)
    root = beam.Pipeline(options=PipelineOptions(beam_arguments("dataflow-gpu", [*JOB, "--dry_run=true", *flags])))
    build(root)
    job: Any = root.run()
    return job.job


def of_run(monkeypatch: pytest.MonkeyPatch, manifests: list[ManifestFile], settings: RunSettings) -> Any:
    """Give the graph of a run."""
    info = RunInfo(settings, "r", leased=True)
    return handed_in(monkeypatch, lambda root: build_run(root, manifests, PlanConfig(settings), info))


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> Any:
    manifest = ManifestFile("gs://bucket/catalog.parquet", "parquet", "gs://bucket")
    return of_run(monkeypatch, [manifest], RunSettings("gs://bucket/white", engine=ENGINE))


def test_there_all_runs_in_one_image_and_a_photo_in_one_stage(graph: Any) -> None:
    (image,) = graph.components.environments.values()  # a hint would make a second, and split the stage
    assert (image.urn, dict(image.resource_hints)) == ("beam:env:docker:v1", {})
    assert b"w:1" in image.payload
    _, stages = FnApiRunner().create_stages(graph)
    (stage,) = stages_of_a_photo([{transform.unique_name for transform in stage.transforms} for stage in stages])
    assert stage >= PHOTO_STEPS


def test_only_rows_are_shuffled_there(graph: Any) -> None:
    coders = PipelineContext(graph.components).coders
    shuffled = {
        transform.unique_name: str(coders.get_by_id(graph.components.pcollections[collection].coder_id))
        for transform in graph.components.transforms.values()
        if transform.spec.urn == "beam:transform:group_by_key:v1"
        for collection in transform.inputs.values()
    }
    summed = "TupleCoder[DeterministicFastPrimitivesCoderV2, FastPrimitivesCoder]"
    joined = "TupleCoder[VarIntCoder, TupleCoder[StrUtf8Coder, BytesCoder]]"
    assert shuffled == {
        "PlanRows/JoinByShard/CoGroupByKeyImpl/GroupByKey": joined,
        "ProcessPhotos/GroupByPhoto": "TupleCoder[VarIntCoder, BytesCoder]",
        "WriteReport/GroupByShard": summed,  # packed rows
        "HoldBrakes/SumCounts/CombinePerKey/GroupByKey": summed,  # counts
        "CountRows/CombinePerKey/GroupByKey": "TupleCoder[DeterministicFastPrimitivesCoderV2, VarIntCoder]",
    }


def test_a_stream_of_notifications_is_read_by_dataflow_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    info = RunInfo(RunSettings("gs://bucket/white", engine=ENGINE, partial=True, redo="all"), "r")
    stream = StreamChanges([NOTIFICATIONS], info)
    graph = handed_in(monkeypatch, lambda root: root | "StreamChanges" >> stream, "--streaming")
    specs = [transform.spec for transform in graph.components.transforms.values()]
    (read,) = [spec for spec in specs if spec.urn == "beam:transform:pubsub_read:v1"]
    payload = beam_runner_api_pb2.PubSubReadPayload.FromString(read.payload)
    assert (payload.subscription, payload.with_attributes) == (NOTIFICATIONS, True)
    _, stages = FnApiRunner().create_stages(graph)
    names = [
        {transform.unique_name.removeprefix("StreamChanges/") for transform in stage.transforms} for stage in stages
    ]
    assert len(stages_of_a_photo(names)) == 1


def test_what_is_handed_in_stays_small(monkeypatch: pytest.MonkeyPatch, graph: Any) -> None:
    assert graph.ByteSize() < 1 << 20  # the smallest weights have four times that
    rules = [{"match": {"id": f"shoe-{number}-*"}, "threshold": 0.5 + number / 10_000} for number in range(1000)]
    settings = RunSettings(
        "gs://bucket/white",
        engine=ENGINE,
        only=tuple(f"shoe-{number}" for number in range(100_000)),
        pictures=OutputSettings(parse_policy({"rule": rules}, "policy.toml")),
    )
    manifests = [ManifestFile(f"gs://bucket/catalog/{n}.csv", "csv", "gs://bucket/catalog") for n in range(10_000)]
    assert of_run(monkeypatch, manifests, settings).ByteSize() < LARGEST_REQUEST


def dry_run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run(*arguments, "--dry_run") == 0
    job: dict[str, Any] = json.loads(capsys.readouterr().out)
    return job


@pytest.fixture
def without_a_network(monkeypatch: pytest.MonkeyPatch, in_folder: Callable[[], list[str]]) -> Callable[[], list[str]]:
    """Let every look into a bucket fail; lists the current folder."""

    def refuse(*_: object) -> None:
        raise AssertionError("a dry run looks nowhere")

    monkeypatch.setattr("transforms.storage.gcs.make_client", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    return in_folder


def test_a_dry_run_prints_the_job_and_does_nothing(
    u2netp: Any, capsys: pytest.CaptureFixture[str], without_a_network: Callable[[], list[str]]
) -> None:
    job = dry_run(capsys, "run", *PATHS, "--runner=dataflow-gpu", *JOB, "--model=u2netp", "--policy=otsu", "--prune")
    assert job["runner"] == "DataflowRunner"
    assert job["beam"]["machine_type"] == "g2-standard-8"
    assert job["settings"]["network"]["device"] == "cuda"
    assert job["settings"]["policy"]["default"]["method"] == "otsu"
    assert (job["settings"]["redo"], job["settings"]["prune"]) == ("changed", True)
    assert len(stages_of_a_photo(list(map(set, job["stages"])))) == 1
    assert without_a_network() == []


def test_a_dry_run_of_a_stream(
    u2netp: Any, capsys: pytest.CaptureFixture[str], without_a_network: Callable[[], list[str]]
) -> None:
    arguments = ["run", "--streaming", "--output=gs://bucket/white", "--names=fingerprint", "--model=u2netp", *JOB]
    job = dry_run(capsys, *arguments, f"--manifest={NOTIFICATIONS}", "--runner=dataflow")
    assert job["beam"]["streaming"] is True
    assert (job["settings"]["manifest"], job["settings"]["partial"]) == ([NOTIFICATIONS], True)
    job = dry_run(capsys, *arguments, "--manifest=gs://bucket/in/*.csv", "--runner=PrismRunner")
    assert job["settings"]["manifest"] == ["gs://bucket/in/*.csv"]
    assert any("StreamChanges/CommitWindow" in stage for stage in job["stages"])
    assert run("run", "--dry_run", *arguments[1:], f"--manifest={NOTIFICATIONS}", "--runner=PrismRunner") == 2
    assert "only Dataflow reads Pub/Sub" in capsys.readouterr().err
    assert without_a_network() == []


@pytest.mark.parametrize("runner", ["local", "flink", "PrismRunner"])
def test_a_dry_run_of_any_runner(
    runner: str, capsys: pytest.CaptureFixture[str], without_a_network: Callable[[], list[str]]
) -> None:
    job = dry_run(capsys, "migrate", *PATHS, "--policy=0.5", f"--runner={runner}")
    assert job["settings"]["network"] is None
    assert (job["settings"]["command"], job["settings"]["redo"]) == ("migrate", "all")
    assert without_a_network() == []


def flags(runner: str, *given: str) -> dict[str, Any]:
    """Give those of the complete flags that a preset is about."""
    options = PipelineOptions(beam_arguments(runner, [*JOB, *given])).get_all_options()
    return {
        "machine": options["machine_type"],
        "threads": options["number_of_worker_harness_threads"],
        "experiments": options["experiments"],
        "services": options["dataflow_service_options"],
    }


ONE_PROCESS = ["no_use_multiple_sdk_containers"]
L4 = ["worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver"]
MPS = "worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver;use_nvidia_mps"


@pytest.mark.parametrize(
    ("runner", "given", "machine", "threads", "experiments", "services"),
    [
        ("dataflow", [], "n2-standard-4", 4, ONE_PROCESS, None),
        ("DataflowRunner", [], "n2-standard-4", 4, ONE_PROCESS, None),
        ("dataflow", ["--machine_type", "c3-highmem-22"], "c3-highmem-22", 22, ONE_PROCESS, None),
        ("dataflow", ["--worker_machine_type=e2-custom"], "e2-custom", None, ONE_PROCESS, None),
        ("dataflow", ["--experiments=a,use_multiple_sdk_containers"], "n2-standard-4", 4, None, None),
        ("dataflow-gpu", [], "g2-standard-8", 8, ONE_PROCESS, L4),
        ("dataflow-gpu", ["--number_of_worker_harness_threads=12"], "g2-standard-8", 12, ONE_PROCESS, L4),
        ("dataflow-gpu", [f"--dataflow_service_options={MPS}"], "g2-standard-8", 8, None, [MPS]),
    ],
)
def test_presets_give_what_the_user_does_not(
    runner: str,
    given: list[str],
    machine: str,
    threads: int | None,
    experiments: list[str] | None,
    services: list[str] | None,
) -> None:
    expected = {"machine": machine, "threads": threads, "services": services}
    if experiments is not None:
        assert flags(runner, *given) == {**expected, "experiments": experiments}
    else:
        found = flags(runner, *given)
        assert "no_use_multiple_sdk_containers" not in (found.pop("experiments") or [])
        assert found == expected


@pytest.mark.parametrize(
    ("runner", "given", "said"),
    [
        ("dataflow", [], "--project, --region, --temp_location, --sdk_container_image must be given too"),
        ("dataflow-gpu", JOB[:3], "--runner dataflow-gpu: --sdk_container_image must be given too"),
        ("dataflow", [*JOB, "--temp_location=gs://b/tmp"], "Invalid GCS bucket (gs://b/tmp)"),
        ("dataflow", [*JOB, "--project=My Shop"], "Invalid Project ID (My Shop)"),
        ("dataflow", [*JOB, "--output=white"], "--output white: Dataflow's workers cannot write here"),
        ("dataflow", [*JOB, "--device=cuda"], "these workers have no GPU; use --runner dataflow-gpu"),
        ("dataflow-gpu", [*JOB, "--device=cpu"], "these workers have a GPU each; use --runner dataflow"),
        ("dataflow-gpu", [*JOB, "--precision=int8"], "--precision int8: not with --device cuda"),
        ("dataflow", [*JOB, "--precision=fp16", "--device=cpu"], "--precision fp16: not with --device cpu"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_begun(
    runner: str,
    given: list[str],
    said: str,
    u2netp: Any,
    capsys: pytest.CaptureFixture[str],
    without_a_network: Callable[[], list[str]],
) -> None:
    assert run("run", *PATHS, "--model=u2netp", "--dry_run", f"--runner={runner}", *given) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert said in printed.err


@pytest.mark.parametrize("command", [["plan", *PATHS], ["verify", "--output=o", "--repair"], ["demo"]])
def test_beams_own_dry_run_is_no_promise_of_ours(
    command: list[str], capsys: pytest.CaptureFixture[str], without_a_network: Callable[[], list[str]]
) -> None:
    assert run(*command, "--dry_run=true") == 2
    assert "--dry_run: run and migrate alone have it" in capsys.readouterr().err
    assert without_a_network() == []
