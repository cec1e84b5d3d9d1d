"""Runner presets: the name given for --runner to Beam's options."""

from __future__ import annotations

from collections.abc import Sequence

from apache_beam.options.pipeline_options import (
    DirectOptions,
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)

from model.machine import available_cpus
from pipeline import dataflow
from transforms.beam_faults import IN_MEMORY, LOCAL_RUNNER

PRESETS = {
    "local": LOCAL_RUNNER,
    "directrunner": LOCAL_RUNNER,
    "flink": "FlinkRunner",
    "dataflow": "DataflowRunner",
    dataflow.GPU: "DataflowRunner",
}


PROCESSES = "--direct_running_mode=multi_processing"
IN_PROCESS = (LOCAL_RUNNER, "BundleBasedDirectRunner", "SwitchingDirectRunner")
"""The runners that are done when their `run` returns."""


def is_in_process(runner: str) -> bool:
    """Tell of Beam's name of a runner whether it runs in this process."""
    return runner.rpartition(".")[2] in IN_PROCESS


def runner_name(runner: str) -> str:
    """Give Beam's name for a preset, or the name itself."""
    return PRESETS.get(runner.lower(), runner)


def is_local(runner: str, arguments: Sequence[str] = ()) -> bool:
    """Tell whether the run happens on this machine, so that its devices are the ones to ask about."""
    embedded = runner_name(runner) == "PortableRunner" and "embed" in " ".join(arguments)
    return embedded or is_in_process(runner_name(runner))


def in_processes(arguments: Sequence[str]) -> bool:
    """Tell of complete Beam flags whether the run is local, with worker processes."""
    options = PipelineOptions(list(arguments))
    local = is_in_process(str(options.view_as(StandardOptions).runner))
    return local and options.view_as(DirectOptions).direct_running_mode == "multi_processing"


def on_gpu(arguments: Sequence[str]) -> list[str]:
    """Give the complete Beam flags of a local run that has a GPU: worker processes, if the user has not said otherwise.

    Python's lock keeps the threads of one process from feeding it (RESULTS.md, "On a GPU").
    """
    ours = [word for word in arguments if word.startswith("--direct_running_mode")] == [IN_MEMORY]
    ours = ours and f"--runner={LOCAL_RUNNER}" in arguments
    return [PROCESSES if ours and word == IN_MEMORY else word for word in arguments]


def outlives(arguments: Sequence[str]) -> bool:
    """Tell of complete Beam flags whether the job goes on when the process that has submitted it is gone."""
    options = PipelineOptions(list(arguments))
    portable, runner = options.view_as(PortableOptions), options.view_as(StandardOptions).runner
    if portable.environment_type == "LOOPBACK":  # that process is the worker
        return False
    if runner == "FlinkRunner":
        return not str(options.view_as(FlinkRunnerOptions).flink_master).startswith("[")
    return runner == "DataflowRunner" or (runner == "PortableRunner" and portable.job_endpoint not in (None, "embed"))


def is_template(arguments: Sequence[str]) -> bool:
    """Tell of complete Beam flags whether the graph is only written to a template, which somebody else runs."""
    return bool(PipelineOptions(list(arguments)).view_as(GoogleCloudOptions).template_location)


def beam_arguments(runner: str, arguments: Sequence[str]) -> list[str]:
    """Complete the Beam flags: the preset's runner, and one worker thread a core, all of a machine sharing one model.

    Flags the user gave come last, so they win.
    """
    defaults = [f"--runner={runner_name(runner)}"]
    if runner_name(runner) == LOCAL_RUNNER:
        defaults += [IN_MEMORY, f"--direct_num_workers={available_cpus()}"]
    elif runner_name(runner) == "DataflowRunner":
        defaults += dataflow.defaults(runner, arguments)
    return [*defaults, *arguments]
