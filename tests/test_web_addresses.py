"""Which addresses a manifest may lead to, held against IANA's registries of special-purpose addresses."""

from __future__ import annotations

import ipaddress

import pytest
from webserver import serve

from transforms import storage
from transforms.errors import PhotoError
from transforms.storage import addresses

REGISTRIES = [
    # IANA IPv4 Special-Purpose Address Registry: block, name, RFC, globally reachable (None: not applicable)
    ("0.0.0.0/8", "this network", 791, False),
    ("0.0.0.0/32", "this host on this network", 1122, False),
    ("10.0.0.0/8", "private use", 1918, False),
    ("100.64.0.0/10", "shared address space", 6598, False),
    ("127.0.0.0/8", "loopback", 1122, False),
    ("169.254.0.0/16", "link local", 3927, False),
    ("172.16.0.0/12", "private use", 1918, False),
    ("192.0.0.0/24", "IETF protocol assignments", 6890, False),
    ("192.0.0.0/29", "IPv4 service continuity prefix", 7335, False),
    ("192.0.0.8/32", "IPv4 dummy address", 7600, False),
    ("192.0.0.9/32", "port control protocol anycast", 7723, True),
    ("192.0.0.10/32", "TURN anycast", 8155, True),
    ("192.0.0.170/32", "NAT64/DNS64 discovery", 8880, False),
    ("192.0.0.171/32", "NAT64/DNS64 discovery", 8880, False),
    ("192.0.2.0/24", "documentation (TEST-NET-1)", 5737, False),
    ("192.31.196.0/24", "AS112-v4", 7535, True),
    ("192.52.193.0/24", "AMT", 7450, True),
    ("192.88.99.0/24", "deprecated (6to4 relay anycast)", 7526, None),
    ("192.88.99.2/32", "6a44 relay anycast", 6751, False),
    ("192.168.0.0/16", "private use", 1918, False),
    ("192.175.48.0/24", "direct delegation AS112 service", 7534, True),
    ("198.18.0.0/15", "benchmarking", 2544, False),
    ("198.51.100.0/24", "documentation (TEST-NET-2)", 5737, False),
    ("203.0.113.0/24", "documentation (TEST-NET-3)", 5737, False),
    ("240.0.0.0/4", "reserved", 1112, False),
    ("255.255.255.255/32", "limited broadcast", 8190, False),
    # IANA IPv6 Special-Purpose Address Registry
    ("::1/128", "loopback", 4291, False),
    ("::/128", "unspecified", 4291, False),
    ("::ffff:0:0/96", "IPv4-mapped", 4291, False),
    ("64:ff9b::/96", "IPv4-IPv6 translation", 6052, True),
    ("64:ff9b:1::/48", "IPv4-IPv6 translation", 8215, False),
    ("100::/64", "discard only", 6666, False),
    ("100:0:0:1::/64", "dummy prefix", 9780, False),
    ("2001::/23", "IETF protocol assignments", 2928, False),
    ("2001::/32", "Teredo", 4380, None),
    ("2001:1::1/128", "port control protocol anycast", 7723, True),
    ("2001:1::2/128", "TURN anycast", 8155, True),
    ("2001:1::3/128", "DNS-SD service registration anycast", 9665, True),
    ("2001:2::/48", "benchmarking", 5180, False),
    ("2001:3::/32", "AMT", 7450, True),
    ("2001:4:112::/48", "AS112-v6", 7535, True),
    ("2001:10::/28", "deprecated (ORCHID)", 4843, None),
    ("2001:20::/28", "ORCHIDv2", 7343, True),
    ("2001:30::/28", "drone remote ID", 9374, True),
    ("2001:db8::/32", "documentation", 3849, False),
    ("2002::/16", "6to4", 3056, None),
    ("2620:4f:8000::/48", "direct delegation AS112 service", 7534, True),
    ("3fff::/20", "documentation", 9637, False),
    ("5f00::/16", "segment routing (SRv6) SIDs", 9602, False),
    ("fc00::/7", "unique local", 4193, False),
    ("fe80::/10", "link-local unicast", 4291, False),
    # and what has registries of its own
    ("224.0.0.0/4", "multicast", 5771, False),
    ("ff00::/8", "multicast", 4291, False),
    ("fec0::/10", "site local, deprecated", 3879, False),
    ("::/96", "IPv4-compatible, deprecated", 4291, False),
    ("::ffff:0:0:0/96", "IPv4-translated", 2765, False),
]
OWN = {
    *("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15"),
    *("::1/128", "fc00::/7"),
}
"""What --allow_private_addresses allows."""
LOOKED_INTO = {"64:ff9b::/96", "::ffff:0:0/96"}
"""In which an IPv4 address decides."""
BLOCKS = [ipaddress.ip_network(block) for block, *_ in REGISTRIES]
UNICAST = ipaddress.ip_network("2000::/3")


def ends(block: ipaddress.IPv4Network | ipaddress.IPv6Network) -> list[addresses.Address]:
    """Give the first, a middle and the last address of a block."""
    return [block[0], block[block.num_addresses // 2], block[-1]]


@pytest.mark.parametrize(("block", "name", "rfc", "reachable"), REGISTRIES)
def test_no_photo_is_at_a_special_address(block: str, name: str, rfc: int, reachable: bool | None) -> None:
    """Whether it is called globally reachable or not: those that are lead to routers and to name servers."""
    if block not in LOOKED_INTO:
        for address in ends(ipaddress.ip_network(block)):
            assert not addresses.is_public(address), (name, rfc, address)


@pytest.mark.parametrize(("block", "name", "rfc", "reachable"), REGISTRIES)
def test_beside_each_block_the_internet_goes_on(block: str, name: str, rfc: int, reachable: bool | None) -> None:
    network = ipaddress.ip_network(block)
    for neighbour in (int(network[0]) - 1, int(network[-1]) + 1):
        if not 0 <= neighbour < 1 << network.max_prefixlen:
            continue
        address = type(network[0])(neighbour)
        special = any(address.version == other.version and address in other for other in BLOCKS)
        if not special and (address.version == 4 or address in UNICAST):
            assert addresses.is_public(address), address
        if address.version == 6 and address not in UNICAST and address not in ipaddress.ip_network("64:ff9b::/96"):
            assert not addresses.is_public(address), address


@pytest.mark.parametrize(("block", "name", "rfc", "reachable"), REGISTRIES)
def test_private_addresses_are_those_of_ones_own_network(
    block: str, name: str, rfc: int, reachable: bool | None
) -> None:
    if block not in LOOKED_INTO:
        for address in ends(ipaddress.ip_network(block)):
            own = any(address in ipaddress.ip_network(one) for one in OWN if ":" in one or address.version == 4)
            assert addresses.is_private(address) == own, (name, rfc, address)


@pytest.mark.parametrize("wrap", ["::ffff:{}", "64:ff9b::{}"])
def test_an_ipv4_address_in_an_ipv6_one_decides(wrap: str) -> None:
    for text, public, private in (("8.8.8.8", True, False), ("10.0.0.1", False, True), ("169.254.1.1", False, False)):
        address = ipaddress.ip_address(wrap.format(text))
        assert (addresses.is_public(address), addresses.is_private(address)) == (public, private)


@pytest.mark.parametrize("text", ["2002:808:808::1", "2001:0:808:808::1", "::8.8.8.8", "64:ff9b:1::8.8.8.8"])
def test_tunnels_lead_nowhere(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert not addresses.is_public(address)
    assert not addresses.is_private(address)


@pytest.mark.parametrize(
    "host",
    [
        *("0x7f.1", "0x7f000001", "2130706433", "017700000001", "0177.0.0.1", "127.0.1", "localhost.", "LOCALHOST"),
        *(
            "127%2e0%2e0%2e1",
            "%31%32%37.0.0.1",
            "127\u30020\u30020\u30021",
            "\uff11\uff12\uff17.\uff10.\uff10.\uff11",
            "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460",
            "127.0.0.1.",
        ),
        *("[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::ffff:0:127.0.0.1]", "[::1%25lo]", "me:you@127.0.0.1"),
        *("0", "[::]", "169.254.169.254", "0xa9fea9fe", "[fd00:ec2::254]", "[fe80::a9fe:a9fe]"),
    ],
)
def test_every_notation_ends_at_the_guard(host: str) -> None:
    with serve() as site:
        site.pages["/x"] = (b"x", None)
        with pytest.raises(PhotoError) as caught:
            storage.read(f"http://{host}:{site.url.rpartition(':')[2]}/x", None, allow_private=False)
        assert caught.value.code in ("blocked_address", "bad_row", "http_error")
        assert site.log == []
