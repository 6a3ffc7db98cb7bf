"""Over HTTP: a token that claims little stays one, also when another token of the same user claims much."""

import time
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.interfaces.identity import SYSTEM_ROLES
from taskforce.infrastructure.auth.jwt_provider import create_test_jwt
from taskforce.infrastructure.persistence.database import Database
from tests.api.approval_effects import asked
from tests.api.approvals import ask
from tests.api.gateway import MODEL, SECRET, ClientFor, Gateway, assert_problem, execute
from tests.api.policies import becomes, saved

ME, MAY, DELEGATION = "/api/v1/me", "/api/v1/me/permissions", "/api/v1/me/delegation"
REQUESTS = "/api/v1/admin/requests"
LATER = (datetime.now(UTC) + timedelta(days=7)).isoformat()

Both = tuple[httpx.AsyncClient, httpx.AsyncClient]
Bearer = Callable[[str, Iterable[str], Iterable[str]], Both]
Departments = Callable[[str, str], Both]


@pytest.fixture
async def bearer(gateway: Gateway, tenant: str) -> AsyncIterator[Bearer]:
    """Clients for two tokens of one user: one of a minute ago, and a newer one, that has been seen."""
    made: list[httpx.AsyncClient] = []

    def client(user: str, roles: Iterable[str], age: int) -> httpx.AsyncClient:
        made.append(by_token(gateway, create_test_jwt(user, tenant, roles, SECRET, iat=int(time.time()) - age)))
        return made[-1]

    yield lambda user, older, newer: (client(user, older, 60), client(user, newer, 0))
    for one in made:
        await one.aclose()


def by_token(gateway: Gateway, token: str) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=30, trust_env=False)


@pytest.fixture
async def of_departments(gateway: Gateway, tenant: str) -> AsyncIterator[Departments]:
    """Clients for two tokens of one administrator: one of a minute ago, and a newer one, of another department."""
    made: list[httpx.AsyncClient] = []

    def client(department: str, age: int) -> httpx.AsyncClient:
        issued = int(time.time()) - age
        token = create_test_jwt("vic", tenant, ["admin"], SECRET, iat=issued, department=department)
        made.append(by_token(gateway, token))
        return made[-1]

    yield lambda older, newer: (client(older, 60), client(newer, 0))
    for one in made:
        await one.aclose()


def rights(*roles: str) -> list[str]:
    return sorted({one.value for role in roles for one in SYSTEM_ROLES[role].permissions})


async def test_a_viewers_token_is_no_administrators(bearer: Bearer) -> None:
    viewer, admin = bearer("vic", ["viewer"], ["admin"])
    assert (await viewer.get(ME)).status_code == 200
    assert (await admin.get("/api/v1/admin/users")).status_code == 200

    assert_problem(await viewer.get("/api/v1/admin/users"), 403, "permission_denied")
    asks = {"mission": "Say hello.", "model": MODEL}
    assert_problem(await viewer.post("/api/v1/agents/execute", json=asks), 403, "permission_denied")
    key = {"name": "k", "roles": ["admin"]}
    assert_problem(await viewer.post("/api/v1/admin/api-keys", json=key), 403, "permission_denied")
    assert (await viewer.get(MAY)).json()["permissions"] == rights("viewer")
    assert (await admin.get(MAY)).json()["permissions"] == rights("admin")


async def test_what_an_administrator_has_granted_is_every_tokens(
    bearer: Bearer, client_for: ClientFor, tenant: str
) -> None:
    viewer, designer = bearer("vic", ["viewer"], ["agent_designer"])
    for client in (viewer, designer):
        await client.get(ME)
    granted = await client_for(tenant, "ada", ["admin"]).put("/api/v1/admin/users/vic", json={"roles": ["auditor"]})
    assert granted.status_code == 200, granted.text

    assert (await viewer.get(MAY)).json()["permissions"] == rights("viewer", "auditor")


async def test_a_run_keeps_the_claims_of_the_token_that_asked_for_it(
    bearer: Bearer, database: Database, tenant: str
) -> None:
    operator, admin = bearer("vic", ["operator"], ["admin", "operator"])
    await admin.get(ME)
    narrow, wide = (await execute(operator))["run_id"], (await execute(admin))["run_id"]
    async with database.tenant(tenant) as records:
        claimed = [(await records.runs.get(run_id)) for run_id in (narrow, wide)]
    assert [sorted(run.spec.claimed_roles or ()) for run in claimed if run] == [["operator"], ["admin", "operator"]]

    words = {"text": "Pay."}
    assert (await operator.post(f"/api/v1/runs/{narrow}/messages", json=words)).status_code == 202
    assert_problem(await operator.post(f"/api/v1/runs/{wide}/messages", json=words), 403, "run_may_more")
    assert (await admin.post(f"/api/v1/runs/{wide}/messages", json=words)).status_code == 202


async def test_a_token_decides_by_no_role_that_it_does_not_claim(
    bearer: Bearer, operator: httpx.AsyncClient, database: Database, tenant: str
) -> None:
    auditor, admin = bearer("vic", ["auditor"], ["auditor", "admin"])
    await admin.get(ME)
    terms = Terms(allowed_roles=("admin",))
    request_id = await ask(database, tenant, (await execute(operator))["run_id"], terms=terms)
    path = f"{REQUESTS}/{request_id}"

    assert (await auditor.get(path)).json()["can_decide"] is False
    for verdict in ("approve", "reject"):
        assert_problem(await auditor.post(f"{path}/{verdict}"), 403, "approver_role_missing")
    assert_problem(await auditor.post(f"{path}/reassign", json={"roles": ["auditor"]}), 403, "claims_narrowed")
    assert (await admin.get(path)).json()["can_decide"] is True


async def test_a_token_that_manages_policies_hands_a_request_to_nobody_whom_only_all_of_its_user_may_name(
    bearer: Bearer, operator: httpx.AsyncClient, database: Database, client_for: ClientFor, tenant: str
) -> None:
    """The workflow judges a change by the user's rights, of which the token claims a part."""
    manager = client_for(tenant, "ada", ["admin"])
    made = await manager.post("/api/v1/admin/roles", json={"name": "Rules", "permissions": ["policy:manage"]})
    assert made.status_code == 201, made.text
    narrow, whole = bearer("vic", ["auditor"], ["auditor", "operator"])
    await whole.get(ME)
    granted = await manager.put("/api/v1/admin/users/vic", json={"roles": [made.json()["role_id"]]})
    assert granted.status_code == 200, granted.text
    assert "policy:manage" in (await narrow.get(MAY)).json()["permissions"]
    path = f"{REQUESTS}/{await ask(database, tenant, (await execute(operator))['run_id'])}"

    for change, body in (("reassign", {"people": ["vic"]}), ("withdraw", {})):
        assert_problem(await narrow.post(f"{path}/{change}", json=body), 403, "claims_narrowed")


async def test_a_token_hands_on_nothing_that_it_does_not_claim(
    bearer: Bearer, client_for: ClientFor, tenant: str
) -> None:
    """Neither by deciding that somebody gets a role, nor by having somebody stand in for all of its user's roles."""
    narrow, whole = bearer("vic", ["admin"], ["admin", "operator"])
    await whole.get(ME)
    path = await asked(client_for(tenant, "olga", ["operator"]), "permission_escalation", role="operator", hours=4)
    assert_problem(await narrow.post(f"{path}/approve"), 403, "claims_narrowed")

    await client_for(tenant, "otto", ["operator"]).get(ME)
    standing_in = {"delegate_id": "otto", "until": LATER}
    assert_problem(await narrow.put(DELEGATION, json=standing_in), 403, "claims_narrowed")
    assert (await whole.put(DELEGATION, json=standing_in)).status_code == 200
    assert (await narrow.delete(DELEGATION)).status_code == 204


async def test_a_policy_judges_a_token_by_its_own_attributes(
    of_departments: Departments, client_for: ClientFor, tenant: str
) -> None:
    outside = {"attribute": "user.department", "not_equals": "finance"}
    denied: dict[str, object] = {"id": "inside", "effect": "deny", "actions": ["agent:execute"], "when": [outside]}
    older, newer = of_departments("sales", "finance")
    wide = (await execute(newer))["run_id"]
    await saved(client_for(tenant, "ada", ["admin"]), denied)

    assert_problem(await becomes(older, 403), 403, "policy_denied")
    words = {"text": "Pay."}
    assert_problem(await older.post(f"/api/v1/runs/{wide}/messages", json=words), 403, "policy_denied")
    key = {"name": "k", "roles": ["operator"]}
    assert_problem(await older.post("/api/v1/admin/api-keys", json=key), 403, "claims_narrowed")
    assert (await newer.post("/api/v1/admin/api-keys", json=key)).status_code == 201
    assert (await newer.post(f"/api/v1/runs/{wide}/messages", json=words)).status_code == 202
