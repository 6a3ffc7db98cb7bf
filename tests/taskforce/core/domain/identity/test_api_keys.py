"""What an API key looks like, who may issue one, and what it allows when it is used."""

import hashlib
import re
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskforce.core.domain.errors import Forbidden, Invalid
from taskforce.core.domain.identity.api_keys import (
    LONGEST_LIFE,
    ApiKey,
    KeyState,
    checked_user_id,
    issue,
    key_hash,
    looks_like_key,
    new_key,
)
from taskforce.core.domain.identity.roles import permissions_of
from taskforce.core.domain.redaction import redact
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Permission, Role

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
EVERYTHING = frozenset(Permission)

role_names = st.sets(st.sampled_from(list(SYSTEM_ROLES)), min_size=1)


def issued(**changes: Any) -> tuple[str, ApiKey]:
    usual: dict[str, Any] = {
        "tenant_id": "acme",
        "user_id": "svc-pipeline",
        "name": "Pipeline",
        "roles": {"operator"},
        "created_by": "alice",
        "maker_permissions": EVERYTHING,
        "now": NOW,
        "expires_at": NOW + 30 * DAY,
    }
    return issue(**{**usual, **changes})


def key(**changes: Any) -> ApiKey:
    return issued(**changes)[1]


def rights(
    one: ApiKey, user: Collection[Permission] = EVERYTHING, *, now: datetime = NOW, active: bool = True
) -> frozenset[Permission]:
    return one.effective_permissions(now, user, user_active=active)


# The key itself


def test_a_key_has_256_random_bits_behind_its_prefix() -> None:
    keys = {new_key() for _ in range(3_000)}

    assert len(keys) == 3_000
    assert all(re.fullmatch(r"tf_[0-9A-Za-z]{43}", one) for one in keys)
    # 43 digits of base 62 hold a little more than 256 bits, so the last one takes every value.
    assert {one[-1] for one in keys} > set("09AZaz")


def test_a_key_is_kept_as_its_sha_256() -> None:
    plaintext, record = issued()

    assert record.hash == key_hash(plaintext) == hashlib.sha256(plaintext.encode()).hexdigest()
    assert record.prefix == plaintext[:8]
    assert plaintext not in repr(record)
    assert record.hash not in repr(record)


@pytest.mark.parametrize("text", ["", "tf_", "tf_abc", "tf_" + "x" * 42, "tf_" + "x" * 44, "TF_" + "x" * 43])
def test_what_has_another_shape_is_no_key(text: str) -> None:
    assert not looks_like_key(text)


def test_a_key_looks_like_one_and_nothing_around_it_belongs_to_it() -> None:
    plaintext = new_key()

    assert looks_like_key(plaintext)
    assert not any(looks_like_key(text) for text in (plaintext + "\n", " " + plaintext, plaintext[:-1] + "ä"))


@given(st.text(st.characters(), max_size=60))
def test_any_text_can_be_hashed_and_looked_at(text: str) -> None:
    assert len(key_hash(text)) == 64
    assert looks_like_key(text) in {True, False}


def test_a_key_in_a_message_is_masked_and_its_prefix_is_not() -> None:
    plaintext, record = issued()

    assert redact(f"refused {plaintext} today") == "refused *** today"
    assert redact(f"refused {record.prefix} today") == f"refused {record.prefix} today"


# Issuing


@given(roles=role_names, held=st.frozensets(st.sampled_from(Permission)))
def test_nobody_issues_a_key_that_allows_more_than_they_may_do(roles: set[str], held: frozenset[Permission]) -> None:
    wanted = permissions_of(roles)
    if wanted <= held:
        assert key(roles=roles, maker_permissions=held).roles == roles
        return
    with pytest.raises(Forbidden) as refusal:
        key(roles=roles, maker_permissions=held)
    assert refusal.value.code == "roles_too_wide"
    assert refusal.value.details == {"permissions": sorted(one.value for one in wanted - held)}


@pytest.mark.parametrize("roles", [set(), "operator", {7}])
def test_a_key_needs_a_set_of_roles(roles: object) -> None:
    with pytest.raises(Invalid) as refusal:
        key(roles=roles)
    assert refusal.value.code == "roles_invalid"


def test_the_roles_of_a_key_exist() -> None:
    analyst = Role("custom:analyst", "Analyst", permissions={Permission.MEMORY_READ}, tenant_id="acme")
    with pytest.raises(Invalid) as refusal:
        key(roles={"custom:analyst"})
    assert refusal.value.code == "roles_unknown"

    assert key(roles={"custom:analyst"}, known_roles={"custom:analyst": analyst}).roles == {"custom:analyst"}


@pytest.mark.parametrize(
    "expires_at",
    [NOW, NOW - DAY, NOW + LONGEST_LIFE + TICK, (NOW + DAY).replace(tzinfo=None), datetime.max.replace(tzinfo=UTC)],
)
def test_a_key_expires_in_the_future_and_not_too_late(expires_at: datetime) -> None:
    with pytest.raises(Invalid) as refusal:
        key(expires_at=expires_at)
    assert refusal.value.code == "expiry_invalid"


def test_a_key_without_an_expiry_lives_as_long_as_a_key_can() -> None:
    assert key(expires_at=None).expires_at == NOW + LONGEST_LIFE
    assert key(expires_at=None, longest_life=DAY).expires_at == NOW + DAY
    with pytest.raises(Invalid):
        key(expires_at=NOW + 2 * DAY, longest_life=DAY)


def test_an_expiry_is_kept_in_utc() -> None:
    there = timezone(timedelta(hours=5))

    assert key(expires_at=(NOW + DAY).astimezone(there)).expires_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": ""}, "api_key_name_invalid"),
        ({"name": "x" * 101}, "api_key_name_invalid"),
        ({"name": "a\nb"}, "api_key_name_invalid"),
        ({"user_id": ""}, "user_id_invalid"),
        ({"tenant_id": "a:b"}, "tenant_id_invalid"),
        ({"metadata": {"x": float("inf")}}, "metadata_malformed"),
    ],
)
def test_what_cannot_be_kept_is_refused(changes: dict[str, object], code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        key(**changes)
    assert refusal.value.code == code


@pytest.mark.parametrize("user_id", ["", " a", "a\x00", "x" * 256, None])
def test_a_user_id_is_as_a_token_would_name_it(user_id: object) -> None:
    with pytest.raises(Invalid):
        checked_user_id(user_id)
    assert checked_user_id("auth0|5f7c") == "auth0|5f7c"


# Its life


def test_a_key_is_active_until_the_moment_of_its_expiry() -> None:
    one = key()

    assert one.state(one.expires_at - TICK) is KeyState.ACTIVE
    assert one.state(one.expires_at) is KeyState.EXPIRED
    assert one.is_active(NOW)
    assert not one.is_active(one.expires_at)


def test_revoking_again_keeps_the_first_time() -> None:
    revoked = key().revoke(NOW)

    assert revoked.revoke(NOW + DAY) is revoked
    assert revoked.revoked_at == NOW
    assert revoked.state(NOW) is KeyState.REVOKED
    assert revoked.state(revoked.expires_at + DAY) is KeyState.REVOKED


def test_a_use_is_noted_once_a_minute() -> None:
    used = key().used(NOW)

    assert used.last_used_at == NOW
    assert used.used(NOW + timedelta(seconds=59)) is used
    assert used.used(NOW - DAY) is used
    assert used.used(NOW + timedelta(minutes=1)).last_used_at == NOW + timedelta(minutes=1)


# What it allows


@given(roles=role_names, user=st.frozensets(st.sampled_from(Permission)))
def test_a_key_allows_what_both_its_roles_and_its_user_may_do(roles: set[str], user: frozenset[Permission]) -> None:
    assert rights(key(roles=roles), user) == permissions_of(roles) & user


def test_a_key_that_is_over_or_whose_user_is_gone_allows_nothing() -> None:
    one = key()

    assert rights(one)
    assert rights(one, now=one.expires_at) == frozenset()
    assert rights(one.revoke(NOW)) == frozenset()
    assert rights(one, active=False) == frozenset()


def test_the_roles_that_count_are_those_of_today() -> None:
    one = replace(key(), roles=frozenset({"custom:gone", "viewer"}))

    assert rights(one) == SYSTEM_ROLES["viewer"].permissions


def test_a_key_lends_its_user_no_role_by_name() -> None:
    one = key(roles={"admin", "operator"})

    assert one.effective_roles(NOW, {"operator", "viewer"}, user_active=True) == {"operator"}
    assert one.effective_roles(NOW, {"operator"}, user_active=False) == frozenset()
    assert one.effective_roles(one.expires_at, {"operator"}, user_active=True) == frozenset()
