"""Policy documents of tenants: saved, read, dry-run, and cached for the policy engine."""

import asyncio
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from weakref import WeakValueDictionary

import structlog

from taskforce.application.access.authorization import load_subject
from taskforce.application.access.policy_engine import MAX_CASES, Case, Tags, dry_run, tenant_of
from taskforce.application.cache import BoundedCache
from taskforce.application.identity.principals import Actor, known_roles, load_principal_for_key
from taskforce.application.identity.roles import require_current
from taskforce.application.tenant_threads import in_thread
from taskforce.core.domain.access.decisions import Subject, subject_of
from taskforce.core.domain.access.policies import Explained, Policy, Resource, check_author
from taskforce.core.domain.access.policy_documents import (
    MAX_CHARACTERS,
    canonical,
    document_of,
    parse,
    parse_stored,
    unreadable,
)
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.canonical_json import canonical_hash
from taskforce.core.domain.errors import Forbidden, Invalid
from taskforce.core.domain.identity.principals import Principal, TokenClaims
from taskforce.core.domain.identity.roles import permissions_of
from taskforce.core.domain.ids import is_id
from taskforce.core.interfaces.identity import Permission, ResourceType, Role, UserContext
from taskforce.core.interfaces.repositories.access import PolicyVersion
from taskforce.core.interfaces.store import Records, Store

KEPT_FOR = 1.0
"""Seconds that a process caches a policy: a saved document is in force everywhere after at most so long."""

Person = tuple[Principal, Subject]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Read:
    """A cached policy of a tenant; `policy` is None for a document that no longer parses."""

    mark: tuple[int, datetime] | None
    policy: Policy | None
    size: int
    until: float


class StoredPolicies:
    """Cache of the tenants' policies; fulfils `Policies`.

    A policy is cached for a second. After that the number of the latest version is read, and the document only if it is
    a new version.

    Args:
        store: The tenants' data.
        seconds: A monotonic clock, in seconds.
    """

    def __init__(self, store: Store, seconds: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._seconds = seconds
        self._kept: BoundedCache[str, _Read] = BoundedCache()
        # Weak, so that the lock of a tenant goes when nobody waits for it any more.
        self._reading: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def policy(self, tenant_id: str) -> Policy:
        """Returns the policy in force; `Policy()` for a tenant that saved none.

        Raises:
            Unavailable: `policy_unreadable`: the stored document no longer parses; or the database does not answer. An
                older version is never used instead: it could lack a deny rule.
        """
        found = self._fresh(tenant_id)
        if found is None:
            # One coroutine reads; concurrent callers of the tenant wait for its result.
            async with self._reading.setdefault(tenant_id, asyncio.Lock()):
                found = self._fresh(tenant_id) or await self._read(tenant_id)
        if found.policy is None:
            raise unreadable()
        return found.policy

    def _fresh(self, tenant_id: str) -> _Read | None:
        kept = self._kept.get(tenant_id)
        return kept if kept is not None and self._seconds() < kept.until else None

    async def _read(self, tenant_id: str) -> _Read:
        # The second starts before the query: a document saved while it runs must not be in force later than promised.
        until, kept = self._seconds() + KEPT_FOR, self._kept.get(tenant_id)
        async with self._store.reading(tenant_id) as records:
            mark = await records.policies.latest()
            same = kept is not None and kept.mark == mark
            version = None if same or mark is None else await records.policies.current()
        found = replace(kept, until=until) if kept is not None and same else await _made(version, until, tenant_id)
        if found.policy is None:
            _log.error("policy.unreadable", tenant_id=tenant_id, version=None if mark is None else mark[0])
        self._kept.keep(tenant_id, found, found.size)
        return found


async def policy_now(records: Records) -> Policy:
    """Reads the policy in force within the caller's transaction, past the cache; for rare effects with locked rows.

    Raises:
        Unavailable: `policy_unreadable`.
    """
    version = await records.policies.current()
    return Policy() if version is None else await asyncio.to_thread(parse_stored, version.document)


async def _made(version: PolicyVersion | None, until: float, tenant_id: str | None = None) -> _Read:
    if version is None:
        return _Read(None, Policy(), 1, until)

    def made() -> tuple[Policy | None, int]:
        return _parsed(version.document), len(json.dumps(version.document))

    # In a thread: parsing a large document would block the event loop. Within a transaction, which holds a connection,
    # nobody waits for the tenant's share.
    policy, size = await (asyncio.to_thread(made) if tenant_id is None else in_thread(tenant_id, made))
    return _Read((version.version, version.at), policy, size, until)


def _parsed(document: Mapping[str, object]) -> Policy | None:
    try:
        return parse(document)
    except Invalid:
        return None


class NoTags:
    """Tags of programs without tagged resources; fulfils `Tags`."""

    async def tags(self, tenant_id: str, resource_type: ResourceType, resource_id: str) -> Collection[str]:
        """Returns no tags."""
        del tenant_id, resource_type, resource_id
        return ()


async def current_document(store: Store, actor: Actor) -> PolicyVersion | None:
    """Reads the stored document in force, also one that no longer parses; None where none was ever saved."""
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        return await records.policies.current()


async def save_document(store: Store, actor: Actor, document: object) -> PolicyVersion:
    """Saves the next version of the tenant's document, in its canonical form.

    Args:
        store: The tenants' data.
        actor: The author, whose current permissions limit what new allow rules give.
        document: The whole document, as parsed JSON.

    Returns:
        The new version.

    Raises:
        Invalid: `policy_invalid`; `details["problems"]` names every problem.
        Forbidden: `permission_denied`: an allow rule gives the named permission, which its author lacks; or as
            `require_current`.
    """
    proposed, written = await in_thread(actor.principal.tenant.tenant_id, _written, document)
    author = actor.principal.user.user_id
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        held = await require_current(records, actor, Permission.POLICY_MANAGE)
        before = await records.policies.locked()
        # Against a document that no longer parses every rule counts as new, so the author needs all permissions.
        current = None if before is None else await asyncio.to_thread(_parsed, before.document)
        check_author(proposed, current or Policy(), held)
        version = await records.policies.add(written, author, actor.now)
        saved = PolicyVersion(version, written, author, actor.now)
        await records.audit.append(await asyncio.to_thread(_event, actor, before, saved))
    return saved


def _written(document: object) -> tuple[Policy, dict[str, object]]:
    policy = parse(document)
    # The canonical form writes defaults out and is longer; beyond the limit `parse` would refuse to read it again.
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
class AccessCase:
    """A case of a dry run: an access request of a user, or of a made-up user with these roles.

    Attributes:
        action: The required permission.
        resource_type: The type of the resource.
        resource_id: The resource; None for all of the type, or for one that is still to be created.
        tags: Its tags; None for those that it has.
        user_id: The user, with current roles, also on single resources, permissions and attributes; None for a made-up
            user.
        key_id: The API key by which the user asks; None for a token.
        roles: The roles of the made-up user.
        attributes: The attributes of the made-up user or, with `user_id`, those that the user's token claims; the
            policy must allow the user with these and with the attributes of the newest token. None for the latter only.
        context: Facts about the request; for a tool, `agent_id` is the agent in whose run it is called.
        at: The time of the request, with a time zone; None for now.
    """

    action: Permission
    resource_type: ResourceType
    resource_id: str | None = None
    tags: Collection[str] | None = None
    user_id: str | None = None
    key_id: str | None = None
    roles: Collection[str] = ()
    attributes: Mapping[str, object] | None = field(default=None, hash=False)
    context: Mapping[str, object] = field(default_factory=dict, hash=False)
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DryRunAnswer:
    """The answers of a dry run to a case.

    Attributes:
        current: The answer of the policy in force.
        proposed: The answer of the proposed document; None where none was given.
    """

    current: Explained
    proposed: Explained | None


async def try_document(
    store: Store, actor: Actor, tags: Tags, document: object, requests: Sequence[AccessCase]
) -> tuple[DryRunAnswer, ...]:
    """Dry-runs a document: evaluates cases by the policy in force and by the document; saves nothing.

    Args:
        store: The tenants' data.
        actor: The caller.
        tags: The source of tags that a case does not state.
        document: The document, as parsed JSON; None evaluates the policy in force only.
        requests: Up to 100 cases.

    Returns:
        The answers in the order of the cases.

    Raises:
        Invalid: `policy_invalid`; `policy_cases_invalid`: too many cases, or cases of unknown or deactivated users,
            or of keys that are not theirs or have ended, each named in `details["problems"]`.
        Unavailable: `policy_unreadable`: the policy in force cannot be evaluated.
    """
    if len(requests) > MAX_CASES:
        raise Invalid("policy_cases_invalid", f"A dry run takes up to {MAX_CASES} cases.")
    tenant_id, policies = actor.principal.tenant.tenant_id, StoredPolicies(store)
    async with store.tenant(tenant_id) as records:
        subjects = await _subjects(records, actor, requests)
    cases = [await _case(subject, one, tags) for subject, one in zip(subjects, requests, strict=True)]
    if document is not None:
        compared = await dry_run(policies, tenant_id, document, cases, actor.now)
        return tuple(DryRunAnswer(one.current, one.proposed) for one in compared)
    current = await policies.policy(tenant_id)
    return await in_thread(tenant_id, _answered, current, cases, actor.now)


def _answered(policy: Policy, cases: Sequence[Case], now: datetime) -> tuple[DryRunAnswer, ...]:
    return tuple(DryRunAnswer(one.decided(policy, now), None) for one in cases)


async def _subjects(records: Records, actor: Actor, requests: Sequence[AccessCase]) -> Sequence[Subject]:
    known = await known_roles(records, {role for one in requests for role in one.roles}, actor.rules)
    named = sorted({(one.user_id, one.key_id or "") for one in requests if one.user_id is not None})
    people = {(user_id, key_id): await _person(records, actor, user_id, key_id or None) for user_id, key_id in named}
    tenant_id = actor.principal.tenant.tenant_id
    found = [
        _nobody(one, tenant_id, known)
        if one.user_id is None
        else _claiming(people[one.user_id, one.key_id or ""], one.attributes)
        for one in requests
    ]
    strangers = [place for place, subject in enumerate(found) if subject is None]
    if strangers:
        text = f"{len(strangers)} cases name users who are not there or deactivated; `problems` says which."
        problems = [_stranger(place, requests[place]) for place in strangers]
        raise Invalid("policy_cases_invalid", text, details={"problems": problems})
    return [subject for subject in found if subject is not None]


def _stranger(place: int, one: AccessCase) -> dict[str, object]:
    if one.key_id is None:
        return {"path": f"cases[{place}].user_id", "problem": "names no active user."}
    return {"path": f"cases[{place}].key_id", "problem": "names no active API key of this user."}


def _nobody(one: AccessCase, tenant_id: str, known_roles: Mapping[str, Role]) -> Subject:
    held = permissions_of(one.roles, known_roles)
    attributes = one.attributes or {}
    return Subject((UserContext("", tenant_id, roles=frozenset(one.roles), permissions=held, attributes=attributes),))


async def _person(records: Records, actor: Actor, user_id: str, key_id: str | None) -> Person | None:
    if key_id is not None and not is_id(key_id):
        return None
    try:
        principal = await load_principal_for_key(records, user_id, key_id, actor.rules, actor.now)
    except Forbidden:
        return None
    if principal.user.user_id != user_id:
        return None
    return principal, await load_subject(records, principal, rules=actor.rules, now=actor.now)


def _claiming(person: Person | None, attributes: Mapping[str, object] | None) -> Subject | None:
    """Returns a user as a token with other attributes has them judged; its roles are those of the newest token."""
    if person is None or attributes is None:
        return None if person is None else person[1]
    principal, subject = person
    claiming = replace(principal, claims=TokenClaims(principal.user.claimed_roles, attributes))
    return subject_of(claiming, subject.grants, subject.known_roles)


async def _case(subject: Subject, one: AccessCase, tags: Tags) -> Case:
    """Builds a case with the tags that the engine would look up."""
    kind, known_id = one.resource_type, one.resource_id
    tenant_id, labels = tenant_of(subject.user, kind, known_id, one.context), one.tags
    if labels is None and known_id is not None and tenant_id == subject.user.tenant_id:
        labels = await tags.tags(tenant_id, kind, known_id)
    agent_id = one.context.get("agent_id") if kind is ResourceType.TOOL else None
    resource = Resource(
        kind, known_id, tenant_id, frozenset(labels or ()), agent_id if isinstance(agent_id, str) else None
    )
    return Case(subject, one.action, resource, one.context, one.at)
