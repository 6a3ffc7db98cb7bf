"""Who is who in a program that embeds the library, first as the guide shows it."""

import inspect
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from uuid import uuid4

import pytest
import structlog

from taskforce.application.identity import RoleManager, StateManager, UserManager, require_permission
from taskforce.core.domain.errors import Forbidden, Invalid
from taskforce.core.interfaces.identity import (
    SYSTEM_ROLES,
    Permission,
    PolicyDecision,
    PolicyEngineProtocol,
    ResourceType,
    Role,
    TenantContext,
    UserContext,
)

EVERYTHING = frozenset(Permission)
OPERATOR = UserContext("olga", "acme", roles={"operator"}, permissions=SYSTEM_ROLES["operator"].permissions)


# As the guide shows it


def guide_tenant() -> TenantContext:
    return TenantContext(
        tenant_id="acme-corp",
        name="Acme Corporation",
        settings={
            "max_agents": 100,
            "max_concurrent_sessions": 50,
            "features": ["rag", "long_term_memory", "approval_workflows"],
            "data_retention_days": 90,
        },
        metadata={"tier": "enterprise", "contract_start": "2025-01-01", "primary_contact": "admin@acme.com"},
    )


def guide_user() -> UserContext:
    return UserContext(
        user_id="user-12345",
        tenant_id="acme-corp",
        username="alice.johnson",
        email="alice@acme.com",
        roles={"admin", "agent_designer"},
        permissions={
            Permission.AGENT_CREATE,
            Permission.AGENT_READ,
            Permission.AGENT_UPDATE,
            Permission.AGENT_EXECUTE,
            Permission.USER_MANAGE,
        },
        attributes={"department": "Engineering", "team": "AI Platform"},
    )


def test_the_tenant_and_the_user_of_the_guide() -> None:
    tenant, user = guide_tenant(), guide_user()

    assert tenant.settings["max_agents"] == 100
    assert tenant.metadata["tier"] == "enterprise"
    assert user.has_permission(Permission.AGENT_CREATE)
    assert not user.has_permission(Permission.AUDIT_READ)
    assert user.is_admin()
    assert user.attributes["department"] == "Engineering"


async def test_the_sessions_of_the_guide() -> None:
    tenant = guide_tenant()
    state_manager = StateManager(tenant)
    session_id = f"{tenant.tenant_id}:session-{uuid4()}"
    assert session_id.startswith("acme-corp:session-")

    await state_manager.save_state(
        session_id="acme-corp:session-abc123", state_data={"mission": "Analyze Q4 sales data", "step": 1}
    )

    assert await state_manager.load_state("acme-corp:session-abc123") == {"mission": "Analyze Q4 sales data", "step": 1}
    assert await state_manager.load_state("other-tenant:session-xyz") is None


async def test_the_custom_role_of_the_guide() -> None:
    role_manager = RoleManager()
    data_analyst_role = Role(
        role_id="custom:data_analyst",
        name="Data Analyst",
        description="Can execute data analysis agents and view results",
        permissions={
            Permission.AGENT_READ,
            Permission.AGENT_EXECUTE,
            Permission.SESSION_CREATE,
            Permission.SESSION_READ,
            Permission.MEMORY_READ,
        },
        tenant_id="acme-corp",
        is_system_role=False,
        metadata={"created_by": "admin@acme.com", "department": "Analytics"},
    )

    created = await role_manager.create_role(
        name=data_analyst_role.name,
        description=data_analyst_role.description,
        permissions=data_analyst_role.permissions,
        tenant_id="acme-corp",
    )

    assert created.role_id == data_analyst_role.role_id
    assert created.permissions == data_analyst_role.permissions
    assert await role_manager.get_role("custom:data_analyst", "acme-corp") == created


class Twelve(PolicyEngineProtocol):
    """An engine that allows one agent."""

    async def evaluate(
        self,
        user: UserContext,
        action: Permission,
        resource_type: ResourceType,
        resource_id: str | None = None,
        context: Any = None,
    ) -> PolicyDecision:
        return PolicyDecision(resource_id == "agent-12", "only agent 12 is open")


async def check_agent_access(
    policy_engine: PolicyEngineProtocol, user: UserContext, agent_id: str, action: Permission
) -> bool:
    decision: PolicyDecision = await policy_engine.evaluate(
        user=user,
        action=action,
        resource_type=ResourceType.AGENT,
        resource_id=agent_id,
        context={"requested_at": datetime.now(UTC).isoformat()},
    )
    if not decision.allowed:
        structlog.get_logger(__name__).warning(
            "access.denied", user_id=user.user_id, action=action.value, agent_id=agent_id, reason=decision.reason
        )
    return decision.allowed


async def test_the_policy_engine_of_the_guide() -> None:
    with structlog.testing.capture_logs() as logged:
        assert await check_agent_access(Twelve(), guide_user(), "agent-12", Permission.AGENT_READ)
        assert not await check_agent_access(Twelve(), guide_user(), "agent-13", Permission.AGENT_READ)

    assert [(line["event"], line["reason"]) for line in logged] == [("access.denied", "only agent 12 is open")]


async def test_the_protected_route_of_the_guide() -> None:
    @require_permission(Permission.AGENT_CREATE)
    async def create_agent(request: str, user: UserContext) -> str:
        return f"{user.username} made {request}"

    assert await create_agent("an agent", user=guide_user()) == "alice.johnson made an agent"
    with pytest.raises(Forbidden) as refusal:
        await create_agent("an agent", user=OPERATOR)
    assert (refusal.value.code, refusal.value.details) == ("permission_denied", {"permission": "agent:create"})
    assert "agent:create" in refusal.value.message


def test_the_permissions_of_the_guide() -> None:
    assert len(Permission) == 20
    assert issubclass(Permission, Enum)
    assert set(SYSTEM_ROLES) == {"admin", "agent_designer", "operator", "auditor", "viewer"}


async def test_existing_users_are_given_roles_as_the_guide_migrates_them() -> None:
    user_manager = UserManager()
    existing_users = [
        await user_manager.create_user("u1", "your-tenant"),
        await user_manager.create_user("u2", "your-tenant"),
    ]
    for user in existing_users:
        await user_manager.update_user(user_id=user.user_id, tenant_id="your-tenant", roles={"operator"})

    assert [user.granted_roles for user in await user_manager.list_users("your-tenant")] == [{"operator"}] * 2


# States


async def test_a_state_is_copied_in_and_out() -> None:
    states = StateManager("acme")
    state: dict[str, Any] = {"steps": [{"done": False}], "ratio": 0.5, "next": None, "ä": "\U0001f600"}
    await states.save_state("acme:s1", state)
    state["steps"][0]["done"] = True

    loaded = await states.load_state("acme:s1")
    assert loaded == {"steps": [{"done": False}], "ratio": 0.5, "next": None, "ä": "\U0001f600"}
    loaded["steps"] = []
    assert await states.load_state("acme:s1") != loaded
    await states.save_state("acme:s1", {})
    assert await states.load_state("acme:s1") == {}


async def test_nothing_is_saved_for_another_tenant() -> None:
    states = StateManager("acme")

    for session_id in ("other:s1", "acme2:s1", "ACME:s1", "acme.:s1"):
        with pytest.raises(Forbidden) as refusal:
            await states.save_state(session_id, {})
        assert refusal.value.code == "foreign_tenant"
        assert await states.load_state(session_id) is None


@pytest.mark.parametrize("session_id", ["", "s1", "acme", "acme:", ":s1"])
async def test_a_session_id_names_its_tenant(session_id: str) -> None:
    states = StateManager("acme")

    with pytest.raises(Invalid) as refusal:
        await states.save_state(session_id, {})
    assert refusal.value.code == "session_id_invalid"
    assert await states.load_state(session_id) is None


def circle() -> dict[str, object]:
    state: dict[str, object] = {}
    state["itself"] = state
    return state


@pytest.mark.parametrize(
    "state",
    [
        {"x": (1, 2)},
        {"x": {1, 2}},
        {"x": b"bytes"},
        {"x": datetime(2026, 1, 1, tzinfo=UTC)},
        {"x": float("nan")},
        {"x": {1: "one"}},
        {1: "one", "1": "two"},
        ["a list"],
        None,
        circle(),
    ],
    ids=repr,
)
async def test_what_json_would_change_or_cannot_hold_is_refused(state: Any) -> None:
    states = StateManager("acme")
    await states.save_state("acme:s1", {"kept": True})

    with pytest.raises(Invalid) as refusal:
        await states.save_state("acme:s1", state)
    assert refusal.value.code == "state_malformed"
    assert await states.load_state("acme:s1") == {"kept": True}


# The decorator


@require_permission(Permission.AUDIT_READ)
def read(user: UserContext, *, lines: int = 1) -> list[str]:
    """Reads."""
    return [user.user_id] * lines


class Desk:
    """Has a guarded method."""

    def __init__(self) -> None:
        self.stamped = 0

    @require_permission(Permission.TOOL_EXECUTE)
    async def stamp(self, *, user: UserContext | None = None) -> int:
        self.stamped += 1
        return self.stamped


AUDITOR = UserContext("ada", "acme", permissions={Permission.AUDIT_READ})


def test_a_plain_function_is_guarded_too_however_the_user_is_passed() -> None:
    assert read(AUDITOR) == ["ada"]
    assert read(user=AUDITOR, lines=2) == ["ada", "ada"]
    with pytest.raises(Forbidden):
        read(OPERATOR)
    with pytest.raises(Forbidden):
        read(user=OPERATOR)


async def test_a_method_is_guarded_before_its_body_begins() -> None:
    desk = Desk()

    for attempt in (desk.stamp(user=AUDITOR), desk.stamp(user=None), desk.stamp()):
        with pytest.raises(Forbidden) as refusal:
            await attempt
        assert refusal.value.code == "permission_denied"
    assert desk.stamped == 0
    assert await desk.stamp(user=OPERATOR) == 1


async def test_a_stream_is_refused_when_it_is_asked_for() -> None:
    @require_permission(Permission.AUDIT_READ)
    async def lines(user: UserContext) -> AsyncIterator[str]:
        yield user.user_id

    with pytest.raises(Forbidden):
        lines(user=OPERATOR)
    assert [line async for line in lines(user=AUDITOR)] == ["ada"]


def test_whoever_only_looks_like_a_user_holds_nothing() -> None:
    class Lookalike:
        permissions = EVERYTHING

    lookalike: Any = Lookalike()
    with pytest.raises(Forbidden):
        read(lookalike)


def test_a_guarded_function_stays_what_it_was() -> None:
    assert (read.__name__, read.__doc__) == ("read", "Reads.")
    assert list(inspect.signature(read).parameters) == ["user", "lines"]
    assert not inspect.iscoroutinefunction(read)
    assert inspect.iscoroutinefunction(Desk.stamp)


def test_a_function_without_a_user_cannot_be_guarded() -> None:
    with pytest.raises(TypeError):

        @require_permission(Permission.AUDIT_READ)
        def anybody() -> None:
            pass
