"""What each web server did lately, and whether to ask it: one that fails all who ask is left alone for a while.

All requests of a process share what is known of a host (scheme, name and port). It is left alone after a few photos in
a row had to be given up, and is then asked again by one request, after a pause that doubles. While it fails, each photo
gets fewer and shorter attempts than the one before.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from urllib.parse import urlsplit

from transforms.errors import PhotoError
from transforms.stopping import STOP

REQUESTS_PER_HOST = 16
"""At the same time, by one process."""
LOST_IN_A_ROW = 3
"""So many photos given up, with no answer in between, and a host is left alone."""
REFUSED_IN_A_ROW = 10
"""The same where it did answer, if only with 429 or 5xx: some servers say so of a single photo."""
LOST_IN_ALL, ANSWERS_MAKE_UP_FOR = 10, 5
"""So many photos given up after silence, each of which costs seconds, and answers between them help no more. Five
answers make up for one, so that a host may be silent on every tenth photo for ever."""
WELL_KNOWN, TIMES_THE_SLOWEST = 20, 10
"""After so many answers, so many times the slowest of them is silence."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 10.0, 300.0
SUSPECT_S = 600.0
"""How long a host that was silent once gets less time to answer."""

_lock = threading.Lock()


class AttemptError(PhotoError):
    """An attempt failed that may go better the next time.

    did: what the server did, in a few words. after: seconds that it asks to wait. answered: whether it said anything.
    host: the one that failed; not that of the photo's address if there was a redirect.
    """

    host: Host

    def __init__(self, code: str, uri: str, did: str, after: float = 0, answered: bool = False) -> None:
        super().__init__(code, f"{uri}: {did}")
        self.did, self.after, self.answered = did, after, answered

    @property
    def silent(self) -> bool:
        """Tell whether it took as long as an attempt may."""
        return self.code == "timeout"


class Host:
    """One web server, of which so many things are asked at the same time at most; used by many threads at once."""

    def __init__(self, name: str, most: int = REQUESTS_PER_HOST) -> None:
        self.name, self.most = name, most
        self._changed = threading.Condition()
        self._requests = 0
        self._failing: set[str] = set()  # of which photos an attempt has failed since the last answer
        self._lost = 0  # photos given up since the last answer
        self._lost_in_all = 0.0
        self._suspect_until = 0.0
        self._pause = 0.0
        self._resting_until = 0.0  # 0 if it is not left alone
        self._rested = -SUSPECT_S
        self._by_head = False  # only HEADs have failed: some servers know none, so the first GET need not wait
        self._probing = False
        self._did = ""
        self._answers = 0
        self._slowest = 0.0  # seconds

    @contextmanager
    def request(self, method: str, uri: str) -> Iterator[bool]:
        """Ask in this block, and read the answer to its end; tell whether it is the one that asks a resting host again.

        An AttemptError counts against the host; whatever else ends the block was an answer, of a kind.

        Raises:
            PhotoError: host_unavailable, if the host is left alone.
        """
        probe = self._begin(method, uri)
        try:
            yield probe
        except AttemptError as error:
            error.host = self
            self._failed(method, uri, error, probe)
            raise
        except PhotoError:
            self._answered()
            raise
        else:
            self._answered()
        finally:
            with self._changed:
                self._requests -= 1
                if probe:
                    self._probing = False
                self._changed.notify_all()

    def rests(self) -> bool:
        """Tell whether it is left alone just now."""
        return time.monotonic() < self._resting_until

    def _begin(self, method: str, uri: str) -> bool:
        """Wait until the request may be sent; tell whether it is the probe."""
        with self._changed:
            while True:
                first = self._by_head and method != "HEAD"
                if not self._resting_until:
                    if self._requests < self.most:
                        self._requests += 1
                        return False
                elif not self._probing and (first or time.monotonic() >= self._resting_until):
                    self._requests += 1
                    self._probing = True
                    return True
                elif not first:
                    said = f"{self.name} is left alone: {self._did}; it is asked again after {self._pause:.0f} s"
                    raise PhotoError("host_unavailable", f"{uri}: {said}")
                self._changed.wait(1)
                if STOP.is_set():
                    raise PhotoError("host_unavailable", f"{uri}: the run was stopped")

    def _failed(self, method: str, uri: str, error: AttemptError, probe: bool) -> None:
        with self._changed:
            if len(self._failing) < REQUESTS_PER_HOST:
                self._failing.add(uri)
            if probe:
                self._by_head = self._by_head and method == "HEAD"
                self._rest(error)

    def _answered(self) -> None:
        with self._changed:
            if self._resting_until:
                self._rested = time.monotonic()
                self._lost_in_all = LOST_IN_ALL / 2
            self._resting_until = 0
            self._failing.clear()
            self._lost = 0
            self._lost_in_all = max(0, self._lost_in_all - 1 / ANSWERS_MAKE_UP_FOR)

    def give_up(self, method: str, error: AttemptError) -> None:
        """Note that a photo was given up for this host, after all its attempts."""
        with self._changed:
            self._lost += 1
            if error.silent:
                self._suspect_until = time.monotonic() + SUSPECT_S
                self._lost_in_all += 1
            limit = REFUSED_IN_A_ROW if error.answered else LOST_IN_A_ROW
            if not self._resting_until and (self._lost >= limit or self._lost_in_all >= LOST_IN_ALL):
                self._by_head = method == "HEAD"
                self._rest(error)

    def _rest(self, error: AttemptError) -> None:
        """Leave the host alone, for twice as long as the last time if that was lately."""
        now = time.monotonic()
        if not self._did:
            logging.getLogger("whitesweep").info("%s is left alone for a while: %s", self.name, error.did)
        lately = bool(self._resting_until) or now - self._rested < SUSPECT_S
        self._pause = min(max(2 * self._pause if lately else FIRST_PAUSE_S, error.after), LONGEST_PAUSE_S)
        self._resting_until = now + self._pause
        self._did = f"{error.did}, {self._lost} photos in a row" if self._lost > 1 else error.did
        self._changed.notify_all()

    def is_suspect(self, uri: str) -> bool:
        """Tell whether it has failed other photos since it last answered, or was silent on one in the last minutes."""
        with self._changed:
            return bool(self._lost or self._failing - {uri}) or time.monotonic() < self._suspect_until

    def attempts(self, usual: int, uri: str, error: AttemptError) -> int:
        """Give the attempts that a photo gets, after one that failed."""
        suspect = self.is_suspect(uri)
        with self._changed:
            if self._resting_until:
                return 1
            if error.silent and suspect:
                return min(usual, 1 if self._lost else 2)
            return min(usual, 2) if self._lost else usual

    def took(self, seconds: float) -> None:
        """Note how long it took to answer."""
        with self._changed:
            self._answers += 1
            self._slowest = max(self._slowest, seconds)

    def expected(self, most: float, least: float) -> float:
        """Give the seconds within which it should answer: of one that has answered many at once, no more than least."""
        with self._changed:
            known = self._answers >= WELL_KNOWN
            return min(most, max(least, TIMES_THE_SLOWEST * self._slowest)) if known else most

    def patience(self, usual: float) -> float:
        """Give the seconds that it may ask a photo to wait."""
        with self._changed:
            return min(usual, FIRST_PAUSE_S) if self._lost else usual


def host_of(address: str) -> Host:
    """Give what this process knows of an address' host."""
    try:
        parts = urlsplit(address)
        name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"
    except ValueError:  # it is none, as asking for it will say
        name = address
    with _lock:
        return known(name)


@lru_cache(maxsize=1 << 14)
def known(name: str) -> Host:
    """Make the one Host of a name. A manifest may name a million hosts; those not asked for longest are forgotten."""
    return Host(name)
