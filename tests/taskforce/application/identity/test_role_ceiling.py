"""A role's name is a right too: approvals ask for it. Nobody hands on a name that they do not hold."""

from dataclasses import replace

import pytest

from taskforce.application.approvals.decisions import DecisionAttempt
from taskforce.application.identity import users
from taskforce.application.identity.api_keys import NewKey, issue_key
from taskforce.application.identity.users import NewUser, UserChange
from taskforce.core.domain.approvals.approval import Channel
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.errors import DomainError
from taskforce.core.domain.identity.roles import check_held
from taskforce.core.domain.ids import new_id
from taskforce.core.interfaces.identity import Permission
from tests.taskforce.application.identity.people import actor, admin, found, manager, refusal, role
from tests.taskforce.application.scenario import AGENT, Stage

APPROVER = "custom:approver"


async def decides(stage: Stage, user_id: str) -> bool:
    """Whether somebody may decide a request of alice's, which approvers and operators decide."""
    agent = replace(AGENT, approval=Terms(allowed_roles=(APPROVER, "viewer"), service_accounts=True))
    run_id, request_id = await stage.asked(("pay", {"amount": 3}), agent=agent), new_id()
    await stage.decisions.open_call(stage.ref(run_id), request_id)
    try:
        await stage.decisions.authorize(DecisionAttempt(stage.tenant_id, request_id, user_id, Channel.API))
    except DomainError:
        return False
    return True


async def test_who_manages_users_makes_nobody_an_approver_not_even_oneself(stage: Stage) -> None:
    mia = await manager(stage)
    await role(stage, "approver")
    await stage.person("carl")
    wanted = frozenset({APPROVER})
    own = (await found(stage, "mia")).granted_roles
    for attempt in (
        users.change_user(stage.database, mia, "carl", UserChange(roles=wanted)),
        users.change_user(stage.database, mia, "mia", UserChange(roles=own | wanted)),
        users.create_user(stage.database, mia, NewUser("service", "svc", roles=wanted)),
    ):
        error = await refusal(attempt)
        assert (error.code, error.details) == ("roles_not_held", {"roles": [APPROVER]})
    assert not await decides(stage, "carl")
    assert not await decides(stage, "svc")


async def test_who_manages_users_does_not_speak_as_an_approver_by_a_key(stage: Stage) -> None:
    mia, ada = await manager(stage), await actor(stage, "ada")
    await role(stage, "approver")
    await users.create_user(stage.database, ada, NewUser("service", "svc", roles=frozenset({APPROVER, "viewer"})))
    assert await decides(stage, "svc")
    stolen = NewKey("svc", "mine now", frozenset({APPROVER}))
    assert (await refusal(issue_key(stage.database, mia, stolen))).code == "roles_not_held"
    # What she holds herself, she may hand on.
    await issue_key(stage.database, mia, replace(stolen, roles=frozenset({"viewer"})))


async def test_an_approver_and_whoever_manages_policies_make_approvers(stage: Stage) -> None:
    mia, ada = await manager(stage), await actor(stage, "ada")
    await role(stage, "approver")
    await stage.person("carl")
    own = (await found(stage, "mia")).granted_roles
    await users.change_user(stage.database, ada, "mia", UserChange(roles=own | {APPROVER}))
    mia = await actor(stage, "mia")
    await users.change_user(stage.database, mia, "carl", UserChange(roles=frozenset({APPROVER})))
    assert await decides(stage, "carl")
    # Her key was not given the name, and so does not hand it on.
    cut = replace(mia.principal, roles=mia.principal.roles - {APPROVER}, key_id=new_id())
    by_key = replace(mia, principal=cut)
    await stage.person("cleo")
    attempt = users.change_user(stage.database, by_key, "cleo", UserChange(roles=frozenset({APPROVER})))
    assert (await refusal(attempt)).code == "roles_not_held"


async def test_a_role_that_somebody_has_already_is_not_handed_on(stage: Stage) -> None:
    mia = await manager(stage)
    await role(stage, "approver")
    ada = await admin(stage)
    await users.create_user(stage.database, ada, NewUser("service", "svc", roles=frozenset({APPROVER})))
    both = UserChange("Renamed", roles=frozenset({APPROVER, "viewer"}))
    changed = await users.change_user(stage.database, mia, "svc", both)
    assert (changed.username, changed.granted_roles) == ("Renamed", both.roles)


@pytest.mark.parametrize("permissions", [{Permission.POLICY_MANAGE}, set(Permission)])
def test_whoever_manages_policies_hands_on_any_name(permissions: set[Permission]) -> None:
    check_held(["custom:any", "admin"], (), permissions)
