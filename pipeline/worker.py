"""A worker process of a cluster, without Beam's Go program: `whitesweep-worker`, or `python -m pipeline.worker`.

Flink's TaskManagers start it (`--environment_type PROCESS`), and Beam's worker pool (`--container_executable`). This
project and the weights are installed where it starts: it fetches nothing, so --setup_file has no effect on it.
"""

from __future__ import annotations

import argparse
import os
import threading

import grpc
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc
from apache_beam.runners.worker import sdk_worker_main
from apache_beam.runners.worker.worker_id_interceptor import WorkerIdInterceptor
from google.protobuf import json_format, text_format

from pipeline.local_worker import end_with
from transforms.beam_faults import leave

PATIENCE_S = 60.0


def main() -> None:
    """Ask who started this process what there is to do, and do it."""
    parser = argparse.ArgumentParser(prog="whitesweep-worker", description="A worker process, for Beam to start.")
    for name in ("id", "provision_endpoint"):
        parser.add_argument(f"--{name}", required=True)
    flags, _ = parser.parse_known_args()  # Beam gives other endpoints as well, which are in what is asked for, too
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    os.dup2(2, 1)  # a pool never reads what its workers print, and a full pipe would stop them
    os.environ |= environment_of(flags.id, ask(flags.provision_endpoint, flags.id))
    sdk_worker_main.main([])
    leave(0)


def ask(endpoint: str, worker_id: str) -> beam_provision_api_pb2.ProvisionInfo:
    """Ask for the pipeline's options, and for where to report."""
    with grpc.insecure_channel(endpoint) as channel:
        named = grpc.intercept_channel(channel, WorkerIdInterceptor(worker_id))
        stub = beam_provision_api_pb2_grpc.ProvisionServiceStub(named)
        request = beam_provision_api_pb2.GetProvisionInfoRequest()
        return stub.GetProvisionInfo(request, timeout=PATIENCE_S, wait_for_ready=True).info


def environment_of(worker_id: str, info: beam_provision_api_pb2.ProvisionInfo) -> dict[str, str]:
    """Write what was told as the environment variables that Beam's worker reads."""
    told = {
        "WORKER_ID": worker_id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
    }
    for name in ("control", "logging", "status"):
        endpoint = getattr(info, f"{name}_endpoint")
        if endpoint.url:
            told[f"{name.upper()}_API_SERVICE_DESCRIPTOR"] = text_format.MessageToString(endpoint)
    return told


if __name__ == "__main__":
    main()
