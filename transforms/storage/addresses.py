"""Which addresses a manifest may make a worker connect to.

A manifest comes from other people than those who run the pipeline, and workers stand inside networks: an address in it
must not reach what only they can reach. So names are resolved here, and the very address that was looked at is
connected to; for redirects too, and a name that answers differently the second time gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.connection import create_connection

from transforms.errors import PhotoError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        (
            *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),  # RFC 1918, 4193
            "100.64.0.0/10",  # RFC 6598, behind a provider's NAT
            *("127.0.0.0/8", "::1/128"),  # loopback
            "198.18.0.0/15",  # RFC 2544, for benchmarks, and in many a laboratory
        ),
    )
)
"""Where one's own servers may be."""
SPECIAL = (
    *PRIVATE,
    *map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",  # RFC 791, 1122: this host, this network
            "169.254.0.0/16",  # RFC 3927: link-local
            "192.0.0.0/24",  # RFC 6890, 7335, 7600, 7723, 8155, 8880: protocols; .9 and .10 are one's own router
            *("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"),  # RFC 5737: documentation
            *("192.31.196.0/24", "192.175.48.0/24"),  # RFC 7535, 7534: AS112, where queries go to die
            "192.52.193.0/24",  # RFC 7450: multicast tunnels
            "192.88.99.0/24",  # RFC 7526, 6751: relays of 6to4 and 6a44
            "224.0.0.0/4",  # RFC 5771: multicast
            "240.0.0.0/4",  # RFC 1112, 8190: reserved, broadcast
            "2001::/23",  # RFC 2928: protocols. Teredo, anycast, benchmarks, ORCHID, drones
            "2001:db8::/32",  # RFC 3849: documentation
            "2002::/16",  # RFC 3056, 7526: 6to4
            "2620:4f:8000::/48",  # RFC 7534: AS112
            "3fff::/20",  # RFC 9637: documentation
        ),
    ),
)
"""IANA's registries of special-purpose addresses, and multicast: wherever these lead, no shop's photos are there.

Written down here, as those of Python's ipaddress differ from one patch version to the next. Blocks that the registries
call globally reachable are among them, but for 64:ff9b::/96, in which an IPv4 address is looked at.
"""
UNICAST = ipaddress.ip_network("2000::/3")
"""All else of IPv6 is special: RFC 4291, 6666, 8215, 9602, 9780. What an interface calls itself is not looked at."""
NAT64 = ipaddress.ip_network("64:ff9b::/96")
METADATA = {
    *map(ipaddress.IPv4Address, ("100.100.100.200", "168.63.129.16", "192.0.0.192")),
    *map(
        ipaddress.IPv6Address,
        ("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42", "fd00:c1::a9fe:a9fe"),
    ),
}
"""Where clouds keep a machine's credentials, apart from the link-local addresses that most use."""
MOST_ADDRESSES = 4
"""Of one name; more are not tried."""
CONNECT_S = 10.0
"""How long connecting may take."""


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the public internet at which a photo may be."""
    address = _embedded(address)
    if address.version == 6 and address not in UNICAST:
        return False
    return address not in METADATA and not any(address in block for block in SPECIAL)


def is_private(address: Address) -> bool:
    """Tell whether an address may be one's own image server's: private or loopback, and no cloud's metadata server."""
    address = _embedded(address)
    return address not in METADATA and any(address in block for block in PRIVATE)


def _embedded(address: Address) -> Address:
    """Give the IPv4 address that an IPv6 address is another spelling of, if it is."""
    if isinstance(address, ipaddress.IPv6Address) and address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return getattr(address, "ipv4_mapped", None) or address


def connect(host: str, port: int, allow_private: bool, timeout: float, options: Any) -> socket.socket:
    """Connect to a host by the first of its addresses that is allowed and answers, within seconds for all together.

    Raises:
        PhotoError: blocked_address, if none is allowed.
        OSError: the name is unknown, or nothing answers.
    """
    found = [info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    allowed = []
    for text in map(str, found):
        address = ipaddress.ip_address(text.partition("%")[0])
        if is_public(address) or (allow_private and is_private(address)):
            allowed.append(text)
    if not allowed:
        advice = "" if allow_private else "; --allow_private_addresses allows those of your own network"
        raise PhotoError("blocked_address", f"{host} is at {found[0]}, which is no public address{advice}")
    allowed = allowed[:MOST_ADDRESSES]
    for text in allowed[:-1]:
        try:
            return create_connection((text, port), timeout / len(allowed), socket_options=options)
        except OSError:
            continue  # perhaps the next one answers
    return create_connection((allowed[-1], port), timeout / len(allowed), socket_options=options)


_asking = threading.local()


class CutOff:
    """Breaks the connections that a thread asks over once a time has passed that may be put off."""

    def __init__(self) -> None:
        self.connections: list[HTTPConnection] = []
        self.has_cut = False
        self.time = float("inf")
        self._timer: threading.Timer | None = None

    def at(self, time_s: float) -> None:
        """Cut off at a time (time.monotonic), and not before."""
        self.never()
        self.time = time_s
        self._timer = threading.Timer(max(0, time_s - time.monotonic()), self._cut)
        self._timer.daemon = True
        self._timer.start()

    def never(self) -> None:
        """Cut nothing off."""
        if self._timer is not None:
            self._timer.cancel()

    def _cut(self) -> None:
        self.has_cut = True
        for connection in self.connections:
            with suppress(OSError, AttributeError):  # closed already
                connection.sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutting_off() -> Iterator[CutOff]:
    """Give what can break the connections that this thread asks over in the block.

    A timeout of a socket begins anew with every byte, and headers or trailers of a few bytes a minute have no end.
    """
    cut_off = _asking.cut_off = CutOff()
    try:
        yield cut_off
    finally:
        cut_off.never()
        _asking.cut_off = None


class GuardedAdapter(HTTPAdapter):
    """Connects to allowed addresses only. Behind a proxy, it is the proxy that says what may be reached."""

    def __init__(self, allow_private: bool, connections: int) -> None:
        self._allow_private = allow_private
        super().__init__(pool_connections=connections, pool_maxsize=connections)

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        """Make the pools, of guarded connections."""
        super().init_poolmanager(*arguments, **named)
        self.poolmanager.pool_classes_by_scheme = _pools(self._allow_private)


def _pools(allow_private: bool) -> dict[str, type[HTTPConnectionPool]]:
    class Connection(HTTPConnection):
        def request(self, *arguments: Any, **named: Any) -> None:
            self._may_be_cut_off()
            super().request(*arguments, **named)

        def _may_be_cut_off(self) -> None:
            cut_off: CutOff | None = getattr(_asking, "cut_off", None)
            if cut_off is not None:
                cut_off.connections = [self]  # what was asked before, on the way here, may be another thread's by now

        def _new_conn(self) -> socket.socket:
            self._may_be_cut_off()  # TLS begins before the request does
            return connect(self.host, self.port, allow_private, self.timeout or CONNECT_S, self.socket_options)

    class SecureConnection(Connection, HTTPSConnection):
        pass

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    return {"http": Pool, "https": SecurePool}
