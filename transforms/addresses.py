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

from transforms.types import PhotoError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NAT64 = ipaddress.ip_network("64:ff9b::/96")
SHARED = ipaddress.ip_network("100.64.0.0/10")
UNICAST = ipaddress.ip_network("2000::/3")
METADATA = {
    *map(ipaddress.IPv4Address, ("100.100.100.200", "168.63.129.16", "192.0.0.192")),
    *map(ipaddress.IPv6Address, ("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42")),
}
"""Where clouds keep a machine's credentials, apart from the link-local addresses that most use."""


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the public internet: no private, loopback, link-local or reserved one."""
    address = _embedded(address)
    if address.version == 6 and address not in UNICAST:
        return False
    return address.is_global and not address.is_multicast and address not in METADATA


def is_private(address: Address) -> bool:
    """Tell whether an address may be one's own image server's: private or loopback, and no cloud's metadata server."""
    address = _embedded(address)
    if address.is_link_local or address.is_multicast or address.is_unspecified or address in METADATA:
        return False
    return address.is_loopback or address in SHARED or (address.is_private and not address.is_reserved)


def _embedded(address: Address) -> Address:
    """Give the IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)


def connect(host: str, port: int, private: bool, timeout: Any, options: Any) -> socket.socket:
    """Connect to a host by the first of its addresses that is allowed and answers.

    Raises:
        PhotoError: blocked_address, if none is allowed.
        OSError: the name is unknown, or nothing answers.
    """
    found = [info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    allowed = []
    for text in map(str, found):
        address = ipaddress.ip_address(text.partition("%")[0])
        if is_public(address) or (private and is_private(address)):
            allowed.append(text)
    if not allowed:
        advice = "" if private else "; --allow_private_addresses allows those of your own network"
        raise PhotoError("blocked_address", f"{host} is at {found[0]}, which is no public address{advice}")
    for text in allowed[:-1]:
        try:
            return create_connection((text, port), timeout, socket_options=options)
        except OSError:
            continue  # perhaps the next one answers
    return create_connection((allowed[-1], port), timeout, socket_options=options)


_asking = threading.local()


@contextmanager
def cut_off_at(deadline: float) -> Iterator[None]:
    """Break the connections that this thread asks over once a deadline (time.monotonic) has passed.

    A timeout of a socket begins anew with every byte, and headers or trailers of a few bytes a minute have no end.
    """
    connections: list[HTTPConnection] = []

    def cut() -> None:
        for connection in connections:
            with suppress(OSError, AttributeError):  # closed already
                connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0, deadline - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    _asking.connections = connections
    try:
        yield
    finally:
        timer.cancel()
        _asking.connections = []


class GuardedAdapter(HTTPAdapter):
    """Connects to allowed addresses only. Behind a proxy, it is the proxy that says what may be reached."""

    def __init__(self, private: bool, connections: int) -> None:
        self._private = private
        super().__init__(pool_connections=connections, pool_maxsize=connections)

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        """Make the pools, of guarded connections."""
        super().init_poolmanager(*arguments, **named)
        self.poolmanager.pool_classes_by_scheme = _pools(self._private)


def _pools(private: bool) -> dict[str, type[HTTPConnectionPool]]:
    class Connection(HTTPConnection):
        def request(self, *arguments: Any, **named: Any) -> None:
            getattr(_asking, "connections", []).append(self)  # see cut_off_at
            super().request(*arguments, **named)

        def _new_conn(self) -> socket.socket:
            return connect(self.host, self.port, private, self.timeout, self.socket_options)

    class SecureConnection(Connection, HTTPSConnection):
        pass

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    return {"http": Pool, "https": SecurePool}
