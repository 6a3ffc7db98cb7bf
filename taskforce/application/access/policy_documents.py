"""Policy documents of tenants: saved, read, tried out, and kept at hand for the engine."""

import asyncio
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from weakref import WeakValueDictionary

import structlog

from taskforce.application.access.authorization import context_of
from taskforce.application.access.policy_engine import MAX_CASES, UNREADABLE, Case, Tags, dry_run, tenant_of
from taskforce.application.cache import BoundedCache
from taskforce.application.identity.principals import Actor, known_roles, load_principal
from taskforce.application.identity.roles import require_current
from taskforce.core.domain.access.policies import Explained, Policy, Resource, check_author, evaluate
from taskforce.core.domain.access.policy_documents import MAX_CHARACTERS, canonical, document_of, parse
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.canonical_json import canonical_hash
from taskforce.core.domain.errors import Forbidden, Invalid, Unavailable
from taskforce.core.domain.identity.roles import permissions_of
from taskforce.core.interfaces.identity import Permission, ResourceType, Role, UserContext
from taskforce.core.interfaces.repositories.access import PolicyVersion
from taskforce.core.interfaces.store import Records, Store

KEPT_FOR = 1.0
"""Seconds after which a process looks for a new version: a saved document counts everywhere after at most so long."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of a tenant; no policy is one that cannot be read."""

    mark: tuple[int, datetime] | None
    policy: Policy | None
    size: int
    until: float


class StoredPolicies:
    """The tenants' policies out of the store; fulfils `Policies`.

    Of each tenant the policy is kept for a second. After that the number of the latest version is asked for, and only
    a new version is read and parsed.

    Args:
        store: The door to the tenants' data.
        seconds: A clock that only goes forward.
    """

    def __init__(self, store: Store, seconds: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._seconds = seconds
        self._kept: BoundedCache[str, _Read] = BoundedCache()
        self._reading: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def policy(self, tenant_id: str) -> Policy:
        """The policy that holds now; `Policy()` for a tenant that saved none.

        Raises:
            Unavailable: `policy_unreadable`, when the stored document no longer parses; or the database does not
                answer. Nothing older is taken instead: it could lack a denial.
        """
        found = self._fresh(tenant_id)
        if found is None:
            # One reads, and all who ask meanwhile wait for it.
            async with self._reading.setdefault(tenant_id, asyncio.Lock()):
                found = self._fresh(tenant_id) or await self._read(tenant_id)
        if found.policy is None:
            raise _unreadable()
        return found.policy

    def _fresh(self, tenant_id: str) -> _Read | None:
        kept = self._kept.get(tenant_id)
        return kept if kept is not None and self._seconds() < kept.until else None

    async def _read(self, tenant_id: str) -> _Read:
        # The second begins before the question: what is saved while it is on its way must not wait for longer.
        until, kept = self._seconds() + KEPT_FOR, self._kept.get(tenant_id)
        async with self._store.reading(tenant_id) as records:
            mark = await records.policies.latest()
            same = kept is not None and kept.mark == mark
            version = None if same or mark is None else await records.policies.current()
        found = replace(kept, until=until) if kept is not None and same else await _made(version, until)
        if found.policy is None:
            _log.error("policy.unreadable", tenant_id=tenant_id, version=None if mark is None else mark[0])
        self._kept.keep(tenant_id, found, found.size)
        return found


async def policy_now(records: Records) -> Policy:
    """The policy that holds in a transaction, of which nothing is kept: for what happens rarely, with rows locked.

    Raises:
        Unavailable: `policy_unreadable`.
    """
    found = await _made(await records.policies.current(), 0)
    if found.policy is None:
        raise _unreadable()
    return found.policy


async def _made(version: PolicyVersion | None, until: float) -> _Read:
    if version is None:
        return _Read(None, Policy(), 1, until)
    policy, size = await asyncio.to_thread(lambda: (_parsed(version.document), len(json.dumps(version.document))))
    return _Read((version.version, version.at), policy, size, until)


def _parsed(document: Mapping[str, object]) -> Policy | None:
    try:
        return parse(document)
    except Invalid:
        return None


def _unreadable() -> Unavailable:
    text = "The policy document cannot be read by this version; until an administrator saves a new one, nobody passes."
    return Unavailable(UNREADABLE, text)


class NoTags:
    """Tags where nothing has tags; fulfils `Tags`."""

    async def tags(self, tenant_id: str, resource_type: ResourceType, resource_id: str) -> Collection[str]:
        """None."""
        del tenant_id, resource_type, resource_id
        return ()


async def current_document(store: Store, actor: Actor) -> PolicyVersion | None:
    """The document that holds, as it is stored, even one that no longer parses; None when there was never one."""
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        return await records.policies.current()


async def save_document(store: Store, actor: Actor, document: object) -> PolicyVersion:
    """Saves the next version of the tenant's document, in its canonical form.

    Args:
        store: The door to the tenant's data.
        actor: Its author, whose permissions of now bound what its new allow rules give.
        document: The whole document, as parsed JSON.

    Returns:
        The new version.

    Raises:
        Invalid: `policy_invalid`; `details["problems"]` names every problem.
        Forbidden: `permission_denied`, naming a permission that an allow rule gives and its author lacks; or as
            `require_current`.
    """
    proposed, written = await asyncio.to_thread(_written, document)
    author = actor.principal.user.user_id
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        held = await require_current(records, actor, Permission.POLICY_MANAGE)
        before = await records.policies.locked()
        # Of a document that no longer parses nothing is kept: its author answers for every rule.
        current = None if before is None else await asyncio.to_thread(_parsed, before.document)
        check_author(proposed, current or Policy(), held)
        version = await records.policies.add(written, author, actor.now)
        saved = PolicyVersion(version, written, author, actor.now)
        await records.audit.append(await asyncio.to_thread(_event, actor, before, saved))
    return saved


def _written(document: object) -> tuple[Policy, dict[str, object]]:
    policy = parse(document)
    # What is left out is written out, so that the text grows; one that grows too long could not be read again.
    if (length := len(canonical(policy))) > MAX_CHARACTERS:
        problem = f"must have at most {MAX_CHARACTERS} characters in its canonical form, not {length}."
        details = {"problems": [{"path": "document", "problem": problem}], "count": 1}
        raise Invalid("policy_invalid", f"The policy document {problem}", details=details)
    return policy, document_of(policy)


def _event(actor: Actor, before: PolicyVersion | None, after: PolicyVersion) -> AuditEvent:
    earlier = None if before is None else _audit_snapshot(before)
    return actor.event("policy.save", "policy", "document", before=earlier, after=_audit_snapshot(after))


def _audit_snapshot(version: PolicyVersion) -> dict[str, object]:
    return {"version": version.version, "content_hash": canonical_hash(version.document)}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of a dry run: a user of the tenant, or somebody with these roles, would do this to that.

    Attributes:
        action: The permission that it takes.
        resource_type: What kind of thing it is about.
        resource_id: Which one; None for all of the kind, or for one that is still to be made.
        tags: Its tags; None for those that it has.
        user_id: Who, with the roles, rights and attributes of now; None for nobody in particular.
        roles: The roles of nobody in particular.
        attributes: Their attributes.
        context: Facts about the request.
        at: When, with a time zone; None for now.
    """

    action: Permission
    resource_type: ResourceType
    resource_id: str | None = None
    tags: Collection[str] | None = None
    user_id: str | None = None
    roles: Collection[str] = ()
    attributes: Mapping[str, object] = field(default_factory=dict, hash=False)
    context: Mapping[str, object] = field(default_factory=dict, hash=False)
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """The answer that holds, and the one that a document would give; None without a document."""

    current: Explained
    proposed: Explained | None


async def try_document(
    store: Store, actor: Actor, tags: Tags, document: object, asked: Sequence[Asked]
) -> tuple[Tried, ...]:
    """Answers questions as they are answered now and as a document would answer them; saves nothing.

    Args:
        store: The door to the tenant's data.
        actor: Who asks.
        tags: Where tags come from that a question does not state.
        document: The document, as parsed JSON; None to have only the answers of now explained.
        asked: Up to 100 questions.

    Returns:
        The answers in the order of the questions.

    Raises:
        Invalid: `policy_invalid`; `policy_cases_invalid` for too many questions, or one about a user who is not there
            or deactivated, each named in `details["problems"]`.
        Unavailable: `policy_unreadable`: the answers of now cannot be given.
    """
    if len(asked) > MAX_CASES:
        raise Invalid("policy_cases_invalid", f"A dry run takes up to {MAX_CASES} cases.")
    tenant_id, policies = actor.principal.tenant.tenant_id, StoredPolicies(store)
    async with store.tenant(tenant_id) as records:
        users = await _users(records, actor, asked)
    cases = [await _case(user, one, tags) for user, one in zip(users, asked, strict=True)]
    if document is not None:
        compared = await dry_run(policies, tenant_id, document, cases, actor.now)
        return tuple(Tried(one.current, one.proposed) for one in compared)
    current = await policies.policy(tenant_id)
    return await asyncio.to_thread(_answered, current, cases, actor.now)


def _answered(policy: Policy, cases: Sequence[Case], now: datetime) -> tuple[Tried, ...]:
    answers = (evaluate(policy, one.user, one.action, one.resource, one.context, one.at or now) for one in cases)
    return tuple(Tried(answer, None) for answer in answers)


async def _users(records: Records, actor: Actor, asked: Sequence[Asked]) -> Sequence[UserContext]:
    known = await known_roles(records, {role for one in asked for role in one.roles}, actor.rules)
    named = sorted({one.user_id for one in asked if one.user_id is not None})
    people = {user_id: await _person(records, actor, user_id) for user_id in named}
    tenant_id = actor.principal.tenant.tenant_id
    found = [_nobody(one, tenant_id, known) if one.user_id is None else people[one.user_id] for one in asked]
    strangers = [place for place, user in enumerate(found) if user is None]
    if strangers:
        text = f"{len(strangers)} cases name users who are not there or deactivated; `problems` says which."
        problems = [{"path": f"cases[{place}].user_id", "problem": "names no active user."} for place in strangers]
        raise Invalid("policy_cases_invalid", text, details={"problems": problems})
    return [user for user in found if user is not None]


def _nobody(one: Asked, tenant_id: str, known: Mapping[str, Role]) -> UserContext:
    held = permissions_of(one.roles, known)
    return UserContext("", tenant_id, roles=frozenset(one.roles), permissions=held, attributes=one.attributes)


async def _person(records: Records, actor: Actor, user_id: str) -> UserContext | None:
    try:
        return context_of(await load_principal(records, user_id, actor.rules, actor.now))
    except Forbidden:
        return None


async def _case(user: UserContext, one: Asked, tags: Tags) -> Case:
    """The question as the engine would put it."""
    kind, known_id = one.resource_type, one.resource_id
    tenant_id, labels = tenant_of(user, kind, known_id, one.context), one.tags
    if labels is None and known_id is not None and tenant_id == user.tenant_id:
        labels = await tags.tags(tenant_id, kind, known_id)
    resource = Resource(kind, known_id, tenant_id, frozenset(labels or ()))
    return Case(user, one.action, resource, one.context, one.at)
