"""Which rights count now."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from taskforce.core.domain.errors import Forbidden, Invalid
from taskforce.core.domain.identity.principals import require
from taskforce.core.domain.identity.roles import permissions_of
from taskforce.core.domain.identity.users import UserRecord
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Identity, Permission, Role

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def identity(
    roles: set[str],
    issued_at: datetime = NOW,
    user_id: str = "alice",
    tenant_id: str = "acme",
    username: str = "alice.j",
) -> Identity:
    return Identity(
        user_id=user_id,
        tenant_id=tenant_id,
        username=username,
        email="alice@acme.example",
        roles=frozenset(roles),
        issuer="https://issuer.example",
        issued_at=issued_at,
        expires_at=issued_at + timedelta(hours=1),
    )


def test_roles_add_up_and_unknown_ones_give_nothing() -> None:
    assert permissions_of(["viewer", "auditor"]) == SYSTEM_ROLES["auditor"].permissions
    assert permissions_of(["ADMIN", "custom:root", "", "*"]) == frozenset()
    assert permissions_of([]) == frozenset()


def test_further_roles_can_be_known() -> None:
    analyst = Role("custom:analyst", "Analyst", permissions={Permission.MEMORY_READ}, tenant_id="acme")

    assert permissions_of({"custom:analyst"}, {**SYSTEM_ROLES, analyst.role_id: analyst}) == {Permission.MEMORY_READ}


def test_a_missing_permission_is_named() -> None:
    with pytest.raises(Forbidden) as refusal:
        require(SYSTEM_ROLES["viewer"].permissions, Permission.AGENT_EXECUTE)

    assert refusal.value.code == "permission_denied"
    assert "agent:execute" in refusal.value.message
    assert refusal.value.details == {"permission": "agent:execute"}


def test_a_held_permission_passes() -> None:
    require(SYSTEM_ROLES["operator"].permissions, Permission.AGENT_EXECUTE)


def test_a_user_seen_for_the_first_time_has_what_its_token_claims() -> None:
    user = UserRecord.first_seen(identity({"operator"}), NOW)

    assert (user.tenant_id, user.user_id, user.username, user.email) == (
        "acme",
        "alice",
        "alice.j",
        "alice@acme.example",
    )
    assert user.active
    assert user.effective_roles(NOW, DAY) == {"operator"}
    assert user.permissions(NOW, DAY) == SYSTEM_ROLES["operator"].permissions


def test_claims_count_up_to_their_age_and_local_grants_for_ever() -> None:
    user = replace(UserRecord.first_seen(identity({"operator"}), NOW), granted_roles=frozenset({"viewer"}))

    assert user.effective_roles(NOW + DAY, DAY) == {"operator", "viewer"}
    assert user.effective_roles(NOW + DAY + timedelta(microseconds=1), DAY) == {"viewer"}
    assert user.effective_roles(NOW + 1000 * DAY, DAY) == {"viewer"}


def test_claims_that_nobody_saw_do_not_count() -> None:
    user = UserRecord("acme", "alice", "alice", claimed_roles=frozenset({"admin"}))

    assert user.effective_roles(NOW, DAY) == frozenset()


def test_a_deactivated_user_has_no_rights_and_a_token_does_not_change_that() -> None:
    user = UserRecord("acme", "alice", "alice", active=False, granted_roles=frozenset({"admin"}))
    returned = user.seen(identity({"admin"}), NOW)

    assert not returned.active
    assert returned.effective_roles(NOW, DAY) == frozenset()
    assert returned.permissions(NOW, DAY) == frozenset()


def test_a_newer_token_replaces_the_claims() -> None:
    first = UserRecord.first_seen(identity({"admin"}), NOW)
    second = first.seen(identity({"viewer"}, NOW + DAY, username="alice.smith"), NOW + DAY)

    assert second.claimed_roles == {"viewer"}
    assert second.claims_seen_at == NOW + DAY
    assert second.username == "alice.smith"


def test_an_older_token_brings_nothing_back() -> None:
    narrowed = UserRecord.first_seen(identity({"viewer"}, NOW), NOW)

    assert narrowed.seen(identity({"admin"}, NOW - timedelta(minutes=30)), NOW + timedelta(minutes=1)) == narrowed


def test_the_same_token_keeps_its_claims_fresh() -> None:
    user = UserRecord.first_seen(identity({"operator"}), NOW).seen(identity({"operator"}), NOW + DAY)

    assert user.effective_roles(NOW + 2 * DAY, DAY) == {"operator"}


@pytest.mark.parametrize("changes", [{"user_id": "bob"}, {"tenant_id": "other"}])
def test_claims_of_somebody_else_are_refused(changes: dict[str, str]) -> None:
    user = UserRecord.first_seen(identity({"viewer"}), NOW)

    with pytest.raises(Invalid) as refusal:
        user.seen(identity({"admin"}, NOW, **changes), NOW)

    assert refusal.value.code == "identity_mismatch"


def test_a_lent_role_counts_until_its_end_and_not_a_moment_longer() -> None:
    user = UserRecord("acme", "alice", "alice").given("operator", NOW + DAY, NOW)
    assert user.effective_roles(NOW + DAY - timedelta(microseconds=1), DAY) == {"operator"}
    assert user.effective_roles(NOW + DAY, DAY) == frozenset()
    assert user.permissions(NOW + 2 * DAY, DAY) == frozenset()
    assert replace(user, active=False).effective_roles(NOW, DAY) == frozenset()


def test_what_is_given_never_cuts_what_is_held() -> None:
    user = UserRecord("acme", "alice", "alice").given("operator", NOW + 2 * DAY, NOW)
    assert user.given("operator", NOW + DAY, NOW) == user
    for_good = user.given("operator", None, NOW)
    assert for_good.granted_roles == {"operator"}
    assert not for_good.lent_roles
    assert for_good.given("operator", NOW + DAY, NOW) == for_good
    # A loan that is over says nothing about the next one.
    again = user.given("operator", NOW + 4 * DAY, NOW + 3 * DAY)
    assert again.lent_roles == {"operator": NOW + 4 * DAY}
