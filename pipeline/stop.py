"""The stop command: asks whoever is at work in an output folder to end, wherever that is."""

from __future__ import annotations

import argparse

from pipeline.checks import output_folder
from pipeline.errors import RequestError
from transforms.errors import FatalError, PhotoError
from transforms.output.lease_file import ask_to_stop


def stop(flags: argparse.Namespace) -> int:
    """Ask, and say whom. What is in flight is finished; nothing is waited for."""
    folder = output_folder(flags.output)
    try:
        run_id = ask_to_stop(folder)
    except (PhotoError, FatalError) as error:
        raise RequestError(f"--output {flags.output}: {getattr(error, 'message', None) or error}") from error
    if run_id is None:
        print("nobody is at work here")
    else:
        print(f"run {run_id} is asked to stop when what is in flight is done; `status` says when it has")
    return 0
