"""What was approved days ago is published only for who still may, by the key and under the policy of that moment."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from taskforce.application.access.policy_documents import save_document
from taskforce.application.catalog.agents import Named, NewAgent, create_agent
from taskforce.application.catalog.publishing import Submission, submit_version
from taskforce.application.identity.api_keys import NewKey, issue_key
from taskforce.application.identity.principals import Actor, load_principal_for_key
from taskforce.core.domain.approvals.records import HistoryEntry, Request
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.catalog.definition import ANYTHING
from taskforce.core.domain.catalog.version import VersionStatus
from taskforce.core.domain.errors import Unavailable
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.identity.resource_roles import ResourceGrant
from taskforce.core.interfaces.identity import ResourceType
from tests.fixtures.agents import GOOD, NOW, make_acting
from tests.taskforce.application.access.documents import deny, document, spoil
from tests.taskforce.application.catalog.publications import version
from tests.taskforce.application.scenario import Stage

RULES = AccessRules()


async def key_of_dora(stage: Stage, *roles: str) -> str:
    ada = await make_acting(stage.database, stage.tenant_id, "ada", NOW, "admin")
    return (await issue_key(stage.database, ada, NewKey("dora", "ci", frozenset(roles)))).key.key_id


async def approved(stage: Stage, *, by_key: bool = True) -> Request:
    """A version that dora has submitted, by an API key or in person, and that people have approved."""
    await stage.database.register_tenant(stage.tenant_id, NOW)
    dora = await make_acting(stage.database, stage.tenant_id, "dora", NOW, "agent_designer")
    await create_agent(stage.database, dora, NewAgent("Counter", GOOD, tags=frozenset({"frozen"})))
    if by_key:
        key_id = await key_of_dora(stage, "agent_designer")
        async with stage.database.tenant(stage.tenant_id) as records:
            dora = Actor(await load_principal_for_key(records, "dora", key_id, RULES, NOW), RULES, None, NOW)
    asked = Submission("0.1.0", ANYTHING, Terms())
    request = (await submit_version(stage.database, dora, Named("counter"), asked))[1]
    request_id = request.approval.request_id
    await stage.approve(request_id)
    stage.now += timedelta(days=3)
    return request


async def carried_out(stage: Stage, request: Request) -> str | None:
    return await stage.execution.carry_out(stage.tenant_id, request.approval.request_id)


async def told(stage: Stage, request: Request) -> HistoryEntry:
    """The last that has happened to a request."""
    async with stage.database.tenant(stage.tenant_id) as records:
        return (await records.requests.history(request.approval.request_id))[-1]


async def the_user(stage: Stage, request: Request) -> None:
    await stage.deactivate("dora")


async def the_role(stage: Stage, request: Request) -> None:
    async with stage.database.tenant(stage.tenant_id) as records:
        dora = await records.users.locked("dora")
        assert dora is not None
        await records.users.save(replace(dora, granted_roles=frozenset()), stage.now)


async def all_but_a_loan(stage: Stage, request: Request) -> None:
    """A publication outlasts what its requester was lent."""
    async with stage.database.tenant(stage.tenant_id) as records:
        dora = await records.users.locked("dora")
        assert dora is not None
        bare = replace(dora, granted_roles=frozenset())
        lent = bare.given("agent_designer", stage.now + timedelta(days=9), stage.now)
        await records.users.save(lent, stage.now)


async def the_key(stage: Stage, request: Request) -> None:
    assert request.key_id is not None
    async with stage.database.tenant(stage.tenant_id) as records:
        assert await records.keys.revoke(request.key_id, stage.now)


async def the_policy(stage: Stage, request: Request) -> None:
    rule = deny("freeze", "agent:update", when=[{"resource_tags": {"has_any": ["frozen"]}}])
    ada = await make_acting(stage.database, stage.tenant_id, "ada", NOW, "admin")
    await save_document(stage.database, ada, document(rule))


Lose = Callable[[Stage, Request], Awaitable[None]]


@pytest.mark.parametrize(
    ("lose", "code"),
    [
        (the_user, "user_deactivated"),
        (the_role, "permission_denied"),
        (all_but_a_loan, "permission_denied"),
        (the_key, "api_key_ended"),
        (the_policy, "policy_denied"),
    ],
)
async def test_without_the_right_of_now_nothing_is_published_and_the_history_and_the_log_say_why(
    stage: Stage, lose: Lose, code: str
) -> None:
    request = await approved(stage)
    await lose(stage, request)
    for _ in range(2):
        assert str(await carried_out(stage, request)).startswith("It was not carried out: ")
    assert (await version(stage)).status is VersionStatus.APPROVED
    last = await told(stage, request)
    assert (last.kind, last.data) == ("not_carried_out", {"code": code})
    assert await stage.audited("approval.carry_out") == [("system", "denied", code)]
    assert await stage.audited("agent.version.publish") == []


@pytest.mark.parametrize("by_key", [True, False])
async def test_with_the_right_of_now_it_is_published_once_and_the_log_names_the_key(stage: Stage, by_key: bool) -> None:
    request = await approved(stage, by_key=by_key)
    for _ in range(2):
        assert await carried_out(stage, request) == "Version 0.1.0 was published."
    assert (await version(stage)).status is VersionStatus.PUBLISHED
    assert (await told(stage, request)).kind == "carried_out"
    keys = await stage.rows("audit_events WHERE action = 'agent.version.publish'", "actor_id, key_id")
    assert [(who, None if key is None else str(key)) for who, key in keys] == [("dora", request.key_id)]
    assert (request.key_id is not None) == by_key


async def test_a_role_on_the_one_agent_publishes_for_a_person_and_widens_no_key(stage: Stage) -> None:
    request = await approved(stage)
    await the_role(stage, request)
    grant = ResourceGrant("dora", "agent_designer", ResourceType.AGENT, request.resource_id)
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.roles.grant(grant, "ada", NOW)
    assert "agent:update" in str(await carried_out(stage, request))
    assert (await told(stage, request)).data == {"code": "permission_denied"}


async def test_a_policy_that_cannot_be_read_lets_nobody_publish_and_is_asked_again(stage: Stage) -> None:
    request = await approved(stage)
    await spoil(stage)
    with pytest.raises(Unavailable):
        await carried_out(stage, request)
    assert (await told(stage, request)).kind not in {"carried_out", "not_carried_out"}
    await the_policy(stage, request)
    assert "policy" in str(await carried_out(stage, request))
