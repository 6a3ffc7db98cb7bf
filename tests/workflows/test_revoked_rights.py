"""Rights that are lost while a run waits: its next effect is refused, and whoever lost them decides nothing."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from taskforce.application.identity.api_keys import NewKey, issue_key
from taskforce.application.identity.principals import Actor, load_principal
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.runs.run import RunStatus
from taskforce.core.domain.runs.transcript import CallStatus
from taskforce.core.domain.tenants.tenant import TenantStatus
from tests.fixtures.missions import Missions, now
from tests.fixtures.probe_tools import EFFECTS
from tests.fixtures.scripted_llm import ScriptedLLM
from tests.workflows.approvals import asked, yes

pytestmark = pytest.mark.usefixtures("worker")

Lose = Callable[[Missions, str], Awaitable[None]]


async def a_key(missions: Missions) -> str:
    await missions.person("alice", "operator")
    async with missions.database.tenant(missions.tenant_id) as records:
        who = await load_principal(records, "alice", AccessRules(), now())
    wanted = NewKey(None, "k", frozenset({"operator"}))
    return (await issue_key(missions.database, Actor(who, AccessRules(), None, now()), wanted)).key.key_id


async def the_key(missions: Missions, key_id: str) -> None:
    async with missions.database.tenant(missions.tenant_id) as records:
        assert await records.keys.revoke(key_id, now())


async def the_tenant(missions: Missions, key_id: str) -> None:
    del key_id
    async with missions.database.tenant(missions.tenant_id) as records:
        tenant = await records.tenant.locked()
        assert tenant is not None
        await records.tenant.save(replace(tenant, status=TenantStatus.DISABLED))


async def the_role(missions: Missions, key_id: str) -> None:
    del key_id
    async with missions.database.tenant(missions.tenant_id) as records:
        alice = await records.users.locked("alice")
        assert alice is not None
        await records.users.save(replace(alice, claimed_roles=frozenset({"viewer"})), now())


@pytest.mark.parametrize(
    ("lose", "ending"),
    [(the_key, "api_key_ended"), (the_tenant, "tenant_disabled"), (the_role, None)],
    ids=["key", "tenant", "role"],
)
async def test_an_approval_is_of_no_use_once_the_right_is_lost(
    missions: Missions, scripted: ScriptedLLM, lose: Lose, ending: str | None
) -> None:
    await missions.person("bob", "admin")
    key_id = await a_key(missions)
    run_id, request_id = await asked(missions, scripted, key_id)
    if lose is not the_tenant:
        await lose(missions, key_id)
        assert (
            await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, yes())
        ).status == "approved"
    else:
        await missions.workflow_client.runs.signal(missions.tenant_id, run_id, "pause")
        assert (
            await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, yes())
        ).status == "approved"
        await lose(missions, key_id)
        await missions.workflow_client.runs.signal(missions.tenant_id, run_id, "resume")
    run = await missions.ended(run_id)
    [refused] = await missions.observations(run_id)
    assert refused.status is CallStatus.REFUSED
    assert EFFECTS[f"{run_id}/1/1"] == 0
    assert run.error_code == ending
    assert (run.status is RunStatus.COMPLETED) == (ending is None)


async def test_an_approver_who_lost_the_role_while_it_waited_does_not_count(
    missions: Missions, scripted: ScriptedLLM
) -> None:
    await missions.person("bob", "admin")
    run_id, request_id = await asked(missions, scripted)
    await missions.person("bob", "viewer")
    outcome = await missions.workflow_client.approvals.decide(missions.tenant_id, request_id, yes())
    assert (outcome.status, outcome.code) == ("pending", "approver_role_missing")
    await missions.workflow_client.runs.cancel(missions.tenant_id, run_id)
    await missions.ended(run_id)
    assert EFFECTS[f"{run_id}/1/1"] == 0
