"""Handler of role escalations: a requester is given a role, in the tenant or on one resource, with or without an end.

Approvers hand on only what they hold: at the time of execution, each of them must have the role's permissions and, for
a role in the tenant, the role itself. For a decision by delegation this is required of the delegator, whose right was
used; for one by API key, of the key. Temporary roles do not count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from taskforce.application.approvals.decisions import SUBJECT_CHANGED
from taskforce.application.approvals.handler import DefaultHandler, approvers_of, followed
from taskforce.application.approvals.payload_schemas import payload_problems, refuse_payload
from taskforce.application.identity.principals import known_roles, load_principal_for_key, without_temporary_roles
from taskforce.application.identity.resource_roles import grant_facts, resource_exists
from taskforce.application.identity.users import audit_snapshot
from taskforce.core.domain.approvals.approval import Decision, Verdict
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.errors import Conflict, DomainError, Forbidden
from taskforce.core.domain.identity.access_grants import grants_between
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.identity.resource_roles import DeploymentNames, ResourceGrant, is_shared, no_names
from taskforce.core.domain.identity.roles import CUSTOM_PREFIX, check_held, check_no_wider
from taskforce.core.domain.json_limits import Json, moment
from taskforce.core.interfaces.identity import ResourceType, Role
from taskforce.core.interfaces.store import Records

SCHEMA: Final[Mapping[str, object]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["role"],
    "properties": {
        "role": {"type": "string", "minLength": 1, "maxLength": 100},
        "resource_type": {"enum": [kind.value for kind in ResourceType]},
        "resource_id": {"type": "string", "minLength": 1, "maxLength": 255},
        "until": {"type": "string", "maxLength": 64},
        "hours": {"type": "number", "exclusiveMinimum": 0, "maximum": 366 * 24},
    },
    "dependentRequired": {"resource_type": ["resource_id"], "resource_id": ["resource_type"]},
}


@dataclass(frozen=True, slots=True)
class Escalation:
    """The payload of a role escalation.

    Attributes:
        role: The role's id.
        on: The type and id of the resource; None for the whole tenant.
        until: The end; None for no end, or for one that `hours` gives.
        hours: The duration in hours from the grant; None where `until` gives the end, or for no end.
    """

    role: str
    on: tuple[ResourceType, str] | None
    until: datetime | None
    hours: float | None

    def ends(self, given_at: datetime) -> datetime | None:
        """Returns the end of the role; None for no end.

        Args:
            given_at: The time of the grant, UTC.

        Raises:
            Conflict: `escalation_over`: the end is before the grant.
        """
        until = self.until if self.hours is None else given_at + timedelta(hours=self.hours)
        if until is not None and until <= given_at:
            raise Conflict("escalation_over", f"It was asked for until {until.isoformat()}, which is past.")
        return until


class PermissionEscalationHandler(DefaultHandler):
    """Handler of role escalations.

    Args:
        rules: The deployment's access rules.
        named: The agents and tools that the deployment names; None in a process that only applies requests, where those
            that were there when the request was made count as there.
    """

    def __init__(self, rules: AccessRules, named: DeploymentNames | None = None) -> None:
        self._rules = rules
        self._named = named

    async def validate(self, records: Records, payload: Json, now: datetime) -> Json:
        """Requires an existing role and resource, and an end in the future; returns the payload with the role's id.

        Raises:
            Invalid: `payload_invalid`.
        """
        asked = payload.get("role")
        role = None
        if isinstance(asked, str):
            known = await known_roles(records, {asked, CUSTOM_PREFIX + asked}, self._rules)
            role = next((name for name in (asked, CUSTOM_PREFIX + asked) if name in known), None)
        problems = [*_problems(payload), *_passed(payload, now)]
        if isinstance(asked, str) and role is None:
            problems.append("role: there is no such role.")
        refuse_payload(problems)
        if not await self._has_resource(records, payload):
            refuse_payload(["resource_id: there is no such resource."])
        return {**payload, "role": role}

    async def current_hash(self, records: Records, request: Request) -> str | None:
        """Returns the request's hash while the role and the resource exist; else None."""
        role = str(request.payload.get("role"))
        there = role in await known_roles(records, {role}, self._rules)
        return request.content_hash if there and await self._has_resource(records, request.payload) else None

    async def apply(self, records: Records, request: Request, now: datetime) -> str | None:
        """Grants the requester the role, if all approvers may hand it on now.

        Raises:
            Invalid: `payload_invalid`: a request from before such payloads were validated.
            Conflict: `escalation_over`.
            Conflict: `subject_changed`: the resource is gone.
            Forbidden: As `load_principal_for_key` for the requester; `approver_holds_less`.
        """
        escalation, requester = escalation_of(request.payload), request.approval.requester_id
        until, approvers = escalation.ends(now), approvers_of(request)
        # Locked in one order, as in `lock_users`, against deadlocks: rights withdrawn meanwhile are not handed on.
        for user_id in sorted({requester, *approvers}):
            await records.users.locked(user_id)
        await load_principal_for_key(records, requester, request.key_id, self._rules, now)
        await records.roles.shared({escalation.role})
        known = await known_roles(records, {escalation.role}, self._rules)
        for decision in request.approval.decisions:
            if decision.verdict is Verdict.APPROVE:
                await self._check_approver(records, decision, escalation, known, now)
        if not await self._has_resource(records, request.payload):
            raise Conflict(SUBJECT_CHANGED, "The resource that the role was to be given on is not there any more.")
        if escalation.on is None:
            return await _lend(records, request, escalation.role, until, now)
        grant = ResourceGrant(requester, escalation.role, *escalation.on, until)
        # A grant's row has one granter: the one whose approval completed the quorum.
        return await _grant(records, request, grant, approvers[-1], now)

    async def _has_resource(self, records: Records, payload: Json) -> bool:
        # A kind that is none is a problem of the payload, which says so itself.
        kind = next((one for one in ResourceType if one.value == payload.get("resource_type")), None)
        resource_id = str(payload.get("resource_id"))
        if kind is None or (self._named is None and is_shared(kind, resource_id)):
            return True
        names = self._named or no_names
        return await resource_exists(records, kind, resource_id, rules=self._rules, named=names)

    async def _check_approver(
        self,
        records: Records,
        decision: Decision,
        escalation: Escalation,
        known_roles: Mapping[str, Role],
        now: datetime,
    ) -> None:
        approver = decision.on_behalf_of or decision.approver_id
        try:
            speaks = await load_principal_for_key(records, approver, decision.key_id, self._rules, now)
            principal = await without_temporary_roles(records, speaks, self._rules, now)
            check_no_wider((escalation.role,), principal.permissions, known_roles)
            if escalation.on is None:
                check_held((escalation.role,), principal.roles, principal.permissions)
        except DomainError as error:
            text = f"{approver} has approved it, but may not hand on {escalation.role}: {error.message}"
            raise Forbidden("approver_holds_less", text, details={"approver": approver, "code": error.code}) from None


def escalation_of(payload: Json) -> Escalation:
    """Parses the payload of a role escalation.

    Raises:
        Invalid: `payload_invalid`.
    """
    refuse_payload(_problems(payload))
    kind, until, hours = payload.get("resource_type"), payload.get("until"), payload.get("hours")
    return Escalation(
        role=str(payload["role"]),
        on=None if kind is None else (ResourceType(kind), str(payload["resource_id"])),
        until=moment(until),
        hours=hours if isinstance(hours, int | float) else None,
    )


def _problems(payload: Json) -> Sequence[str]:
    problems = list(payload_problems(SCHEMA, payload))
    if isinstance(payload.get("until"), str) and moment(payload["until"]) is None:
        problems.append("until: a time is written as RFC 3339 has it, for example 2026-01-31T18:00:00Z.")
    if "until" in payload and "hours" in payload:
        problems.append("until and hours both say when it ends; one of them is enough.")
    named = payload.get("resource_id")
    if isinstance(named, str) and not named.isprintable():
        problems.append("resource_id: a resource's id has printable characters only.")
    return problems


def _passed(payload: Json, now: datetime) -> Sequence[str]:
    until = moment(payload.get("until"))
    return ["until: this time is past."] if until is not None and until <= now else []


async def _lend(records: Records, request: Request, role: str, until: datetime | None, now: datetime) -> str:
    user = await records.users.locked(request.approval.requester_id)
    assert user is not None
    changed = user.given(role, until, now)
    if (changed.granted_roles, changed.lent_now(now)) == (user.granted_roles, user.lent_now(now)):
        return f"{user.user_id} holds {role} for at least as long already."
    await records.users.save(changed, now)
    # Every approver counts as a giver of the role, with all members of their party: the check of independence of later
    # requests uses this.
    approvals = (one for one in request.approval.decisions if one.verdict is Verdict.APPROVE)
    for giver in sorted({person for approval in approvals for person in approval.people} - {user.user_id}):
        await records.access_grants.add(grants_between(user, changed, giver, now))
    await records.audit.append(
        followed(
            request,
            "user.change",
            ("user", user.user_id),
            before=audit_snapshot(user),
            after=audit_snapshot(changed),
            now=now,
        )
    )
    return _outcome(user.user_id, role, "", until)


async def _grant(records: Records, request: Request, grant: ResourceGrant, given_by: str, now: datetime) -> str:
    where = f" on {grant.resource_type.value} {grant.resource_id}"
    if not await records.roles.grant(grant, given_by, now):
        return f"{grant.user_id} holds {grant.role_id}{where} for at least as long already."
    await records.audit.append(
        followed(request, "user.grant", ("user", grant.user_id), before=None, after=grant_facts(grant), now=now)
    )
    return _outcome(grant.user_id, grant.role_id, where, grant.expires_at)


def _outcome(user_id: str, role: str, where: str, until: datetime | None) -> str:
    ends = "" if until is None else f" until {until.isoformat(timespec='seconds')}"
    return f"{user_id} was given {role}{where}{ends}."
