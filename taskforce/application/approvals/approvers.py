"""Who may decide a request now: by name, by role, or in the place of somebody who is away."""

from dataclasses import dataclass
from datetime import datetime

from taskforce.application.identity.principals import Actor, load_principal, without_temporary_roles
from taskforce.core.domain.approvals.approval import Channel
from taskforce.core.domain.approvals.records import Approver, Request
from taskforce.core.domain.errors import Conflict, DomainError, Forbidden
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.interfaces.store import Records


@dataclass(frozen=True, slots=True)
class Authority:
    """Why somebody may decide: for themselves, or in somebody's place."""

    on_behalf_of: str | None = None


async def approver_of(
    records: Records, user_id: str, rules: AccessRules, now: datetime, roles: frozenset[str] | None = None
) -> Approver:
    """Somebody with the roles of now, and with those in whose place they decide.

    Args:
        records: The tenant's records.
        user_id: Who.
        rules: What the deployment says about rights.
        now: The time.
        roles: The roles that count, where they are known, for example those that an API key leaves.

    Raises:
        Forbidden: `approver_unknown`: no active user of that id is known in this tenant.
    """
    if roles is None:
        try:
            roles = (await load_principal(records, user_id, rules, now)).roles
        except Forbidden:
            raise Forbidden("approver_unknown", "No active user of that id is known in this tenant.") from None
    away = [await _away(records, other, rules, now) for other in await records.delegations.to(user_id, now)]
    return Approver(user_id, roles, tuple(one for one in away if one is not None))


async def actor_as_approver(records: Records, actor: Actor) -> Approver:
    """Loads the actor as an approver, with the roles that count now, and those whose place they take."""
    user_id, roles = actor.principal.user.user_id, actor.principal.roles
    if actor.principal.key_id is not None:
        # A key is cut to its roles, and a delegation is for the person.
        return Approver(user_id, roles, in_person=False)
    return await approver_of(records, user_id, actor.rules, actor.now, roles)


async def _away(records: Records, user_id: str, rules: AccessRules, now: datetime) -> Approver | None:
    # Who is away and has lost their rights hands none on, nor a role that they were lent.
    try:
        who = await load_principal(records, user_id, rules, now)
    except Forbidden:
        return None
    return Approver(user_id, (await without_temporary_roles(records, who, rules, now)).roles)


def ground_for(request: Request, approver: Approver, channel: Channel, now: datetime) -> Authority:
    """Why somebody may decide a request, their own right first.

    Raises:
        Forbidden: `approver_role_missing`; `key_may_not`: the request names its user, and the key has no role for it.
        Conflict: As `Approval.check`.
    """
    request.approval.check(approver.user_id, channel, now)
    if includes(request, approver):
        if not approver.in_person and approver.roles.isdisjoint(request.approval.who.roles):
            raise Forbidden("key_may_not", "Whoever is named decides in person: the key has no role that decides this.")
        return Authority()
    refused: Conflict | None = None
    for away in approver.stands_for:
        if includes(request, away):
            try:
                request.approval.check(approver.user_id, channel, now, away.user_id)
                return Authority(away.user_id)
            except Conflict as conflict:
                refused = conflict
    if refused is not None:
        raise refused
    raise Forbidden("approver_role_missing", f"Deciding this request is for: {request.approval.who}.")


def includes(request: Request, approver: Approver) -> bool:
    """Whether somebody is named, or holds a role that decides the request."""
    return request.approval.who.include(approver.user_id, approver.roles)


def concerns(request: Request, approver: Approver) -> bool:
    """Whether somebody decides the request, for themselves or in somebody's place."""
    return any(includes(request, one) for one in (approver, *approver.stands_for))


def may_decide(request: Request, approver: Approver, now: datetime) -> bool:
    """Whether a decision over HTTP would count."""
    if request.closed_at is not None:
        return False
    try:
        ground_for(request, approver, Channel.API, now)
    except DomainError:
        return False
    return True
