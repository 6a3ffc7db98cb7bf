"""Asking for a run."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from taskforce.application.runs.creation import MAX_CONTEXT, AcceptedRun, create_run
from taskforce.application.runs.lifecycle import settle
from taskforce.application.sweeps import DueSweep
from taskforce.core.domain.errors import DomainError, Invalid, Missing
from taskforce.core.domain.ids import new_id
from taskforce.core.domain.metering.attribution import Attribution
from taskforce.core.domain.runs.run import RunStatus
from taskforce.core.interfaces.due_rows import DueKind, DueRow
from taskforce.infrastructure.persistence.database import Database
from tests.fixtures.isolated_sweeps import Alone
from tests.taskforce.application.scenario import AGENT, Stage


async def refusal(stage: Stage, **changes: object) -> DomainError:
    with pytest.raises((Invalid, Missing)) as refused:
        await stage.accepted(**changes)
    return refused.value


async def test_everything_is_committed_before_anything_starts(stage: Stage) -> None:
    accepted = await stage.accepted(mission="Count.", context={"größe": 3})
    run = await stage.run(accepted.run_id)
    assert (run.status, run.spec.mission, run.spec.context) == (RunStatus.QUEUED, "Count.", {"größe": 3})
    assert run.spec.session_id.startswith(f"{stage.tenant_id}:session-")
    assert (await stage.told(accepted.run_id, 0, 0)).startswith("Count.\n\nContext:")
    assert [event.type for event in await stage.events(accepted.run_id)] == ["run.queued"]
    assert await stage.audited("run.start") == [("alice", "allowed", None)]


async def test_a_repeated_request_gets_the_first_answer(stage: Stage) -> None:
    first = await stage.accepted(idempotency_key="k")
    again = await stage.accepted(idempotency_key="k")
    assert again == AcceptedRun(first.run_id, first.session_id, replayed=True)
    assert await stage.rows("runs", "run_id::text") == [(first.run_id,)]


async def test_repeated_at_once_it_still_makes_one_run(stage: Stage) -> None:
    await stage.person("alice", "operator")
    asked = stage.mission(idempotency_key="k")
    answers = await asyncio.gather(*(create_run(stage.database, asked) for _ in range(12)))
    assert len({answer.run_id for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1
    assert len(await stage.rows("runs", "run_id")) == 1


async def test_a_key_cannot_be_used_for_another_body(stage: Stage) -> None:
    await stage.accepted(idempotency_key="k")
    assert (await refusal(stage, idempotency_key="k", body={"mission": "Pay."})).code == "idempotency_key_reused"


async def test_a_refused_request_leaves_its_key_free(stage: Stage) -> None:
    assert (await refusal(stage, idempotency_key="k", session_id="other:session-1")).code == "session_not_found"
    assert not (await stage.accepted(idempotency_key="k")).replayed


async def test_a_session_goes_on_for_its_owner_only(stage: Stage) -> None:
    first = await stage.accepted()
    assert (await stage.accepted(session_id=first.session_id)).session_id == first.session_id
    await stage.person("bob", "operator")
    foreign = await refusal(stage, actor=stage.acting("bob"), session_id=first.session_id)
    assert (foreign.code, foreign.message) == ("session_not_found", "There is no such session.")


async def test_a_session_of_another_tenant_is_not_there(stage: Stage, database: Database, tenant: str) -> None:
    other = Stage(database, f"{tenant}-b")
    theirs = await other.accepted()
    assert (await refusal(stage, session_id=theirs.session_id)).code == "session_not_found"


@pytest.mark.parametrize("name", ["", "session-", "x", "session-\x00", "session-a b", "session-" + "x" * 3_000])
async def test_a_session_has_a_name_that_can_be_kept(stage: Stage, name: str) -> None:
    assert (await refusal(stage, session_id=f"{stage.tenant_id}:{name}")).code == "session_not_found"


async def test_a_context_that_cannot_be_kept_is_refused(stage: Stage) -> None:
    assert (await refusal(stage, context={"x": "y" * MAX_CONTEXT})).code == "context_too_large"
    assert (await refusal(stage, context={"x": float("nan")})).code == "context_malformed"


async def test_a_body_with_any_text_can_be_told_from_another(stage: Stage) -> None:
    await stage.accepted(idempotency_key="k", mission="\x00\ud800", body={"mission": "\x00\ud800"})
    assert (await refusal(stage, idempotency_key="k", body={"mission": "\x00?"})).code == "idempotency_key_reused"


async def test_the_sweeper_looks_after_what_was_left_behind(stage: Stage) -> None:
    late = (await stage.accepted()).run_id
    begun = (await stage.accepted()).run_id
    await stage.lifecycle.begin(stage.tenant_id, begun)
    stage.now += timedelta(minutes=1)
    await stage.accepted()
    seen: list[str] = []

    async def look(tenant_id: str, row: DueRow) -> bool:
        assert tenant_id == stage.tenant_id
        seen.append(row.row_id)
        return True

    alone = Alone(stage.database, stage.tenant_id)
    assert await DueSweep(alone, DueKind.RUN_START, look, clock=stage.clock).sweep(timedelta()) == 1
    assert seen == [late]


async def test_a_terminated_run_that_is_erased_meanwhile_does_not_keep_the_rows_of_others_open(stage: Stage) -> None:
    terminated = (await stage.accepted()).run_id
    for run_id in (new_id(), terminated):
        await settle(stage.lifecycle, stage.tenant_id, run_id)
    assert (await stage.run(terminated)).error_code == "run_terminated"


async def test_a_run_is_charged_by_its_users_attributes_its_agent_and_its_tags(stage: Stage) -> None:
    principal = stage.acting().principal
    user = replace(principal.user, attributes={"department": "sales"})
    actor = replace(stage.acting(), principal=replace(principal, user=user))
    agent = replace(AGENT, attribution=Attribution("marketing", "M-1"))
    tags = {"department": "finance", "project": "x"}
    accepted = await stage.accepted(actor=actor, agent=agent, tags=tags)
    spec = (await stage.run(accepted.run_id)).spec
    assert spec.attribution == Attribution("sales", "M-1", tags)
    assert spec.attribution.tags == tags
    assert spec.agent.attribution == agent.attribution


async def test_tags_that_cannot_be_charged_to_are_refused(stage: Stage) -> None:
    assert (await refusal(stage, tags={"Team": "x"})).code == "tags_invalid"


async def test_a_run_that_an_older_gateway_has_stored_is_charged_to_nobody(stage: Stage) -> None:
    run_id = (await stage.accepted(tags={"project": "x"})).run_id
    async with stage.database.tenant(stage.tenant_id) as records:
        await records.users._connection.change(sa.text("UPDATE runs SET attribution = NULL"))
    assert (await stage.run(run_id)).spec.attribution == Attribution()
