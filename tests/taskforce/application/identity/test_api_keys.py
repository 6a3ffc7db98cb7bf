"""API keys: who issues them for whom, and what they are then good for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from taskforce.application.identity import resource_roles, users
from taskforce.application.identity.api_keys import Issued, NewKey, find_key, issue_key, list_keys, revoke_key
from taskforce.application.identity.principals import Actor, authenticate_key
from taskforce.application.identity.users import NewUser, UserChange
from taskforce.application.runs.control import MessageDraft, send_message
from taskforce.application.runs.creation import create_run
from taskforce.core.domain.errors import Forbidden
from taskforce.core.domain.identity.api_keys import LONGEST_LIFE, NOTED_EVERY
from taskforce.core.domain.identity.principals import Principal
from taskforce.core.domain.identity.resource_roles import ResourceGrant
from taskforce.core.domain.ids import new_id
from taskforce.core.interfaces.identity import SYSTEM_ROLES, Permission, ResourceType
from tests.taskforce.application.identity.people import actor, admin, code, manager, on_a1, refusal, role
from tests.taskforce.application.scenario import RULES, Stage

OPERATOR = frozenset({"operator"})
WANTED = NewKey("svc-etl", "Pipeline", OPERATOR, metadata={"purpose": "ETL"})


async def service(stage: Stage, ada: Actor, *roles: str) -> None:
    await users.create_user(stage.database, ada, NewUser("service", "svc-etl", roles=frozenset(roles)))


async def used(stage: Stage, issued: Issued) -> Principal:
    found, key = await authenticate_key(stage.database, issued.plaintext, RULES, stage.now)
    assert key.key_id == issued.key.key_id
    return found


async def by_key(stage: Stage, issued: Issued) -> Actor:
    """Whoever bears a key, as they stand now."""
    return Actor(await used(stage, issued), RULES, "req-1", stage.now)


async def test_a_service_account_signs_in_by_its_key(stage: Stage) -> None:
    ada = await admin(stage)
    await service(stage, ada, "operator", "auditor")
    issued = await issue_key(stage.database, ada, WANTED)
    assert (issued.key.created_by, issued.key.expires_at) == ("ada", stage.now + LONGEST_LIFE)
    assert await find_key(stage.database, ada, issued.key.key_id) == issued.key
    bearer = await used(stage, issued)
    assert bearer.user.user_id == "svc-etl"
    assert (bearer.roles, bearer.permissions) == (OPERATOR, SYSTEM_ROLES["operator"].permissions)


async def test_a_key_is_cut_to_what_its_user_may_do_at_its_use(stage: Stage) -> None:
    ada = await admin(stage)
    await service(stage, ada, "operator")
    issued = await issue_key(stage.database, ada, WANTED)
    await users.change_user(stage.database, ada, "svc-etl", UserChange(roles=frozenset({"viewer"})))
    bearer = await used(stage, issued)
    assert (bearer.roles, bearer.permissions) == (frozenset(), SYSTEM_ROLES["viewer"].permissions)
    await users.deactivate_user(stage.database, ada, "svc-etl")
    assert await code(used(stage, issued)) == "user_deactivated"
    await users.change_user(stage.database, ada, "svc-etl", UserChange(active=True, roles=OPERATOR))
    assert (await used(stage, issued)).roles == OPERATOR


async def test_an_expired_or_revoked_key_opens_nothing(stage: Stage) -> None:
    ada = await admin(stage)
    await service(stage, ada, "operator")
    soon = await issue_key(stage.database, ada, replace(WANTED, expires_at=stage.now + timedelta(hours=1)))
    late = await issue_key(stage.database, ada, WANTED)
    stage.now += timedelta(hours=1)
    assert await code(used(stage, soon)) == "api_key_invalid"
    await used(stage, late)
    for _ in range(2):
        await revoke_key(stage.database, ada, late.key.key_id)
    assert await code(used(stage, late)) == "api_key_invalid"
    assert len(await stage.audited("api_key.revoke")) == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"user_id": "nobody"}, "user_not_found"),
        ({"user_id": "\x00"}, "user_not_found"),
        ({"name": " "}, "api_key_name_invalid"),
        ({"roles": frozenset()}, "roles_invalid"),
        ({"roles": frozenset({"custom:later"})}, "roles_unknown"),
        ({"expires_at": datetime.min.replace(tzinfo=UTC)}, "expiry_invalid"),
        ({"expires_at": datetime.max.replace(tzinfo=UTC)}, "expiry_invalid"),
        ({"metadata": {"a": float("nan")}}, "metadata_malformed"),
    ],
)
async def test_what_makes_no_sense_is_refused(stage: Stage, changes: dict[str, object], expected: str) -> None:
    ada = await admin(stage)
    await service(stage, ada, "operator")
    wanted = replace(WANTED, **changes)  # type: ignore[arg-type]  # each case names what it is about
    assert await code(issue_key(stage.database, ada, wanted)) == expected
    assert await list_keys(stage.database, ada, None, 9) == []


async def test_a_deactivated_user_gets_no_key(stage: Stage) -> None:
    ada = await admin(stage)
    await service(stage, ada)
    await users.deactivate_user(stage.database, ada, "svc-etl")
    assert await code(issue_key(stage.database, ada, WANTED)) == "user_inactive"


async def test_a_key_allows_no_more_than_its_maker_may_do(stage: Stage) -> None:
    mia = await manager(stage)
    await service(stage, await actor(stage, "ada"))
    error = await refusal(issue_key(stage.database, mia, WANTED))
    assert error.code == "roles_too_wide"
    assert error.details["permissions"] == sorted(
        one.value for one in SYSTEM_ROLES["operator"].permissions - mia.principal.permissions
    )
    await issue_key(stage.database, mia, replace(WANTED, roles=frozenset({"viewer"})))


async def test_nobody_deals_with_the_keys_of_somebody_who_may_do_more(stage: Stage) -> None:
    mia, ada = await manager(stage), await actor(stage, "ada")
    await service(stage, ada)
    await resource_roles.grant_role(
        stage.database, ada, ResourceGrant("svc-etl", "agent_designer", ResourceType.AGENT, "a1"), on_a1
    )
    wanted = NewKey("ada", "Mine", frozenset({"viewer"}))
    theirs = await issue_key(stage.database, ada, replace(wanted, user_id=None))
    for attempt in (
        issue_key(stage.database, mia, wanted),
        issue_key(stage.database, mia, replace(wanted, user_id="svc-etl")),
        revoke_key(stage.database, mia, theirs.key.key_id),
    ):
        assert await code(attempt) == "user_stands_higher"
    assert (await used(stage, theirs)).user.user_id == "ada"


async def test_a_key_makes_keys_for_its_own_user_within_its_own_rights(stage: Stage) -> None:
    ada = await admin(stage)
    keymaker = await role(stage, "keymaker", Permission.USER_MANAGE, *SYSTEM_ROLES["viewer"].permissions)
    await users.change_user(stage.database, ada, "ada", UserChange(roles=frozenset({keymaker})))
    first = await issue_key(stage.database, ada, NewKey(None, "First", frozenset({keymaker})))
    bearer = await by_key(stage, first)
    for wider in ("admin", "operator"):
        wanted = NewKey(None, "Wider", frozenset({wider}))
        assert await code(issue_key(stage.database, bearer, wanted)) == "roles_too_wide"
    second = await issue_key(stage.database, bearer, NewKey(None, "Second", frozenset({keymaker, "viewer"})))
    assert (await used(stage, second)).permissions == bearer.principal.permissions
    # It is no way around either: its user may do more than it.
    change = UserChange(roles=frozenset({keymaker, "viewer"}))
    assert await code(users.change_user(stage.database, bearer, "ada", change)) == "user_stands_higher"
    await revoke_key(stage.database, bearer, first.key.key_id)
    assert await code(used(stage, first)) == "api_key_invalid"


async def test_use_is_written_down_at_most_once_a_minute(stage: Stage) -> None:
    ada = await admin(stage)
    await service(stage, ada, "operator")
    issued = await issue_key(stage.database, ada, WANTED)
    assert issued.key.last_used_at is None
    first = stage.now

    async def noted() -> datetime | None:
        await used(stage, issued)
        return (await find_key(stage.database, ada, issued.key.key_id)).last_used_at

    assert await noted() == first
    stage.now += NOTED_EVERY - timedelta(seconds=1)
    assert await noted() == first
    stage.now += timedelta(seconds=1)
    assert await noted() == stage.now


async def test_the_secret_is_kept_nowhere(stage: Stage) -> None:
    ada = await admin(stage)
    await service(stage, ada, "operator")
    issued = await issue_key(stage.database, ada, WANTED)
    await used(stage, issued)
    await revoke_key(stage.database, ada, issued.key.key_id)
    error = await refusal(used(stage, issued))
    kept = [await stage.rows(table, "*") for table in ("api_keys", "audit_events", "users")]
    secret = issued.plaintext.removeprefix(issued.key.prefix)
    assert all(kept)
    assert secret not in f"{kept}{error}{error.details}{issued!r}"
    assert issued.key.hash not in f"{kept[1:]}{issued!r}"


async def test_keys_are_issued_and_revoked_on_the_record(stage: Stage) -> None:
    ada = await admin(stage)
    await service(stage, ada, "operator")
    key = (await issue_key(stage.database, ada, WANTED)).key
    await revoke_key(stage.database, ada, key.key_id)
    told = {
        "user_id": "svc-etl",
        "name": "Pipeline",
        "prefix": key.prefix,
        "roles": ["operator"],
        "expires_at": key.expires_at.isoformat(),
    }
    rows = await stage.rows("audit_events", "action, actor_id, resource_type, resource_id, details")
    details = {row[0]: row[4] for row in rows if row[1:4] == ("ada", "api_key", key.key_id)}
    revoked = {**told, "revoked_at": stage.now.isoformat()}
    assert details == {
        "api_key.create": {"before": None, "after": told},
        "api_key.revoke": {"before": told, "after": revoked},
    }


async def test_keys_are_listed_newest_first_and_stay_in_their_tenant(stage: Stage) -> None:
    ada = await admin(stage)
    await service(stage, ada, "operator")
    made = []
    for number in range(3):
        later = replace(ada, now=stage.now + timedelta(seconds=number))
        made.append((await issue_key(stage.database, later, replace(WANTED, name=f"key {number}"))).key)
    first = await list_keys(stage.database, ada, None, 2)
    assert [key.name for key in first] == ["key 2", "key 1"]
    rest = await list_keys(stage.database, ada, (first[-1].created_at, first[-1].key_id), 2)
    assert list(rest) == [made[0]]
    other = Stage(stage.database, f"{stage.tenant_id}-b")
    eve = await admin(other, "eve")
    for key_id in (made[0].key_id, new_id()):
        for attempt in (find_key(other.database, eve, key_id), revoke_key(other.database, eve, key_id)):
            error = await refusal(attempt)
            assert (error.code, error.message) == ("api_key_not_found", "There is no such api key.")


async def started(stage: Stage, actor: Actor, *roles: str) -> tuple[Issued, str]:
    """A key of one's own that is cut to some roles, and a run that it has asked for, which wants to pay."""
    issued = await issue_key(stage.database, actor, NewKey(None, "starter", frozenset(roles)))
    mission = stage.mission(actor=stage.acting(actor.principal.user.user_id, key_id=issued.key.key_id))
    run_id = (await create_run(stage.database, mission)).run_id
    await stage.reply(run_id, 1, ("echo", {"text": "hi"}))
    return issued, run_id


async def answered(stage: Stage, run_id: str) -> str:
    """What the model is told about its call."""
    await stage.tool_step.run(stage.ref(run_id), 2, (), None)
    return await stage.told(run_id)


async def test_a_run_may_no_more_than_the_key_that_asked_for_it(stage: Stage) -> None:
    """Its user may use tools, but did not give that to the key."""
    ada = await admin(stage)
    await role(stage, "starter", Permission.AGENT_EXECUTE)
    await role(stage, "worker", Permission.AGENT_EXECUTE, Permission.TOOL_EXECUTE)
    _, cut = await started(stage, ada, "custom:starter")
    assert await answered(stage, cut) == "Refused: This needs the permission tool:execute."
    _, whole = await started(stage, ada, "custom:worker")
    assert "hi" in await answered(stage, whole)


async def test_a_run_stops_with_the_key_that_asked_for_it(stage: Stage) -> None:
    ada = await admin(stage)
    issued, run_id = await started(stage, ada, "admin")
    await revoke_key(stage.database, ada, issued.key.key_id)
    assert "revoked" in await answered(stage, run_id)
    async with stage.database.tenant(stage.tenant_id) as records:
        with pytest.raises(Forbidden) as ended:
            await stage.tool_call_policy.user(records, (await stage.run(run_id)).spec)
    assert ended.value.code == "api_key_ended"


async def test_a_key_steers_no_run_that_may_more_than_it(stage: Stage) -> None:
    """Words steer a run; those of a key that was given little must not steer one that may much."""
    ada = await admin(stage)
    await role(stage, "starter", Permission.AGENT_EXECUTE)
    issued, own = await started(stage, ada, "custom:starter")
    held = frozenset({Permission.AGENT_EXECUTE})
    draft, by_key = MessageDraft("Pay."), stage.acting("ada", held, key_id=issued.key.key_id)
    by_hand = (await create_run(stage.database, stage.mission(actor=stage.acting("ada")))).run_id
    _, wider = await started(stage, ada, "operator")
    for run_id in (by_hand, wider):
        error = await refusal(send_message(stage.database, by_key, await stage.run(run_id), draft))
        assert error.code == "run_may_more"
    await send_message(stage.database, by_key, await stage.run(own), draft)
    for run_id in (by_hand, wider, own):
        as_much = stage.acting("ada", frozenset(Permission), key_id=issued.key.key_id)
        await send_message(stage.database, as_much, await stage.run(run_id), draft)
