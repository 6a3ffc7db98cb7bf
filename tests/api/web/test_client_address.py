"""From which address a request came, and who is believed about it."""

import pytest
from starlette.requests import Request

from api.web.client_address import client_address

PROXIES = ("10.0.0.0/8", "2001:db8:1::/48")


def address(peer: str | None, *said: str, trusted: tuple[str, ...] = PROXIES) -> str | None:
    headers = [(b"x-forwarded-for", one.encode("latin-1")) for one in said]
    client = None if peer is None else (peer, 1234)
    return client_address(Request({"type": "http", "headers": headers, "client": client}), trusted)


@pytest.mark.parametrize(
    ("peer", "said", "found"),
    [
        ("203.0.113.9", (), "203.0.113.9"),
        ("203.0.113.9", ("10.1.1.1",), "203.0.113.9"),
        ("203.0.113.9", ("198.51.100.1", "10.1.1.1"), "203.0.113.9"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("203.0.113.9",), "203.0.113.9"),
        ("10.0.0.1", ("1.2.3.4, 203.0.113.9",), "203.0.113.9"),
        ("10.0.0.1", ("1.2.3.4", "203.0.113.9"), "203.0.113.9"),
        ("10.0.0.1", ("1.2.3.4", "203.0.113.9, 10.2.2.2", "10.3.3.3"), "203.0.113.9"),
        ("10.0.0.1", ("10.9.9.9",), "10.9.9.9"),
        ("10.0.0.1", ("", " , ,"), "10.0.0.1"),
        ("10.0.0.1", ("203.0.113.9, unknown",), "unknown"),
        ("10.0.0.1", ("10.5.5.5, <script>",), "<script>"),
        ("10.0.0.1", ("203.0.113.9:4711",), "203.0.113.9"),
        ("10.0.0.1", ("[2001:db8::9]:443",), "2001:db8::9"),
        ("10.0.0.1", ("203.0.113.9, [2001:db8:1::7]:80",), "203.0.113.9"),
        ("10.0.0.1", ("010.0.0.7",), "010.0.0.7"),
        # A socket for both families names an IPv4 proxy so; it is the same proxy.
        ("::ffff:10.0.0.1", ("203.0.113.9",), "203.0.113.9"),
        ("::ffff:203.0.113.9", ("10.1.1.1",), "203.0.113.9"),
        ("10.0.0.1", ("203.0.113.9, ::ffff:10.0.0.2",), "203.0.113.9"),
        ("2001:db8:1::1%eth0", ("2001:0DB8::0009",), "2001:db8::9"),
        ("fe80::1%10.0.0.1", ("203.0.113.9",), "fe80::1"),
        ("fe80::1%eth0", ("203.0.113.9",), "fe80::1"),
        (None, ("203.0.113.9",), None),
        ("unix", ("203.0.113.9",), "unix"),
    ],
)
def test_only_proxies_that_are_named_are_believed(peer: str | None, said: tuple[str, ...], found: str | None) -> None:
    assert address(peer, *said) == found


def test_without_proxies_nobody_is_believed() -> None:
    assert address("10.0.0.1", "203.0.113.9", trusted=()) == "10.0.0.1"


def test_a_long_chain_is_read_from_its_end() -> None:
    forged = ", ".join(["127.0.0.1"] * 100_000)
    assert address("10.0.0.1", f"{forged}, 203.0.113.9, 10.1.1.1") == "203.0.113.9"
