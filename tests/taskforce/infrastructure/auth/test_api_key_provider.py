"""API keys in a program that embeds the library, first as the guide shows them."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from taskforce.application.identity import RoleManager, UserManager
from taskforce.core.domain.errors import Forbidden, Invalid
from taskforce.core.domain.identity.api_keys import LONGEST_LIFE, KeyState
from taskforce.core.domain.ids import is_id
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Permission, UserContext
from taskforce.infrastructure.auth.api_key_provider import APIKeyProvider, APIKeyRecord

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class Clock:
    """A time that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def provider(clock: Clock) -> APIKeyProvider:
    return APIKeyProvider(clock=clock)


def created(provider: APIKeyProvider, **changes: Any) -> tuple[str, APIKeyRecord]:
    usual: dict[str, Any] = {"tenant_id": "acme", "user_id": "svc", "name": "Pipeline", "roles": {"operator"}}
    return provider.create_api_key(**{**usual, **changes})


# As the guide shows it


async def test_the_example_of_the_guide() -> None:
    provider = APIKeyProvider()

    plaintext_key, record = provider.create_api_key(
        tenant_id="acme-corp",
        user_id="svc-data-pipeline",
        name="Data Pipeline Service Key",
        roles={"operator"},
        expires_at=datetime.now(timezone.utc) + timedelta(days=365),  # noqa: UP017 - as printed
        metadata={"created_by": "admin@acme.com", "purpose": "ETL pipeline agent execution"},
    )
    assert re.fullmatch(r"API Key: tf_[0-9A-Za-z]{43}", f"API Key: {plaintext_key}")
    assert is_id(record.key_id)

    user_context = await provider.validate_api_key(plaintext_key)
    assert user_context is not None
    assert (user_context.user_id, user_context.tenant_id) == ("svc-data-pipeline", "acme-corp")
    assert user_context.roles == {"operator"}
    assert user_context.permissions == SYSTEM_ROLES["operator"].permissions
    assert await provider.validate_api_key("not a key") is None

    keys = provider.list_api_keys("acme-corp")
    printed = [f"  {key.name}: expires {key.expires_at}, active={key.is_active}" for key in keys]
    assert printed == [f"  Data Pipeline Service Key: expires {record.expires_at}, active=True"]
    assert provider.revoke_api_key(key_id="abc123") is False
    assert provider.revoke_api_key(key_id=record.key_id) is True
    assert await provider.validate_api_key(plaintext_key) is None
    assert [key.is_active for key in provider.list_api_keys("acme-corp")] == [False]


# Records


def test_a_record_tells_everything_but_the_key(provider: APIKeyProvider) -> None:
    plaintext, record = created(provider, metadata={"purpose": "ETL"})

    assert (record.tenant_id, record.user_id, record.name) == ("acme", "svc", "Pipeline")
    assert record.roles == {"operator"}
    assert record.metadata == {"purpose": "ETL"}
    assert record.created_by == ""
    assert (record.created_at, record.expires_at) == (NOW, NOW + LONGEST_LIFE)
    assert (record.last_used_at, record.revoked_at) == (None, None)
    assert record.prefix == plaintext[:8]
    assert plaintext not in repr(record)
    assert record.key.hash not in repr(record)


def test_a_record_grows_old_by_itself_and_does_not_hear_of_a_revocation(provider: APIKeyProvider, clock: Clock) -> None:
    _, record = created(provider, expires_at=NOW + DAY)
    provider.revoke_api_key(record.key_id)

    assert record.is_active
    assert provider.list_api_keys("acme")[0].state is KeyState.REVOKED
    clock.now += DAY
    assert record.state is KeyState.EXPIRED
    assert not record.is_active


def test_a_tenant_sees_and_revokes_its_own_keys_only(provider: APIKeyProvider) -> None:
    _, ours = created(provider)
    _, theirs = created(provider, tenant_id="other")

    assert provider.list_api_keys("acme") == [ours]
    assert provider.list_api_keys("nobody") == []
    assert not provider.revoke_api_key(theirs.key_id, tenant_id="acme")
    assert provider.list_api_keys("other")[0].is_active
    assert provider.revoke_api_key(theirs.key_id, tenant_id="other")


def test_revoking_again_changes_nothing(provider: APIKeyProvider, clock: Clock) -> None:
    _, record = created(provider)
    assert provider.revoke_api_key(record.key_id)
    clock.now += DAY

    assert provider.revoke_api_key(record.key_id)
    assert provider.list_api_keys("acme")[0].revoked_at == NOW


# Whoever asks for a key


def test_a_maker_gives_no_more_than_it_has(provider: APIKeyProvider) -> None:
    grantor = UserContext("alice", "acme", permissions=SYSTEM_ROLES["operator"].permissions)

    assert created(provider, grantor=grantor)[1].created_by == "alice"
    with pytest.raises(Forbidden) as refusal:
        created(provider, roles={"admin"}, grantor=grantor)
    assert refusal.value.code == "roles_too_wide"


def test_a_maker_makes_keys_of_its_own_tenant(provider: APIKeyProvider) -> None:
    with pytest.raises(Forbidden) as refusal:
        created(provider, grantor=UserContext("eve", "other", permissions=frozenset(Permission)))
    assert refusal.value.code == "foreign_tenant"
    assert provider.list_api_keys("acme") == []


def test_the_rules_of_keys_hold_here_too(provider: APIKeyProvider) -> None:
    with pytest.raises(Invalid) as refusal:
        created(provider, expires_at=NOW)
    assert refusal.value.code == "expiry_invalid"


# Whoever bears one


async def test_a_bearer_is_known_by_its_key(provider: APIKeyProvider) -> None:
    plaintext, record = created(provider)

    user = await provider.validate_api_key(plaintext)

    assert user is not None
    assert user.username == "svc"
    assert user.attributes == {"api_key_id": record.key_id}


@pytest.mark.parametrize("text", ["", "tf_", "tf_" + "a" * 43, "tf_" + "é" * 43, "x" * 1_000_000, "\ud800", None])
async def test_what_is_no_key_of_ours_names_nobody(provider: APIKeyProvider, text: Any) -> None:
    created(provider)

    assert await provider.validate_api_key(text) is None


async def test_a_key_is_taken_until_it_expires(provider: APIKeyProvider, clock: Clock) -> None:
    plaintext, _ = created(provider, expires_at=NOW + DAY)

    clock.now = NOW + DAY - timedelta(microseconds=1)
    assert await provider.validate_api_key(plaintext)
    clock.now = NOW + DAY
    assert await provider.validate_api_key(plaintext) is None


async def test_use_is_noted_to_the_minute(provider: APIKeyProvider, clock: Clock) -> None:
    plaintext, _ = created(provider)

    await provider.validate_api_key(plaintext)
    clock.now += timedelta(seconds=59)
    await provider.validate_api_key(plaintext)
    assert provider.list_api_keys("acme")[0].last_used_at == NOW
    clock.now += timedelta(seconds=1)
    await provider.validate_api_key(plaintext)
    assert provider.list_api_keys("acme")[0].last_used_at == clock.now


async def test_a_key_follows_the_rights_of_its_user(clock: Clock) -> None:
    roles = RoleManager()
    await roles.create_role("Reader", "", {Permission.MEMORY_READ, Permission.AUDIT_READ}, "acme")
    users = UserManager(roles)
    provider = APIKeyProvider(users=users.user_context, roles=roles.known_roles, clock=clock)
    await users.create_user("alice", "acme", "Alice", "alice@acme.example", {"operator", "custom:reader"})
    plaintext, _ = created(provider, user_id="alice", roles={"custom:reader", "viewer"})

    user = await provider.validate_api_key(plaintext)
    assert user is not None
    assert (user.username, user.email, user.roles) == ("Alice", "alice@acme.example", {"custom:reader"})
    wide = {Permission.MEMORY_READ, Permission.AUDIT_READ}
    assert user.permissions == wide | SYSTEM_ROLES["viewer"].permissions

    await users.update_user("alice", "acme", roles={"viewer"})
    user = await provider.validate_api_key(plaintext)
    assert user is not None
    assert (user.roles, user.permissions) == ({"viewer"}, SYSTEM_ROLES["viewer"].permissions)

    await users.deactivate_user("alice", "acme")
    assert await provider.validate_api_key(plaintext) is None


async def test_a_key_whose_user_is_not_there_names_nobody(clock: Clock) -> None:
    users = UserManager()
    provider = APIKeyProvider(users=users.user_context, clock=clock)
    plaintext, _ = created(provider, user_id="alice")
    await users.create_user("alice", "other", roles={"admin"})

    assert await provider.validate_api_key(plaintext) is None


@pytest.mark.parametrize("other", [UserContext("alice", "other"), UserContext("bob", "acme")])
async def test_a_look_up_that_finds_somebody_else_names_nobody(clock: Clock, other: UserContext) -> None:
    async def confused(_: str, __: str) -> UserContext:
        return other

    plaintext, _ = created(provider := APIKeyProvider(users=confused, clock=clock), user_id="alice")

    assert await provider.validate_api_key(plaintext) is None


async def test_a_revocation_while_the_user_is_looked_up_wins(clock: Clock) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(user_id: str, tenant_id: str) -> UserContext:
        asked.set()
        await answer.wait()
        return UserContext(user_id, tenant_id, permissions=frozenset(Permission))

    provider = APIKeyProvider(users=slow, clock=clock)
    plaintext, record = created(provider)
    validating = asyncio.create_task(provider.validate_api_key(plaintext))
    await asked.wait()
    provider.revoke_api_key(record.key_id)
    answer.set()

    assert await validating is None
    assert provider.list_api_keys("acme")[0].last_used_at is None


def test_threads_lose_no_key_and_bring_none_back(provider: APIKeyProvider) -> None:
    def life(_: int) -> bool:
        plaintext, record = created(provider)
        asyncio.run(provider.validate_api_key(plaintext))
        return provider.revoke_api_key(record.key_id)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(life, range(100)))

    assert len(provider.list_api_keys("acme")) == 100
    assert not any(record.is_active for record in provider.list_api_keys("acme"))
