"""A job on a Flink cluster, by Flink's own REST interface: how it stands, what it failed of, and its end.

Beam's job server hands a batch job over and waits for it: to cancel it there ends the waiting and not the job, and of
a failure that the cluster's restart strategy tries again nothing is heard before the last try.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
)
from apache_beam.utils.subprocess_server import JavaJarServer
from apache_beam.version import __version__

ENDED = ("FINISHED", "FAILED", "CANCELED")
PATIENCE_S = 5.0
OURS = re.compile(r"\b(FatalError|DeadEndError|FaultError): ([^\n]+)")
"""What a worker's traceback says where another try is of no use."""

FLINK_FLAGS = """
--auto_watermark_interval --checkpoint_timeout_millis --checkpointing_interval --checkpointing_mode
--execution_mode_for_batch --execution_retry_delay --flink_conf_dir --latency_tracking_interval
--local_combine_max_buffered_records --max_bundle_size --max_bundle_time_mills --min_pause_between_checkpoints
--num_concurrent_checkpoints --number_of_execution_retries --report_checkpoint_duration --savepoint_path
--shutdown_sources_after_idle_ms --state_backend --state_backend_factory --state_backend_storage_path
"""
FLINK_SWITCHES = """
--allow_non_restored_state --auto_balance_write_files_sharding_enabled --disable_metrics
--externalized_checkpoints_enabled --fail_on_checkpointing_errors --faster_copy --finish_bundle_before_checkpointing
--object_reuse --re_iterable_group_by_key_result --retain_externalized_checkpoints_on_cancellation
--use_data_stream_for_batch
"""
"""Options that are Java's only: Beam asks the job server for them, once it runs, and drops what that does not know."""


@dataclass(frozen=True, slots=True)
class FlinkJob:
    """A job on a cluster. url: of its REST interface. name: no other job has it."""

    url: str
    name: str

    def is_over(self) -> bool:
        """Tell whether no such job is at work.

        Raises:
            OSError, ValueError: the cluster cannot be asked just now.
        """
        return not self._at_work()

    def cancel(self) -> None:
        """Ask the cluster to cancel it. Raises as is_over does."""
        for id in self._at_work():
            self._ask(f"/jobs/{id}?mode=cancel", "PATCH")

    def fault(self) -> str | None:
        """Give the traceback of a fault that another try will meet again; None if there is none, or none is told of."""
        with suppress(OSError, ValueError, KeyError):
            for id in self._at_work():
                told = self._ask(f"/jobs/{id}/exceptions")
                for entry in told["exceptionHistory"]["entries"]:
                    if OURS.search(entry["stacktrace"]):
                        return str(entry["stacktrace"])
        return None

    def _at_work(self) -> list[str]:
        jobs = self._ask("/jobs/overview")["jobs"]
        return [job["jid"] for job in jobs if job["name"] == self.name and job["state"] not in ENDED]

    def _ask(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(f"{self.url}{path}", method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read() or b"{}")


def name_job(options: PipelineOptions, name: str) -> FlinkJob | None:
    """Give a job a name of its own on its Flink cluster, behind the one that the user gave; None if there is none."""
    master = str(options.view_as(FlinkRunnerOptions).flink_master).strip()
    if master.startswith("["):  # a cluster of Beam's, in its job server
        return None
    cloud = options.view_as(GoogleCloudOptions)
    cloud.job_name = f"{cloud.job_name or 'whitesweep'}-{name}"
    return FlinkJob((master if "://" in master else f"http://{master}").rstrip("/"), cloud.job_name)


def what_is_missing(arguments: Sequence[str]) -> str | None:
    """Say in one line what there has to be before a job can be submitted and is not. Beam would try a download."""
    options = PipelineOptions(list(arguments))
    flink, server = options.view_as(FlinkRunnerOptions), options.view_as(JobServerOptions)
    if options.view_as(PortableOptions).job_endpoint:
        return None
    if not flink.flink_submit_uber_jar and not shutil.which(server.job_server_java_launcher):
        return (
            f"Beam's job server needs Java, and there is no {server.job_server_java_launcher}: install Java 11 or 17, "
            "or name it by --job_server_java_launcher, or a job server that runs by --job_endpoint"
        )
    artifact = f"beam-runners-flink-{flink.flink_version}-job-server"
    jar = os.path.join(server.jar_cache_dir or JavaJarServer.JAR_CACHE, f"{artifact}-{__version__}.jar")
    if flink.flink_job_server_jar is None and not os.path.exists(jar):
        return (
            f"Beam's job server is not at {jar}: put it there (Maven's org.apache.beam:{artifact}:{__version__}), or "
            "name its file by --flink_job_server_jar; --flink_version is that of your cluster"
        )
    named = flink.flink_job_server_jar
    return f"{named}: is not there" if named and "://" not in named and not os.path.exists(named) else None


def what_does_not_answer(arguments: Sequence[str]) -> str | None:
    """Say in one line that the cluster cannot be reached: its job server would take a minute for that, and a page."""
    options = PipelineOptions(list(arguments))
    job = None if options.view_as(PortableOptions).job_endpoint else name_job(options, "")
    try:
        if job is not None:
            job.is_over()
    except (OSError, ValueError, KeyError) as error:
        reason = getattr(error, "reason", None) or error
        return (
            f"no Flink cluster answers at --flink_master {options.view_as(FlinkRunnerOptions).flink_master}: {reason}"
        )
    return None
