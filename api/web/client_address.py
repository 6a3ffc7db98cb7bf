"""Client address of a request: the connection's peer, or what a trusted proxy forwards."""

import ipaddress
import re
from collections.abc import Sequence

from starlette.requests import Request

MOST_HOPS = 20

_WITH_PORT = re.compile(r"\[([^\[\]]+)\](?::\d{1,5})?|(\d+\.\d+\.\d+\.\d+):\d{1,5}", re.ASCII)
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def client_address(request: Request, trusted: Sequence[str]) -> str | None:
    """Returns the client's address, normalized: an IPv4-mapped IPv6 address as IPv4, without port and zone.

    The last address of `X-Forwarded-For` that is not a trusted proxy's own is the client's: whatever stands before it,
    the client may have written itself.

    Args:
        request: The request.
        trusted: Networks of the proxies whose `X-Forwarded-For` is believed.

    Returns:
        The address; what a trusted proxy forwards is returned as it is when it is no address, which no network admits.
    """
    peer = request.client.host if request.client else None
    networks = [ipaddress.ip_network(network) for network in trusted]
    # The nearest hops decide; a client may send any number of others.
    said = ",".join(request.headers.getlist("x-forwarded-for")).split(",")[-MOST_HOPS:]
    # From the last hop to the first: each entry was written by the hop after it, and counts while that one is trusted.
    for hop in reversed([one.strip() for one in said if one.strip()]):
        if not _within(peer, networks):
            break
        peer = hop
    found = _parsed(peer)
    return peer if found is None else str(found)


def is_within(address: str | None, networks: Sequence[str]) -> bool:
    """Returns whether an address is in one of some networks; what is no address is in none.

    Args:
        address: The address.
        networks: The networks.
    """
    return _within(address, [ipaddress.ip_network(network) for network in networks])


def _within(address: str | None, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    found = _parsed(address)
    return found is not None and any(found in network for network in networks if network.version == found.version)


def _parsed(address: str | None) -> _Address | None:
    text = address or ""
    if with_port := _WITH_PORT.fullmatch(text):
        text = with_port[1] or with_port[2]
    try:
        # The zone (fe80::1%eth0) is a name on the machine that wrote it.
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A socket for both families shows IPv4 peers as ::ffff:192.0.2.1, which is in no network of IPv4.
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found
