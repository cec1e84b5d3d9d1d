"""Our worker process: what it is told is what Beam's worker reads, and it ends with whoever started it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from apache_beam.options.pipeline_options import PipelineOptions, WorkerOptions
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc
from apache_beam.runners.portability.portable_runner import JobServiceHandle
from apache_beam.runners.worker import sdk_worker_main

from pipeline.worker import ask, environment_of


class Provision(beam_provision_api_pb2_grpc.ProvisionServiceServicer):
    """Tells a worker what to do, and remembers which one asked."""

    asked: Any = None

    def GetProvisionInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked = dict(context.invocation_metadata())["worker_id"]
        options = PipelineOptions(["--max_cache_memory_usage_mb=7"]).get_all_options(drop_default=True)
        info = beam_provision_api_pb2.ProvisionInfo(
            pipeline_options=JobServiceHandle.encode_pipeline_options(options), runner_capabilities=["a:v1", "b:v1"]
        )
        info.control_endpoint.url = "runner:1"
        info.logging_endpoint.url = "runner:2"
        return beam_provision_api_pb2.GetProvisionInfoResponse(info=info)


def test_a_worker_asks_what_there_is_to_do() -> None:
    server, provision = grpc.server(ThreadPoolExecutor(1)), Provision()
    beam_provision_api_pb2_grpc.add_ProvisionServiceServicer_to_server(provision, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    told = environment_of("1-1", ask(f"127.0.0.1:{port}", "1-1"))
    server.stop(0)
    assert provision.asked == "1-1"
    options = sdk_worker_main._parse_pipeline_options(told.pop("PIPELINE_OPTIONS"))
    assert options.view_as(WorkerOptions).max_cache_memory_usage_mb == 7
    assert told == {
        "WORKER_ID": "1-1",
        "RUNNER_CAPABILITIES": "a:v1 b:v1",
        "CONTROL_API_SERVICE_DESCRIPTOR": 'url: "runner:1"\n',
        "LOGGING_API_SERVICE_DESCRIPTOR": 'url: "runner:2"\n',
    }
