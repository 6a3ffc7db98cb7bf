"""Test whether an address is public.

Python's `is_global` differs between patch releases and calls some multicast and translated addresses global, so it is
one of two conditions; the other is this list, after the IANA special-purpose registries.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

HIGHEST_PORT = 65_535
_NOT_PUBLIC_4 = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's platform service behind a public number
        "169.254.0.0/16",  # link-local, and the metadata service of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # automatic multicast tunnelling
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved and broadcast
    )
)
# Everything outside is loopback, local, multicast, reserved, or carries an IPv4 address (mapped, compatible, NAT64).
_UNICAST_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    ip_network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, carries an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # the former 6bone
        "3fff::/20",  # documentation
    )
)


def is_public(address: str) -> bool:
    """Returns whether an address belongs to the public internet.

    Args:
        address: A literal IPv4 or IPv6 address, as a resolver returns it.

    Returns:
        False also for anything that is not an address, or names a network interface besides.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        return _is_public_6(parsed)
    return _is_public_4(parsed)


def _is_public_4(address: IPv4Address) -> bool:
    return address.is_global and not any(address in network for network in _NOT_PUBLIC_4)


def _is_public_6(address: IPv6Address) -> bool:
    if address.scope_id is not None or address not in _UNICAST_6:
        return False
    return address.is_global and not any(address in network for network in _NOT_PUBLIC_6)
