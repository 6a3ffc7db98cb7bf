"""From which address a request came: that of the connection, or what a proxy that we trust says."""

import ipaddress
from collections.abc import Sequence

from starlette.requests import Request

MOST_HOPS = 20


def client_address(request: Request, trusted: Sequence[str]) -> str | None:
    """The client's address.

    The last address of `X-Forwarded-For` that is not a trusted proxy's own is the client's: whatever stands before it,
    the client may have written itself.

    Args:
        request: The request.
        trusted: Networks of the proxies whose word is believed.
    """
    peer = request.client.host if request.client else None
    networks = [ipaddress.ip_network(network) for network in trusted]
    said = ",".join(request.headers.getlist("x-forwarded-for")).split(",")[-MOST_HOPS:]
    for hop in reversed([one.strip() for one in said if one.strip()]):
        if not _within(peer, networks):
            break
        peer = hop
    return peer


def _within(address: str | None, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    return any(found in network for network in networks if network.version == found.version)
