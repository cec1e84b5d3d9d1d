"""A job on a Flink cluster, by Flink's own REST interface: how it stands, what it failed of, and its end.

Beam's job server hands a batch job over and waits for it: to cancel it there ends the waiting and not the job, and of
a failure that the cluster's restart strategy tries again nothing is heard before the last try.
"""

from __future__ import annotations

import json
import re
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from apache_beam.options.pipeline_options import FlinkRunnerOptions, GoogleCloudOptions, PipelineOptions

ENDED = ("FINISHED", "FAILED", "CANCELED")
PATIENCE_S = 5.0
OURS = re.compile(r"\b(FatalError|DeadEndError|FaultError): ([^\n]+)")
"""What a worker's traceback says where another try is of no use."""


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
