"""Clean up behind a run that was killed: files it had not finished, and the report it had not completed."""

from __future__ import annotations

from transforms import storage


def sweep(folder: str, everywhere: bool = True) -> None:
    """Remove from an output folder what a dead run left half-done. Pictures and maps that are whole stay.

    everywhere: look through the pictures and maps too, of which there may be millions, and not in the report only.

    Raises:
        FatalError, PhotoError, OSError: something cannot be listed or removed.
    """
    if storage.scheme(folder) == "file":  # an object that was not finished was never there
        for part in ("images", "maps", "report") if everywhere else ("report",):
            for name, _ in list(storage.list_sizes(f"{folder}/{part}")):
                if name.endswith(storage.TEMPORARY):
                    storage.delete(f"{folder}/{part}/{name}", below=folder)
    for run, files in list_runs(folder).items():
        if not {"_SUCCESS", "run.json"} & files:
            storage.delete_folder(f"{folder}/report/{run}")


def list_runs(folder: str) -> dict[str, set[str]]:
    """List the folders below `report` that runs have left (`run=…`), and the files in each.

    Raises:
        OSError, PhotoError: something cannot be listed.
    """
    runs: dict[str, set[str]] = {}
    for name, _ in storage.list_sizes(f"{folder}/report"):
        run, slash, file = name.partition("/")
        if slash and run.startswith("run="):
            runs.setdefault(run, set()).add(file)
    return runs
