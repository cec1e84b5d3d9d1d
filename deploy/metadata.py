"""Prints metadata.json, which tells Dataflow what a flex template takes: the flags of `run`.

python deploy/metadata.py > deploy/metadata.json
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from pipeline.flags import make_parser

NOT_IN_A_TEMPLATE = ("-h", "--runner", "--detach", "--dry_run", "--verbose")
"""The runner is Dataflow, and the rest is for whoever waits."""

OF_BEAM = {
    "sdk_container_image": "the image of the workers",
    "number_of_worker_harness_threads": "threads of a worker: one a core (default: the cores of the machine type)",
    "dataflow_service_options": "for GPUs: worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver",
}
ADDRESSES = {"--manifest": r"^(gs|https?)://.+", "--output": "^gs://[^/]+/.+"}


def metadata() -> dict[str, Any]:
    """Write the flags of `run` as Dataflow's TemplateMetadata."""
    (commands,) = (a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    actions = [a for a in commands.choices["run"]._actions if a.option_strings[0] not in NOT_IN_A_TEMPLATE]
    return {
        "name": "whitesweep",
        "description": "Put a catalog's product photos on white.",
        "streaming": False,
        "parameters": [
            *(_parameter(action) for action in actions),
            *(
                {"name": name, "label": name, "helpText": told, "isOptional": name != "sdk_container_image"}
                for name, told in OF_BEAM.items()
            ),
        ],
    }


def _parameter(action: argparse.Action) -> dict[str, Any]:
    flag = action.option_strings[0]
    parameter: dict[str, Any] = {
        "name": flag.removeprefix("--"),
        "label": flag.removeprefix("--").replace("_", " "),
        "helpText": str(action.help) % vars(action),
        "isOptional": not action.required,
    }
    if flag in ADDRESSES:
        parameter["regexes"] = [ADDRESSES[flag]]
    if isinstance(action, argparse._StoreTrueAction):
        parameter |= {"paramType": "BOOLEAN", "defaultValue": "false"}
    elif action.choices:
        parameter |= {"paramType": "ENUM", "enumOptions": [{"value": choice} for choice in action.choices]}
        parameter["defaultValue"] = action.default
    elif action.type in (int, float):
        parameter["paramType"] = "NUMBER"
    return {key: value for key, value in parameter.items() if value is not None}


if __name__ == "__main__":
    print(json.dumps(metadata(), indent=2, ensure_ascii=False))
