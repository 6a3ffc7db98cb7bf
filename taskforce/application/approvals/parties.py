"""Who stands behind somebody who asks or decides: who issued the key, who made the account, who gave the role.

Each step is one look-up by an index. What is recorded is followed, and never the audit log.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from taskforce.core.domain.approvals.parties import MOST_PEOPLE, Party, Standing, recent_grants
from taskforce.core.domain.approvals.records import Approver, Request
from taskforce.core.domain.errors import Conflict
from taskforce.core.domain.identity.access_grants import AccessGrant
from taskforce.core.interfaces.store import Records


@dataclass(slots=True)
class Issuers:
    """Everybody behind credentials, as far as they were followed.

    Attributes:
        people: Who speaks, and who stands behind their key or their account.
        unknown: Whether somebody behind them is not known.
    """

    records: Records
    people: set[str] = field(default_factory=set)
    unknown: bool = False
    _keys: set[str] = field(default_factory=set)

    async def follow(self, user_id: str, key_id: str | None) -> None:
        """Adds who speaks by a credential, and whoever stands behind it.

        Args:
            user_id: Whose it is.
            key_id: The API key, if it is one; None for a person, who signs in.

        Raises:
            Conflict: `not_independent`: there are too many to be followed.
        """
        if max(len(self.people), len(self._keys)) > MOST_PEOPLE:
            raise Conflict("not_independent", "Too many people stand behind this for it to count as one person's word.")
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
        makers = [one for one in await self.records.access_grants.of({user_id}) if one.role is None]
        self.unknown = self.unknown or not makers
        for made in makers:
            await self.follow(made.given_by, made.key_id)


async def is_automated(records: Records, user_id: str, key_id: str) -> bool:
    """Whether an API key is a service account's, or was issued by somebody else, so that no person is seen to speak."""
    user, behind = await records.users.get(user_id), Issuers(records)
    try:
        await behind.follow(user_id, key_id)
    except Conflict:
        return True
    return user is None or user.kind == "service" or behind.unknown or behind.people != {user_id}


async def asking_party(records: Records, request: Request) -> Party:
    """Who counts as one person with a request's requester: by which key it was asked for, also by a run.

    Who has just made the requester's account is not among them: they may decide what a newcomer asks for.

    Raises:
        Conflict: As `Issuers.follow`.
    """
    key_id = request.key_id
    if key_id is None and request.run_id is not None:
        run = await records.runs.get(request.run_id)
        key_id = None if run is None else run.brief.key_id
    behind = Issuers(records)
    await behind.follow(request.approval.requester_id, key_id)
    return Party(frozenset(behind.people))


async def deciding_party(
    records: Records, request: Request, approver: Approver, on_behalf_of: str | None = None
) -> Party:
    """Who counts as one person with somebody who decides, and who has just made them what they are.

    Args:
        records: The tenant's records.
        request: What is decided.
        approver: Who decides, with the roles of now.
        on_behalf_of: In whose place.

    Raises:
        Conflict: As `Issuers.follow`; also where it is not known who issued a key, or made a service account.
    """
    who, terms = request.approval.who, request.approval.terms
    behind = Issuers(records)
    await behind.follow(approver.user_id, approver.key_id)
    if on_behalf_of is not None:
        await behind.follow(on_behalf_of, None)
    if behind.unknown:
        raise Conflict("not_independent", "Who issued this key, or made this service account, is not known.")
    # In somebody's place they decide by that one's right; of who has none any more every grant counts.
    speaks = next((one for one in approver.stands_for if one.user_id == on_behalf_of), approver)
    standing = Standing(speaks.roles & frozenset(who.roles), speaks.user_id in who.people)
    standings = {speaks.user_id: standing} if standing.roles or standing.named else {}
    since = request.approval.opened_at - timedelta(seconds=terms.independence_seconds)
    return Party(frozenset(behind.people), await _sponsors(records, behind.people, standings, since))


async def _sponsors(
    records: Records, people: Collection[str], standings: Mapping[str, Standing], since: datetime
) -> frozenset[str]:
    """Who has just given these people their accounts or roles, and who has given those theirs, and so on."""
    met, found = set(people), Issuers(records)
    waiting = set(people)
    while waiting:
        given: dict[str, list[AccessGrant]] = {}
        for one in await records.access_grants.of(waiting):
            given.setdefault(one.user_id, []).append(one)
        for user_id, grants in given.items():
            for grant in recent_grants(grants, since, standings.get(user_id)):
                await found.follow(grant.given_by, grant.key_id)
        waiting = found.people - met
        met |= waiting
    return frozenset(found.people - set(people))


async def givers_of(records: Records, user_id: str) -> frozenset[str]:
    """Who has ever given somebody an account or a role, for the auditor."""
    return frozenset(one.given_by for one in await records.access_grants.of({user_id}))
