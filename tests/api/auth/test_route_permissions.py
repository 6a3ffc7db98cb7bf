"""Every route states who may call it, and lets nobody else."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from api.auth.guard import Guard, ScrapeGuard, Unguarded
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Permission, Role
from taskforce.infrastructure.persistence.database import Database
from tests.api.gateway import ClientFor, Gateway, assert_problem, execute

VERSION = "/admin/agents/{agent_id}/versions/{version_id}"
READING, RUNNING = Permission.SESSION_READ, Permission.AGENT_EXECUTE
ANYBODY, EVERYBODY = Guard(None), Unguarded()
SPECIFIED: Mapping[str, Guard | Unguarded] = {
    "/health": EVERYBODY,
    "/ready": EVERYBODY,
    "/metrics": ScrapeGuard(Permission.SYSTEM_METRICS),
    "/admin/sla": Guard(Permission.SYSTEM_METRICS),
    "/me": ANYBODY,
    "/agents/execute": Guard(RUNNING),
    "/runs": Guard(READING),
    **{f"/runs/{{run_id}}/{act}": Guard(RUNNING) for act in ("cancel", "pause", "resume", "messages")},
    "/admin/requests": ANYBODY,
    "/admin/tenants": Guard(Permission.TENANT_MANAGE),
    "/admin/kill-switches": Guard(Permission.TENANT_MANAGE),
    "/admin/kill-switches/agents": Guard(Permission.AGENT_UPDATE),
    "/admin/users": Guard(Permission.USER_MANAGE),
    "/admin/api-keys": Guard(Permission.USER_MANAGE),
    "/admin/roles": Guard(Permission.ROLE_MANAGE),
    "/admin/policies": Guard(Permission.POLICY_MANAGE),
    "/admin/usage": Guard(Permission.AUDIT_READ),
    "/admin/costs": Guard(Permission.AUDIT_READ),
    "POST /admin/costs": Guard(Permission.TENANT_MANAGE),
    "/admin/budgets": Guard(Permission.AUDIT_READ),
    **{f"{change} /admin/budgets": Guard(Permission.TENANT_MANAGE) for change in ("POST", "PUT", "DELETE")},
    "/admin/prices": Guard(Permission.AUDIT_READ),
    "POST /admin/prices": Guard(Permission.TENANT_MANAGE),
    "DELETE /admin/prices": Guard(Permission.TENANT_MANAGE),
    "/admin/workflows": Guard(Permission.POLICY_MANAGE),
    "/admin/webhooks": Guard(Permission.POLICY_MANAGE),
    "/admin/audit": Guard(Permission.AUDIT_READ),
    "/admin/agents": Guard(Permission.AGENT_UPDATE),
    "GET /admin/agents": Guard(Permission.AGENT_READ),
    **{f"POST /admin/agents{end}": Guard(Permission.AGENT_CREATE) for end in ("", "/import", "/{agent_id}/clone")},
    **{f"POST /admin/agents/{{agent_id}}/{part}": Guard(Permission.AGENT_UPDATE) for part in ("versions", "rollback")},
    **{f"POST {VERSION}/{verdict}": Guard(Permission.AGENT_READ) for verdict in ("approve", "reject")},
    "DELETE /admin/agents/{agent_id}": Guard(Permission.AGENT_DELETE),
    "DELETE /admin/agents/{agent_id}/aliases": Guard(Permission.AGENT_UPDATE),
}
"""What the routes under a path take; the longest path counts, and one with a method before one without."""
TRANSIENT = {
    "/agents/execute",
    *(f"/runs/{{run_id}}/{act}" for act in ("cancel", "pause", "resume", "messages")),
    "/admin/policies/dry-run",
    "/admin/requests",
    *(f"/admin/requests/{{request_id}}/{act}" for act in ("approve", "reject", "withdraw", "reassign", "comments")),
    *(f"{VERSION}/{verdict}" for verdict in ("approve", "reject")),
}
"""What does more than read and ends by itself, so that a role counts which was lent for a time. Whatever else does more
than read leaves something behind, and is judged by the rights that last: a new route too, unless it stands here."""
READING_METHODS = {"GET", "HEAD", "OPTIONS"}
PARAMETERS = {"step": "1", "call": "1", "path": "notes.txt", "tenant_id": "absent", "role_id": "custom:absent"}


def specified(path: str, method: str) -> Guard | Unguarded:
    plain = path.removeprefix("/api").removeprefix("/v1")
    names = (plain, f"{method.upper()} {plain}")
    fitting = (one for one in SPECIFIED for name in names if f"{name}/".startswith(f"{one}/"))
    return SPECIFIED[max(fitting, key=len)]


def routes(router: Any) -> Iterator[APIRoute]:
    """Every route, also of routers within routers."""
    for each in router.routes:
        if isinstance(each, APIRoute):
            yield each
        elif hasattr(each, "original_router"):
            yield from routes(each.original_router)


def marks(dependant: Dependant) -> list[Guard | Unguarded]:
    return [one.call for one in dependant.dependencies if isinstance(one.call, Guard | Unguarded)]


async def test_every_route_states_its_permission(gateway: Gateway) -> None:
    met = set()
    bodies = set()
    for route in routes(gateway.app.router):
        (mark,) = marks(route.dependant)
        for method in route.methods or ():
            assert plain(mark) == specified(route.path, method), route.path
            met.add(specified(route.path, method))
        bodies |= {(route.name, mark.of)} if isinstance(mark, Guard) and mark.of else set()
    assert met == set(SPECIFIED.values())
    assert bodies == {("execute", "agent_id"), ("issue_api_key", "user_id")}


def plain(mark: Guard | Unguarded) -> Guard | Unguarded:
    return replace(mark, of=None, transient=False) if isinstance(mark, Guard) else mark


async def test_what_outlasts_a_loan_is_judged_by_the_rights_that_last_on_every_route(gateway: Gateway) -> None:
    transient = set()
    for route in routes(gateway.app.router):
        (mark,) = marks(route.dependant)
        if isinstance(mark, Guard) and mark.transient and not (route.methods or set()) <= READING_METHODS:
            transient.add(route.path.removeprefix("/api").removeprefix("/v1"))
    assert transient == TRANSIENT


async def test_a_lent_role_opens_reading_and_what_ends_by_itself_and_nothing_that_lasts(
    gateway: Gateway, client_for: ClientFor, tenant: str
) -> None:
    borrower = client_for(tenant, "bob", [])
    await borrower.get("/api/v1/me")
    now = gateway.parts.clock()
    async with gateway.parts.database.tenant(tenant) as records:
        user = await records.users.locked("bob")
        assert user is not None
        await records.users.save(user.given("admin", now + timedelta(hours=1), now), now)
    for path, operations in gateway.app.openapi()["paths"].items():
        for method in operations:
            body = {"mission": "x", "text": "x"} if method in {"post", "put"} else None
            answer = await borrower.request(method, concrete(path), json=body)
            mark = specified(path, method)
            spec = method.upper() in READING_METHODS or path.removeprefix("/api").removeprefix("/v1") in TRANSIENT
            if spec or not isinstance(mark, Guard) or mark.permission is None:
                assert answer.status_code not in {401, 403}, (path, answer.text)
            else:
                problem = assert_problem(answer, 403, "permission_denied")
                assert problem["permission"] == mark.permission.value
                assert "lent" in problem["detail"]


def concrete(path: str) -> str:
    return filled(path, {})


def filled(path: str, ids: Mapping[str, str]) -> str:
    return re.sub(r"{(\w+)}", lambda name: ids.get(name[1]) or PARAMETERS.get(name[1], str(uuid4())), path)


def named(path: str) -> set[str]:
    return set(re.findall(r"{(\w+)}", path))


@pytest.mark.parametrize("role", [*SYSTEM_ROLES, "unknown"])
async def test_each_role_may_what_its_permissions_say(
    gateway: Gateway, client_for: ClientFor, tenant: str, role: str
) -> None:
    client = client_for(tenant, f"user-{role}", [role])
    held = SYSTEM_ROLES[role].permissions if role in SYSTEM_ROLES else frozenset()
    for path, operations in gateway.app.openapi()["paths"].items():
        for method in operations:
            body = {"mission": "x", "text": "x"} if method in {"post", "put"} else None
            answer = await client.request(method, concrete(path), json=body)
            mark = specified(path, method)
            if isinstance(mark, Guard) and mark.permission is not None and mark.permission not in held:
                problem = assert_problem(answer, 403, "permission_denied")
                assert problem["permission"] == mark.permission.value
            else:
                assert answer.status_code not in {401, 403}, (path, answer.text)


async def test_without_a_token_there_is_nothing_but_signs_of_life(gateway: Gateway) -> None:
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60) as nobody:
        for path, operations in gateway.app.openapi()["paths"].items():
            for method in operations:
                if path not in {"/health", "/ready"}:
                    answer = await nobody.request(method, concrete(path))
                    assert_problem(answer, 401, "token_missing")
                    assert answer.headers["www-authenticate"] == "Bearer"


async def test_tokens_that_are_not_believed(gateway: Gateway, tenant: str) -> None:
    good = gateway.token(tenant, "olga", ["operator"])
    expired = gateway.token(tenant, "olga", ["operator"], seconds=-3600)
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60) as client:
        for credentials, code in [
            (f"Bearer {expired}", "token_expired"),
            (f"Bearer {good[:-2]}", "token_invalid"),
            (f"Bearer {good} x", "token_invalid"),
            ("Bearer \u00fc\u00fc".encode().decode("latin-1"), "token_invalid"),
            ("Bearer", "token_missing"),
            (f"Basic {good}", "token_missing"),
        ]:
            headers = {b"authorization": credentials.encode("latin-1")}
            assert_problem(await client.get("/api/v1/me", headers=headers), 401, code)


async def test_me_says_who_i_am_and_what_i_may(client_for: ClientFor, tenant: str) -> None:
    me = (await client_for(tenant, "vera", ["viewer", "unheard-of"]).get("/api/v1/me")).json()
    assert (me["user_id"], me["tenant_id"], me["username"]) == ("vera", tenant, "vera")
    assert me["roles"] == ["unheard-of", "viewer"]
    assert me["permissions"] == ["agent:read", "session:read", "tool:read"]


async def test_a_deactivated_user_has_no_rights(
    gateway: Gateway, client_for: ClientFor, tenant: str, database: Database
) -> None:
    client = client_for(tenant, "olga", ["operator"])
    await execute(client)
    async with database.tenant(tenant) as records:
        user = await records.users.get("olga")
        assert user is not None
        await records.users.save(replace(user, active=False), gateway.parts.clock())
    assert_problem(await client.get("/api/v1/me"), 403, "user_deactivated")


@pytest.mark.parametrize("permission", Permission, ids=lambda permission: str(permission.value))
async def test_one_permission_opens_its_own_routes_and_no_other(
    gateway: Gateway, client_for: ClientFor, tenant: str, permission: Permission
) -> None:
    """Twenty roles of one permission each, at every route, with ids of the own tenant's and of another's."""
    only = Role("custom:only", "Only", permissions={permission}, tenant_id=tenant)
    owner = client_for(f"{tenant}-other", "olga", ["admin"])
    theirs = {"run_id": (await execute(owner))["run_id"], "user_id": "olga", "tenant_id": f"{tenant}-other"}
    theirs["agent_id"] = (await owner.post("/api/v1/admin/agents", json={"name": "Theirs"})).json()["agent_id"]
    client = client_for(tenant, "someone", [only.role_id])
    await client.get("/api/v1/me")
    async with gateway.parts.database.tenant(tenant) as records:
        assert await records.roles.add(only, "test", gateway.parts.clock())
    for path, operations in gateway.app.openapi()["paths"].items():
        for method in operations:
            mark = specified(path, method)
            for ids in ({}, theirs):
                body = {"mission": "x", "text": "x"} if method in {"post", "put"} else None
                answer = await client.request(method, filled(path, ids), json=body)
                if isinstance(mark, Guard) and mark.permission not in {None, permission}:
                    problem = assert_problem(answer, 403, "permission_denied")
                    assert mark.permission is not None
                    assert problem["permission"] == mark.permission.value
                else:
                    assert answer.status_code not in {401, 403, 500}, (method, path, answer.text)
                    foreign = bool(set(ids) & named(path))
                    assert answer.status_code in {404, 422} or not foreign, (method, path, answer.text)
