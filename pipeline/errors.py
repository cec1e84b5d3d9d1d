"""What ends a command: a request that is wrong, or a run that stopped."""


class RequestError(Exception):
    """The request itself is wrong: one line for the user, exit code 2, nothing was touched."""


class RunError(Exception):
    """The run stopped before its end: one line that says why; exit code 1.

    dead_end: the same command would be stopped again.
    """

    def __init__(self, reason: str, dead_end: bool = False) -> None:
        super().__init__(reason)
        self.dead_end = dead_end
