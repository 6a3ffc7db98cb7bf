"""Parties of a request: the people who count as one person because one issued the other's key, account or role.

Each step is one look-up by an index. It follows keys and recorded grants, never the audit log, which may be dropped.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from taskforce.application.approvals.history import reassignments_of
from taskforce.core.domain.approvals.parties import (
    MOST_PEOPLE,
    DecisionGrounds,
    Party,
    Reassignment,
    decision_grounds,
    reassignments_to,
    recent_grants,
)
from taskforce.core.domain.approvals.records import Approver, Request
from taskforce.core.domain.errors import Conflict
from taskforce.core.domain.identity.access_grants import AccessGrant
from taskforce.core.interfaces.store import Records


@dataclass(slots=True)
class Issuers:
    """The people behind credentials, collected by `follow`.

    Attributes:
        records: The tenant's records.
        people: The users of the credentials, and those who issued their keys or created their service accounts.
        unknown: Whether an issuer or creator is not known.
    """

    records: Records
    people: set[str] = field(default_factory=set)
    unknown: bool = False
    _keys: set[str] = field(default_factory=set)

    async def follow(self, user_id: str, key_id: str | None) -> None:
        """Adds the user of a credential, and the chain of those who issued it.

        Args:
            user_id: The user.
            key_id: The id of the API key; None for a person who signs in.

        Raises:
            Conflict: `not_independent`: the chain has more than `MOST_PEOPLE`.
        """
        if max(len(self.people), len(self._keys)) > MOST_PEOPLE:
            raise Conflict("not_independent", "Too many people stand behind this for it to be one person's decision.")
        if user_id not in self.people:
            self.people.add(user_id)
            await self._makers(user_id)
        if key_id is None or key_id in self._keys:
            return
        self._keys.add(key_id)
        key = await self.records.keys.get(key_id)
        if key is None or not key.created_by:
            self.unknown = True
        else:
            await self.follow(key.created_by, key.created_by_key)

    async def _makers(self, user_id: str) -> None:
        user = await self.records.users.get(user_id)
        if user is None or user.kind != "service":
            return
        # A grant without a role records the creation or activation of the account.
        makers = [one for one in await self.records.access_grants.of({user_id}) if one.role is None]
        self.unknown = self.unknown or not makers
        for made in makers:
            await self.follow(made.given_by, made.key_id)


async def is_automated(records: Records, user_id: str, key_id: str) -> bool:
    """Tells whether an API key is not its user's own act: of a service account, or issued by another user."""
    user, behind = await records.users.get(user_id), Issuers(records)
    try:
        await behind.follow(user_id, key_id)
    except Conflict:
        # A chain that is too long to follow is certainly not of one person.
        return True
    return user is None or user.kind == "service" or behind.unknown or behind.people != {user_id}


async def asking_party(records: Records, request: Request) -> Party:
    """Loads the party of a request's requester: the requester, and the issuers of the key by which it was made.

    The creator of the requester's account is not part of it: they may decide what a newcomer requests.

    Raises:
        Conflict: As `Issuers.follow`.
    """
    key_id = request.key_id
    if key_id is None and request.run_id is not None:
        run = await records.runs.get(request.run_id)
        key_id = None if run is None else run.spec.key_id
    behind = Issuers(records)
    await behind.follow(request.approval.requester_id, key_id)
    return Party(frozenset(behind.people))


async def deciding_party(
    records: Records, request: Request, approver: Approver, on_behalf_of: str | None = None
) -> Party:
    """Loads the party of an approver, with the sponsors who have recently given them accounts or roles, or the request.

    Args:
        records: The tenant's records.
        request: The request.
        approver: The approver, with current roles.
        on_behalf_of: The user who has delegated the decision, if any.

    Raises:
        Conflict: As `Issuers.follow`; also where the issuer of a key or creator of a service account is not known.
    """
    terms = request.approval.terms
    behind = Issuers(records)
    await behind.follow(approver.user_id, approver.key_id)
    if on_behalf_of is not None:
        await behind.follow(on_behalf_of, None)
    if behind.unknown:
        raise Conflict("not_independent", "Who issued this key, or made this service account, is not known.")
    # A delegate decides by the delegator's right. Where nobody has a right any more, every recent grant counts.
    speaks = next((one for one in approver.stands_for if one.user_id == on_behalf_of), approver)
    grounds = decision_grounds(speaks.user_id, speaks.roles, request.approval.who, terms)
    grounds_by_user = {} if grounds is None else {speaks.user_id: grounds}
    changes = await reassignments_of(records, request.approval.request_id)
    let_in = reassignments_to(changes, speaks.user_id, speaks.roles, grounds)
    since = request.approval.opened_at - timedelta(seconds=terms.independence_seconds)
    return Party(frozenset(behind.people), await _sponsors(records, behind.people, grounds_by_user, since, let_in))


async def _sponsors(
    records: Records,
    people: Collection[str],
    grounds_by_user: Mapping[str, DecisionGrounds],
    since: datetime,
    let_in: Collection[Reassignment],
) -> frozenset[str]:
    """Collects who has recently given these people accounts, roles or the request, who gave the givers theirs, etc."""
    found = Issuers(records)
    for one in let_in:
        await found.follow(one.actor_id, one.key_id)
    waiting = {*people, *found.people}
    met = set(waiting)
    while waiting:
        given: dict[str, list[AccessGrant]] = {}
        for grant in await records.access_grants.of(waiting):
            given.setdefault(grant.user_id, []).append(grant)
        for user_id, grants in given.items():
            for grant in recent_grants(grants, since, grounds_by_user.get(user_id)):
                await found.follow(grant.given_by, grant.key_id)
        waiting = found.people - met
        met |= waiting
    return frozenset(found.people - set(people))


async def givers_of(records: Records, user_id: str) -> frozenset[str]:
    """Lists the users who have ever given a user an account or a role, for the auditor."""
    return frozenset(one.given_by for one in await records.access_grants.of({user_id}))
