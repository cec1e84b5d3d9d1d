"""Runner presets: the name given for --runner to Beam's options."""

from __future__ import annotations

from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from model.machine import available_cpus

PRESETS = {
    # Beam 2.77's DirectRunner is one of three engines, by machine and by graph, and tries a download first.
    "local": "FnApiRunner",
    "directrunner": "FnApiRunner",
    "flink": "FlinkRunner",
    "dataflow": "DataflowRunner",
}


def runner_name(runner: str) -> str:
    """Give Beam's name for a preset, or the name itself."""
    return PRESETS.get(runner.lower(), runner)


def is_local(runner: str, arguments: Sequence[str] = ()) -> bool:
    """Tell whether the run happens on this machine, so that its devices are the ones to ask about."""
    embedded = runner_name(runner) == "PortableRunner" and "embed" in " ".join(arguments)
    return embedded or runner_name(runner) in ("FnApiRunner", "BundleBasedDirectRunner", "SwitchingDirectRunner")


def beam_arguments(runner: str, arguments: Sequence[str]) -> list[str]:
    """Complete the Beam flags: the preset's runner, and locally one worker thread a core, all sharing one model.

    Flags the user gave come last, so they win.
    """
    defaults = [f"--runner={runner_name(runner)}"]
    if runner_name(runner) == "FnApiRunner":
        # Despite its name and Beam's warning, in_memory runs as many bundles side by side as there are workers. Rows
        # then pass from stage to stage as they are, not through gRPC, which holds each five times over.
        defaults += ["--direct_running_mode=in_memory", f"--direct_num_workers={available_cpus()}"]
    return [*defaults, *arguments]


def unknown_flags(arguments: Sequence[str]) -> list[str]:
    """List the arguments that no Beam option class knows.

    Raises:
        ValueError: a flag that Beam knows has a value it cannot take; one line.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)  # there is no public way to ask; PipelineOptions itself only warns
    return parser.parse_known_args(list(arguments))[1]


def _parser_class() -> type:
    from apache_beam.options.pipeline_options import _BeamArgumentParser

    class Parser(_BeamArgumentParser):
        def error(self, message: str) -> None:  # type: ignore[override]
            raise ValueError(message)

    return Parser


_Parser = _parser_class()
