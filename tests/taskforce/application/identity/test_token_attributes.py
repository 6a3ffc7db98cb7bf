"""A policy sees the attributes that the token at hand claims, whatever other tokens of the same user claim."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from taskforce.application.access.authorization import (
    differing_attributes,
    filter_allowed,
    require_right,
)
from taskforce.application.access.policy_documents import save_document
from taskforce.application.identity.api_keys import NewKey, issue_key
from taskforce.application.identity.principals import Actor, load_principal, refresh_principal, resolve_principal
from taskforce.application.runs.control import MessageDraft, send_message
from taskforce.application.runs.creation import create_run
from taskforce.core.domain.access.decisions import subject_of
from taskforce.core.domain.errors import Forbidden
from taskforce.core.domain.identity.principals import Principal, TokenClaims, require_newest_attributes
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.llm import RequestedCall
from tests.taskforce.application.access.policy_shelf import Shelf
from tests.taskforce.application.scenario import NOW, RULES, Stage

AGENT = {"actions": ["agent:execute"], "resources": [{"type": "agent", "ids": ["payroll"]}]}
TOOL = {"actions": ["tool:execute"], "resources": [{"type": "tool", "ids": ["echo"]}]}
FINANCE = [{"attribute": "user.department", "equals": "finance"}]
OUTSIDE = [{"attribute": "user.department", "not_equals": "finance"}]


async def signs_in(stage: Stage, department: str | None, *roles: str, minutes: int = 0, **more: object) -> Principal:
    """Alice, by a token that was issued so many minutes from the beginning."""
    claimed = stage.identity("alice", *roles, issued_at=NOW + timedelta(minutes=minutes))
    attributes = {**more, **({} if department is None else {"department": department})}
    return await resolve_principal(
        stage.database, stage.database, replace(claimed, attributes=attributes), RULES, stage.now
    )


def shelf(stage: Stage, rule: Mapping[str, object], effect: str, when: object) -> Shelf:
    return Shelf({stage.tenant_id: [{**rule, "id": "department", "effect": effect, "when": when}]})


async def refusal(policies: Shelf, who: Principal) -> str | None:
    try:
        await require_right(policies.engine(), subject_of(who), Permission.AGENT_EXECUTE, "payroll")
    except Forbidden as refused:
        return refused.code
    return None


async def test_a_token_is_allowed_nothing_by_an_attribute_that_only_a_newer_one_claims(stage: Stage) -> None:
    policies = shelf(stage, AGENT, "allow", FINANCE)
    await signs_in(stage, "sales", "auditor")
    newer = await signs_in(stage, "finance", "auditor", minutes=1)

    assert await refusal(policies, newer) is None
    for department in ("sales", None):
        assert await refusal(policies, await signs_in(stage, department, "auditor")) == "permission_denied"


async def test_a_token_is_allowed_nothing_by_an_attribute_that_a_newer_one_claims_no_more(stage: Stage) -> None:
    policies = shelf(stage, AGENT, "allow", FINANCE)
    older = await signs_in(stage, "finance", "auditor")
    assert await refusal(policies, older) is None
    await signs_in(stage, "sales", "auditor", minutes=1)

    assert await refusal(policies, await signs_in(stage, "finance", "auditor")) == "permission_denied"


@pytest.mark.parametrize(("older", "newer"), [("sales", "finance"), ("finance", "sales"), (None, "finance")])
async def test_what_either_tokens_attributes_deny_is_denied(stage: Stage, older: str | None, newer: str) -> None:
    policies = shelf(stage, AGENT, "deny", OUTSIDE)
    await signs_in(stage, older, "operator")
    await signs_in(stage, newer, "operator", minutes=1)

    assert await refusal(policies, await signs_in(stage, older, "operator")) == "policy_denied"


async def test_a_list_leaves_out_what_either_tokens_attributes_deny(stage: Stage) -> None:
    policies = shelf(stage, AGENT, "deny", OUTSIDE)
    await signs_in(stage, "finance", "operator", minutes=1)
    who = await signs_in(stage, "sales", "operator")

    found = await filter_allowed(policies.engine(), who, Permission.AGENT_EXECUTE, ["payroll", "mail"], named=str)
    assert found == ["mail"]


async def test_what_lasts_keeps_its_tokens_attributes_when_it_is_looked_at_anew(stage: Stage) -> None:
    policies = shelf(stage, AGENT, "deny", OUTSIDE)
    older = await signs_in(stage, "sales", "operator")
    await signs_in(stage, "finance", "operator", minutes=1)

    still = await refresh_principal(stage.database, older, RULES, stage.now)
    assert await refusal(policies, still) == "policy_denied"


async def run_by(stage: Stage, who: Principal | None) -> str:
    mission = stage.mission(actor=stage.acting(claims=None if who is None else who.claims))
    return (await create_run(stage.database, mission)).run_id


async def may_call(stage: Stage, run_id: str, policies: Shelf) -> bool:
    """Whether the policy allows the run a call of a tool."""
    call, policy = RequestedCall("call_1", "echo", '{"text": "hello"}'), await policies.policy(stage.tenant_id)
    async with stage.database.tenant(stage.tenant_id) as records:
        spec = (await stage.run(run_id)).spec
        said = await stage.tool_call_policy.objection_now(
            records, spec, policy, ref=stage.ref(run_id), call=call, request=None
        )
    assert said is None or "rule 'department'" in said
    return said is None


async def test_a_run_acts_by_the_attributes_of_the_token_that_asked_for_it(stage: Stage) -> None:
    policies = shelf(stage, TOOL, "deny", OUTSIDE)
    outside = await run_by(stage, await signs_in(stage, "sales", "operator"))
    inside = await run_by(stage, await signs_in(stage, "finance", "operator", minutes=1))

    assert (await may_call(stage, outside, policies), await may_call(stage, inside, policies)) == (False, True)


async def test_a_run_loses_what_the_attributes_of_a_newer_token_deny(stage: Stage) -> None:
    policies = shelf(stage, TOOL, "deny", OUTSIDE)
    run_id = await run_by(stage, await signs_in(stage, "finance", "operator"))
    assert await may_call(stage, run_id, policies)
    await signs_in(stage, "sales", "operator", minutes=1)

    assert not await may_call(stage, run_id, policies)


async def test_a_run_of_before_this_was_kept_has_the_newest_attributes(stage: Stage) -> None:
    policies = shelf(stage, TOOL, "deny", OUTSIDE)
    who = await signs_in(stage, "sales", "operator")
    run_id = (await create_run(stage.database, stage.mission(actor=stage.acting(claims=TokenClaims(who.roles))))).run_id
    await signs_in(stage, "finance", "operator", minutes=1)

    assert (await stage.run(run_id)).spec.claimed_attributes is None
    assert await may_call(stage, run_id, policies)


async def send(stage: Stage, policies: Shelf, who: Principal, run_id: str) -> None:
    draft = MessageDraft("Pay.", attributes=await differing_attributes(policies.engine(), who))
    await send_message(stage.database, Actor(who, RULES, None, stage.now), await stage.run(run_id), draft)


async def test_a_token_steers_no_run_to_which_a_policy_may_allow_more(stage: Stage) -> None:
    policies = shelf(stage, TOOL, "deny", OUTSIDE)
    own = await run_by(stage, await signs_in(stage, "sales", "operator"))
    other = await run_by(stage, await signs_in(stage, "finance", "operator", minutes=1))
    without = await run_by(stage, None)
    who = await signs_in(stage, "sales", "operator")

    await send(stage, policies, who, own)
    for run_id in (other, without):
        with pytest.raises(Forbidden) as refused:
            await send(stage, policies, who, run_id)
        assert (refused.value.code, refused.value.details) == ("run_may_more", {"attributes": ["department"]})


async def test_a_token_issues_no_key_for_its_user_to_which_a_policy_may_allow_more(stage: Stage) -> None:
    key = NewKey(None, "k", frozenset({"admin"}))
    newest = await signs_in(stage, "finance", "admin", minutes=1)
    rule = {**TOOL, "id": "department", "effect": "deny", "when": OUTSIDE}
    await save_document(stage.database, Actor(newest, RULES, None, stage.now), {"version": 1, "rules": [rule]})
    await issue_key(stage.database, Actor(newest, RULES, None, stage.now), key)
    older = Actor(await signs_in(stage, "sales", "admin"), RULES, None, stage.now)
    with pytest.raises(Forbidden) as refused:
        await issue_key(stage.database, older, key)
    assert (refused.value.code, refused.value.details) == ("claims_narrowed", {"attributes": ["department"]})
    # For somebody else, who has attributes of their own, it issues one.
    await stage.person("bob")
    await issue_key(stage.database, older, NewKey("bob", "k", frozenset({"admin"})))


async def test_attributes_that_no_rule_reads_bind_no_token(stage: Stage) -> None:
    """Identity providers put the session and the client into tokens."""
    policies = shelf(stage, TOOL, "deny", OUTSIDE)
    wide = await run_by(stage, await signs_in(stage, "finance", "operator", minutes=1, sid="s-2"))
    who = await signs_in(stage, "finance", "operator", sid="s-1")

    require_newest_attributes(who, (await policies.policy(stage.tenant_id)).attributes)
    await send(stage, policies, who, wide)


async def test_a_key_has_the_newest_attributes(stage: Stage) -> None:
    policies = shelf(stage, AGENT, "deny", OUTSIDE)
    await signs_in(stage, "finance", "operator")
    async with stage.database.tenant(stage.tenant_id) as records:
        assert await refusal(policies, await load_principal(records, "alice", RULES, stage.now)) is None
