"""Runner presets: the name given for --runner to Beam's options."""

from __future__ import annotations

from collections.abc import Sequence

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


def runner_name(runner: str) -> str:
    """Give Beam's name for a preset, or the name itself."""
    return PRESETS.get(runner.lower(), runner)


def is_local(runner: str, arguments: Sequence[str] = ()) -> bool:
    """Tell whether the run happens on this machine, so that its devices are the ones to ask about."""
    embedded = runner_name(runner) == "PortableRunner" and "embed" in " ".join(arguments)
    return embedded or runner_name(runner) in (LOCAL_RUNNER, "BundleBasedDirectRunner", "SwitchingDirectRunner")


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
