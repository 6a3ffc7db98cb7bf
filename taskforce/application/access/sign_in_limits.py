"""Limit of failed sign-ins by address, within one process."""

from collections import OrderedDict
from datetime import datetime
from hashlib import sha256
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TypeVar

from taskforce.core.domain.access.rate_limits import SLACK, Bucket, Rate, outcome, refilled, take
from taskforce.core.domain.errors import Limited

Key = TypeVar("Key")
Value = TypeVar("Value")

MOST_ADDRESSES = 10_000
MOST_CREDENTIALS = 10_000
_SITE_BITS = 64
"""Whoever has one address of an IPv6 network has all of them."""


class SignInLimit:
    """Refuses credentials from an address with many failed sign-ins before they are looked up.

    A credential that was accepted before is let through: whoever shares the address, behind a proxy or a company's
    router, is not kept out by a neighbour.

    Args:
        rate: Failed sign-ins of one address.
    """

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._accepted: OrderedDict[bytes, None] = OrderedDict()

    def check(self, address: str | None, credential: str, now: datetime) -> None:
        """Requires that the address has failed less often than it may, or that the credential is known.

        Args:
            address: The client's address.
            credential: The token or key.
            now: The time, UTC.

        Raises:
            Limited: `sign_ins_limited`.
        """
        bucket = self._buckets.get(_site(address))
        if bucket is None or _digest(credential) in self._accepted:
            return
        there = refilled(bucket, self._rate, now)
        if there.tokens < 1 - SLACK:
            wait = outcome(there, self._rate, now, allowed=False).retry_after_seconds
            text = "Too many sign-ins from this address have failed. Wait, then try again with a valid credential."
            raise Limited("sign_ins_limited", text, retry_after=wait)

    def failed(self, address: str | None, now: datetime) -> None:
        """Counts a failed sign-in."""
        site = _site(address)
        self._buckets[site] = take(self._buckets.get(site), self._rate, now).bucket
        _bound(self._buckets, site, MOST_ADDRESSES)

    def accepted(self, credential: str) -> None:
        """Notes a credential that was accepted; its digest only is kept."""
        digest = _digest(credential)
        self._accepted[digest] = None
        _bound(self._accepted, digest, MOST_CREDENTIALS)

    def refused(self, credential: str) -> None:
        """Forgets a credential that is not accepted any more, so that the limit counts for it."""
        self._accepted.pop(_digest(credential), None)


def _bound(kept: OrderedDict[Key, Value], newest: Key, most: int) -> None:
    kept.move_to_end(newest)
    if len(kept) > most:
        kept.popitem(last=False)


def _digest(credential: str) -> bytes:
    return sha256(credential.encode("utf-8", "surrogateescape")).digest()


def _site(address: str | None) -> str:
    try:
        found = ip_address(address or "")
    except ValueError:
        return str(address)
    return str(ip_network((found, _SITE_BITS), strict=False) if isinstance(found, IPv6Address) else found)
