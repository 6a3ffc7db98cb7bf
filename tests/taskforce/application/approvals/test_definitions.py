"""Approval definitions of a tenant, beside those of the profile."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from taskforce.application.approvals.definitions import (
    DefinitionChange,
    change_definition,
    create_definition,
    definitions_of,
    delete_definition,
    find_definition,
    list_definitions,
)
from taskforce.core.domain.approvals.definitions import MOST_DEFINITIONS, Definition, DefinitionRules, Source, choose
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.errors import Conflict, DomainError, Forbidden, Invalid
from taskforce.core.domain.tenants.tenant import TenantSettings
from taskforce.core.interfaces.identity import Permission
from tests.taskforce.application.approvals.deputies import actor, deputy
from tests.taskforce.application.scenario import Stage

Document = dict[str, Any]
PUBLISH: Document = {
    "workflow_id": "strict-publish",
    "name": "Strict Agent Publishing",
    "request_type": "agent_publish",
    "required_approvers": 2,
}
EXPORT = Definition("exports", "Exports", "data_export", Terms(allowed_roles=("legal",)), source=Source.PROFILE)
NONE, PROFILE = DefinitionRules(), DefinitionRules((EXPORT,))
OWN_EXPORT = {"workflow_id": "exports", "name": "Our exports", "request_type": "data_export"}


async def made(stage: Stage, document: Document = PUBLISH, rules: DefinitionRules = NONE) -> Definition:
    return await create_definition(stage.database, await actor(stage), rules, document)


async def effective(stage: Stage, rules: DefinitionRules = PROFILE) -> list[Definition]:
    async with stage.database.tenant(stage.tenant_id) as records:
        return list(await definitions_of(records, rules.definitions, signals=rules.signals))


async def refusal(attempt: Any) -> DomainError:
    with pytest.raises(DomainError) as refused:
        await attempt
    return refused.value


async def test_a_definition_from_its_making_to_its_end(stage: Stage) -> None:
    ada = await actor(stage)
    first = await made(stage)
    assert (first.version, first.source, first.created_at, first.updated_at) == (
        1,
        Source.TENANT,
        stage.now,
        stage.now,
    )
    assert await find_definition(stage.database, ada, NONE, "strict-publish") == first
    change = DefinitionChange(PUBLISH | {"required_approvers": 3}, version=1)
    second = await change_definition(stage.database, ada, NONE, "strict-publish", change)
    assert second == replace(first, terms=Terms(required_approvers=3), version=2)
    assert await effective(stage, NONE) == [second]
    await delete_definition(stage.database, ada, NONE, "strict-publish")
    assert await effective(stage, NONE) == []
    for attempt in (
        find_definition(stage.database, ada, NONE, "strict-publish"),
        change_definition(stage.database, ada, NONE, "strict-publish", DefinitionChange({})),
        delete_definition(stage.database, ada, NONE, "strict-publish"),
    ):
        assert (await refusal(attempt)).code == "workflow_not_found"


async def test_every_change_is_audited_with_before_and_after(stage: Stage) -> None:
    ada = await actor(stage)
    secret = {"metadata": {"note": "not for the log"}}
    await made(stage, PUBLISH | secret)
    change = DefinitionChange(PUBLISH | {"enabled": False})
    await change_definition(stage.database, ada, NONE, "strict-publish", change)
    await delete_definition(stage.database, ada, NONE, "strict-publish")
    rows = await stage.rows("audit_events ORDER BY at, audit_id", "action, actor_id, resource_id, details")
    told = [row for row in rows if str(row[0]).startswith("definition.")]
    assert [row[:3] for row in told] == [
        (f"definition.{act}", "ada", "strict-publish") for act in ("create", "change", "delete")
    ]
    details: list[Any] = [row[3] for row in told]
    assert [one["before"] is None for one in details] == [True, False, False]
    assert details[2]["after"] is None
    assert details[0]["after"] == details[1]["before"]
    assert (details[1]["after"]["enabled"], details[1]["after"]["version"]) == (False, 2)
    assert details[0]["after"]["content_hash"] != details[1]["after"]["content_hash"]
    assert "not for the log" not in str(details)


async def test_of_two_who_saw_the_same_version_one_is_refused(stage: Stage) -> None:
    ada = await actor(stage)
    await made(stage)
    changes = [
        change_definition(
            stage.database, ada, NONE, "strict-publish", DefinitionChange(PUBLISH | {"name": name}, version=1)
        )
        for name in ("Mine", "Yours")
    ]
    results = await asyncio.gather(*changes, return_exceptions=True)
    refused = [one for one in results if isinstance(one, Conflict)]
    assert [(one.code, one.details) for one in refused] == [("definition_changed", {"version": 2})]
    found = await find_definition(stage.database, ada, NONE, "strict-publish")
    assert found in results


async def test_a_refused_change_changes_nothing(stage: Stage) -> None:
    ada, first = await actor(stage), await made(stage)
    for document, code in (
        (PUBLISH | {"required_approvers": 0}, "definition_invalid"),
        (PUBLISH | {"workflow_id": "other"}, "definition_renamed"),
        (PUBLISH | {"signal_channel": True}, "definition_invalid"),
    ):
        attempt = change_definition(stage.database, ada, NONE, "strict-publish", DefinitionChange(document))
        assert (await refusal(attempt)).code == code
    assert (await refusal(made(stage))).code == "definition_exists"
    assert await effective(stage, NONE) == [first]


async def test_the_profiles_counts_until_the_tenants_own_stands_in_its_place(stage: Stage) -> None:
    ada = await actor(stage)
    assert await effective(stage) == [EXPORT]
    for attempt in (
        change_definition(stage.database, ada, PROFILE, "exports", DefinitionChange(OWN_EXPORT)),
        delete_definition(stage.database, ada, PROFILE, "exports"),
    ):
        assert (await refusal(attempt)).code == "definition_is_profile"
    own = await made(stage, OWN_EXPORT | {"enabled": False}, PROFILE)
    assert await effective(stage) == [own]
    assert choose(await effective(stage), "data_export") is None
    await delete_definition(stage.database, ada, PROFILE, "exports")
    assert await effective(stage) == [EXPORT]
    assert await find_definition(stage.database, ada, PROFILE, "exports") == EXPORT
    replaced, restored = (row[0] for row in (await stage.rows("audit_events ORDER BY at, audit_id", "details"))[-2:])
    assert replaced["before"]["source"] == restored["after"]["source"] == "profile"  # type: ignore[index]  # JSON


async def test_pages_hold_each_definition_once_whoever_gave_it(stage: Stage) -> None:
    ada = await actor(stage)
    profile = DefinitionRules(tuple(replace(EXPORT, definition_id=one) for one in ("B", "a-2", "a.1", "b", "z")))
    for own in ("a-2", "A", "_", "c"):
        await made(stage, OWN_EXPORT | {"workflow_id": own}, profile)
    found: list[tuple[str, str]] = []
    after = None
    while page := await list_definitions(stage.database, ada, profile, after, 2):
        assert len(page) <= 2
        found += [(one.definition_id, one.source.value) for one in page]
        after = page[-1].definition_id
    assert found == [(one.definition_id, one.source.value) for one in await effective(stage, profile)]
    assert "".join(f" {name}:{source[0]}" for name, source in found) == " A:t B:p _:t a-2:t a.1:p b:p c:t z:p"


async def test_whoever_says_who_decides_must_be_able_to_do_the_thing(stage: Stage) -> None:
    dan = await deputy(stage, Permission.AGENT_UPDATE)
    own = await create_definition(stage.database, dan, NONE, PUBLISH)
    assert own.version == 1
    await made(stage, OWN_EXPORT)
    up: Document = {"workflow_id": "up", "name": "Up", "request_type": "permission_escalation"}
    escalate = up | {"allowed_approvers": ["dan"], "allow_self_approval": True}
    for attempt, permission in (
        (create_definition(stage.database, dan, NONE, escalate), "role:manage"),
        (change_definition(stage.database, dan, NONE, "exports", DefinitionChange(OWN_EXPORT)), "audit:read"),
        (delete_definition(stage.database, dan, NONE, "exports"), "audit:read"),
        # What it replaces is taken away, which counts as well.
        (create_definition(stage.database, dan, PROFILE, PUBLISH | {"workflow_id": "exports"}), "audit:read"),
        (
            change_definition(
                stage.database,
                dan,
                NONE,
                "strict-publish",
                DefinitionChange(PUBLISH | {"request_type": "custom", "metadata": {"custom_type": "budget_raise"}}),
            ),
            "system:config",
        ),
    ):
        refused = await refusal(attempt)
        assert (refused.code, refused.details) == ("permission_denied", {"permission": permission})


async def test_rights_are_those_of_now(stage: Stage) -> None:
    dan = await deputy(stage, Permission.AGENT_UPDATE)
    await stage.deactivate("dan")
    assert (await refusal(create_definition(stage.database, dan, NONE, PUBLISH))).code == "user_deactivated"


async def test_without_the_feature_nobody_makes_definitions_and_what_is_there_counts(stage: Stage) -> None:
    first = await made(stage)
    async with stage.database.tenant(stage.tenant_id) as records:
        tenant = await records.tenant.locked()
        assert tenant is not None
        await records.tenant.save(replace(tenant, settings=TenantSettings(features=frozenset({"rag"}))))
    ada = await actor(stage)
    for attempt in (
        create_definition(stage.database, ada, PROFILE, OWN_EXPORT),
        change_definition(stage.database, ada, PROFILE, "strict-publish", DefinitionChange(PUBLISH)),
    ):
        refused = await refusal(attempt)
        assert isinstance(refused, Forbidden)
        assert (refused.code, refused.details) == ("feature_missing", {"feature": "approval_workflows"})
    assert await effective(stage) == [EXPORT, first]
    await delete_definition(stage.database, ada, PROFILE, "strict-publish")
    assert await effective(stage) == [EXPORT]


async def test_a_tenant_has_a_bounded_number(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_DEFINITIONS == 200
    monkeypatch.setattr("taskforce.application.approvals.definitions.MOST_DEFINITIONS", 3)
    names = [f"number-{number}" for number in range(6)]
    attempts = (made(stage, PUBLISH | {"workflow_id": name}) for name in names)
    results = await asyncio.gather(*attempts, return_exceptions=True)
    refused = [one for one in results if isinstance(one, Conflict)]
    assert [one.code for one in refused] == ["definitions_too_many"] * 3
    assert len(await effective(stage, NONE)) == 3


async def test_signals_that_the_deployment_takes_no_more_do_not_count(stage: Stage) -> None:
    signals = DefinitionRules(signals=True)
    one = await made(stage, PUBLISH | {"signal_channel": True}, signals)
    assert one.terms.signal_channel
    assert await effective(stage, signals) == [one]
    assert [found.terms.signal_channel for found in await effective(stage, NONE)] == [False]


async def test_a_large_schema_is_stored_and_a_wrong_one_refused(stage: Stage) -> None:
    schema = {"type": "object", "properties": {f"field_{n}": {"type": "string", "title": "ü"} for n in range(100)}}
    custom = PUBLISH | {"request_type": "holiday", "payload_schema": schema}
    assert (await made(stage, custom)).payload_schema == schema
    assert (await effective(stage, NONE))[0].payload_schema == schema
    wrong = custom | {"workflow_id": "two", "payload_schema": {"$ref": "#"}}
    assert isinstance(await refusal(made(stage, wrong)), Invalid)
