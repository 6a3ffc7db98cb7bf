"""Approval definitions of tenants, beside those of the profile; an author needs the permissions that they exercise."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from taskforce.application.approvals.payload_schemas import schema_problems
from taskforce.application.identity.principals import Actor
from taskforce.application.identity.roles import require_current
from taskforce.core.domain.approvals.definition_documents import as_document, parse
from taskforce.core.domain.approvals.definitions import (
    FEATURE,
    MOST_DEFINITIONS,
    Definition,
    DefinitionRules,
    check_author,
    merged,
)
from taskforce.core.domain.audit.events import AuditEvent
from taskforce.core.domain.canonical_json import canonical_hash
from taskforce.core.domain.errors import Conflict, Forbidden, Invalid
from taskforce.core.domain.ids import missing
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.store import Records, Store

_UNTOLD = frozenset({"metadata", "payload_schema"})
"""Fields left out of audit events because they may be long; the hash of the whole document covers them."""


@dataclass(frozen=True, slots=True)
class DefinitionChange:
    """A new version of a definition.

    Attributes:
        document: The whole definition, as parsed JSON; its `workflow_id` may be left out.
        version: The version that its author has seen; None replaces any version.
    """

    document: Mapping[str, object]
    version: int | None = None


async def definitions_of(
    records: Records, profile: Sequence[Definition], *, signals: bool = False
) -> Sequence[Definition]:
    """Reads the definitions in force for a tenant: its own, and those of the profile that it does not replace.

    One query, made when a request is opened.

    Args:
        records: The tenant's records.
        profile: The definitions of the deployment's profile.
        signals: Whether the deployment accepts decisions by signal; if not, no definition does.
    """
    return DefinitionRules(tuple(profile), signals).in_force(await records.definitions.all())


async def list_definitions(
    store: Store, actor: Actor, rules: DefinitionRules, after: str | None, most: int
) -> Sequence[Definition]:
    """Lists a page of the definitions in force for a tenant, by id.

    Args:
        store: The tenants' data.
        actor: The caller.
        rules: The deployment's approval definitions.
        after: The id of the last definition of the previous page.
        most: Definitions at most.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        own = await records.definitions.page(after, most)
    # A full page of the tenant's own reaches at least as far as the merged page, so no replacement is missing in it.
    profile = [one for one in rules.definitions if after is None or one.definition_id > after]
    return merged(own, profile)[:most]


async def find_definition(store: Store, actor: Actor, rules: DefinitionRules, definition_id: str) -> Definition:
    """Finds a definition in force.

    Raises:
        Missing: `workflow_not_found`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        return await known(records, rules, definition_id)


async def known(records: Records, rules: DefinitionRules, definition_id: str) -> Definition:
    """Finds a definition by id within the caller's transaction: the tenant's own, else that of the profile.

    Raises:
        Missing: `workflow_not_found`.
    """
    found = await records.definitions.get(definition_id) or _of_profile(rules, definition_id)
    if found is None:
        raise missing("workflow")
    return found


async def create_definition(store: Store, actor: Actor, rules: DefinitionRules, document: object) -> Definition:
    """Creates a definition of the tenant's own; it replaces one of the profile with the same id.

    Args:
        store: The tenants' data.
        actor: Its author, who must hold the permissions that an approval of that type exercises.
        rules: The deployment's approval definitions.
        document: The definition, as parsed JSON.

    Raises:
        Forbidden: `feature_missing`, `permission_denied`, or as `require_current`.
        Invalid: `definition_invalid`.
        Conflict: `definition_exists` or `definitions_too_many`.
    """
    _require_feature(actor)
    proposed = await _parsed(document, rules)
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        replaced = _of_profile(rules, proposed.definition_id)
        await _check_author(records, actor, *filter(None, (replaced, proposed)))
        if await records.definitions.count() >= MOST_DEFINITIONS:
            raise Conflict("definitions_too_many", f"A tenant has at most {MOST_DEFINITIONS} definitions of its own.")
        made = await records.definitions.save(proposed, actor.principal.user.user_id, actor.now)
        if made is None:
            raise Conflict("definition_exists", "There is a definition of that id already.")
        await records.audit.append(_event(actor, "definition.create", replaced, made))
    return made


async def change_definition(
    store: Store, actor: Actor, rules: DefinitionRules, definition_id: str, change: DefinitionChange
) -> Definition:
    """Replaces a definition of the tenant's own; open requests keep the terms that they were opened with.

    Args:
        store: The tenants' data.
        actor: The author.
        rules: The deployment's approval definitions.
        definition_id: The definition.
        change: The new document.

    Raises:
        Missing: `workflow_not_found`.
        Forbidden: As `create_definition`.
        Invalid: `definition_invalid`, or `definition_renamed` when the document names another id.
        Conflict: `definition_is_profile`, or `definition_changed` when it has another version.
    """
    tenant_id = actor.principal.tenant.tenant_id
    async with store.tenant(tenant_id) as records:
        before = await _own(records, rules, definition_id)
        _require_feature(actor)
        proposed = await _parsed({"workflow_id": definition_id, **change.document}, rules)
        if proposed.definition_id != definition_id:
            raise Invalid("definition_renamed", "A definition keeps its id; make another one instead.")
        await _check_author(records, actor, before, proposed)
        if change.version not in {None, before.version}:
            details = {"version": before.version}
            raise Conflict("definition_changed", "The definition has changed meanwhile; read it anew.", details=details)
        kept = replace(proposed, version=before.version, created_at=before.created_at)
        changed = await records.definitions.save(kept, actor.principal.user.user_id, actor.now)
        assert changed is not None, "it is locked"
        await records.audit.append(_event(actor, "definition.change", before, changed))
    return changed


async def delete_definition(store: Store, actor: Actor, rules: DefinitionRules, definition_id: str) -> None:
    """Deletes a definition of the tenant's own; one of the profile with the same id is in force again.

    Raises:
        Missing: `workflow_not_found`.
        Forbidden: `permission_denied`, or as `require_current`.
        Conflict: `definition_is_profile`.
    """
    async with store.tenant(actor.principal.tenant.tenant_id) as records:
        before = await _own(records, rules, definition_id)
        restored = _of_profile(rules, definition_id)
        await _check_author(records, actor, *filter(None, (before, restored)))
        await records.definitions.remove(definition_id)
        await records.audit.append(_event(actor, "definition.delete", before, restored))


async def _parsed(document: object, rules: DefinitionRules) -> Definition:
    # In a thread: checking a large schema takes a tenth of a second.
    return await asyncio.to_thread(parse, document, schema_problems, signals=rules.signals)


def _require_feature(actor: Actor) -> None:
    if not actor.principal.tenant.settings.allows(FEATURE):
        text = f"Your tenant does not have the feature {FEATURE}; the deployment's own definitions count."
        raise Forbidden("feature_missing", text, details={"feature": FEATURE})


async def _check_author(records: Records, actor: Actor, *definitions: Definition) -> None:
    check_author(await require_current(records, actor, Permission.POLICY_MANAGE), *definitions)


async def _own(records: Records, rules: DefinitionRules, definition_id: str) -> Definition:
    own = await records.definitions.locked(definition_id)
    if own is not None:
        return own
    if _of_profile(rules, definition_id) is None:
        raise missing("workflow")
    text = "This definition stands in the deployment's profile. Make one of your own with its id to replace it."
    raise Conflict("definition_is_profile", text)


def _of_profile(rules: DefinitionRules, definition_id: str) -> Definition | None:
    return next((one for one in rules.definitions if one.definition_id == definition_id), None)


def _event(actor: Actor, action: str, before: Definition | None, after: Definition | None) -> AuditEvent:
    about = after or before
    assert about is not None, "something was saved or removed"
    sides = {"before": _audit_snapshot(before), "after": _audit_snapshot(after)}
    return actor.event(action, "workflow", about.definition_id, **sides)


def _audit_snapshot(definition: Definition | None) -> dict[str, object] | None:
    if definition is None:
        return None
    document = as_document(definition)
    fields = {name: value for name, value in document.items() if name not in _UNTOLD}
    about = {"decides": definition.decides, "source": definition.source.value, "version": definition.version}
    return {**fields, **about, "content_hash": canonical_hash(document)}
