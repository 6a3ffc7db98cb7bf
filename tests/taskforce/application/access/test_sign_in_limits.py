"""Whoever fails often waits; who signed in before does not."""

from datetime import UTC, datetime, timedelta

import pytest

from taskforce.application.access.sign_in_limits import MOST_ADDRESSES, SignInLimit
from taskforce.core.domain.access.rate_limits import Rate
from taskforce.core.domain.errors import Limited

AT = datetime(2026, 12, 1, tzinfo=UTC)
LIMIT = 60


def failing(address: str, limit: SignInLimit | None = None) -> SignInLimit:
    limit = limit or SignInLimit(Rate.per_minute(LIMIT))
    for _ in range(LIMIT):
        limit.check(address, "unknown", AT)
        limit.failed(address, AT)
    return limit


def test_an_address_that_fails_too_often_is_told_how_long_to_wait() -> None:
    limit = failing("192.0.2.1")
    with pytest.raises(Limited) as refused:
        limit.check("192.0.2.1", "another", AT)
    assert (refused.value.code, refused.value.retry_after) == ("sign_ins_limited", 1)
    limit.check("192.0.2.1", "another", AT + timedelta(seconds=1))


def test_other_addresses_are_not_concerned() -> None:
    failing("192.0.2.1").check("192.0.2.2", "another", AT)


def test_neighbours_behind_the_same_address_who_signed_in_before_go_on() -> None:
    limit = SignInLimit(Rate.per_minute(LIMIT))
    limit.accepted("known")
    failing("192.0.2.1", limit).check("192.0.2.1", "known", AT)


def test_a_credential_that_is_accepted_no_more_is_one_of_many() -> None:
    limit = SignInLimit(Rate.per_minute(LIMIT))
    limit.accepted("revoked")
    limit.refused("revoked")
    with pytest.raises(Limited):
        failing("192.0.2.1", limit).check("192.0.2.1", "revoked", AT)


def test_an_ipv6_network_counts_as_one() -> None:
    limit = failing("2001:db8::1")
    with pytest.raises(Limited):
        limit.check("2001:db8::2", "another", AT)
    limit.check("2001:db8:0:1::1", "another", AT)


@pytest.mark.parametrize("address", [None, "not an address"])
def test_what_has_no_address_is_bounded_too(address: str | None) -> None:
    limit = failing(str(address))
    with pytest.raises(Limited):
        limit.check(address, "another", AT)


def test_memory_is_bounded() -> None:
    limit = SignInLimit(Rate.per_minute(LIMIT))
    for number in range(MOST_ADDRESSES + 10):
        limit.failed(f"2001:db8:{number:x}::", AT)
        limit.accepted(str(number))
    assert (len(limit._buckets), len(limit._accepted)) == (MOST_ADDRESSES, MOST_ADDRESSES)
