"""Routes of approval definitions, which the guide calls workflows: the deployment's, and those of a tenant."""

from typing import Annotated

from fastapi import APIRouter, Response

from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import Allowed
from api.composition import GatewayContext
from api.schemas.approval_definitions import (
    ChangedDefinition,
    DefinitionOut,
    NewDefinition,
    change_of,
    definition_out,
)
from api.schemas.pages import PageOut
from api.web.pagination import Cursor, Limit, page, parse_text, text_cursor
from taskforce.application.approvals import definitions
from taskforce.application.approvals.definition_facts import facts_of
from taskforce.application.identity.principals import Actor
from taskforce.core.domain.approvals.definitions import Definition
from taskforce.core.interfaces.identity import Permission

PREFIX = "/admin/workflows"
router = APIRouter(prefix=PREFIX, tags=["approval definitions"])

Manager = Annotated[Caller, Allowed(Permission.POLICY_MANAGE)]


@router.get("", name="list_workflows")
async def list_workflows(
    caller: Manager, context: Context, limit: Limit = 20, cursor: Cursor = None
) -> PageOut[DefinitionOut]:
    """Lists every definition in force for the tenant, by id; each says whether the tenant or the deployment owns it."""
    actor, after = actor_of(context, caller), parse_text(cursor)
    found = await definitions.list_definitions(context.database, actor, context.definitions, after, limit + 1)
    known = await facts_of(context.database, actor, found[:limit], context.selectable)
    shown = map(definition_out, known)
    return page(
        PageOut[DefinitionOut], shown, found=found, limit=limit, cursor_of=lambda last: text_cursor(last.definition_id)
    )


@router.post("", status_code=201, name="create_workflow")
async def create_workflow(
    document: NewDefinition, caller: Manager, context: Context, response: Response
) -> DefinitionOut:
    """Creates an approval definition; it takes the place of the profile's definition with the same id.

    An invalid one is refused with all its `problems`. One that selects tools or agents that are not there is created,
    and its `problems` say so. Its author must hold the rights that an approval of its type grants.
    """
    actor, wanted = actor_of(context, caller), change_of(document).document
    made = await definitions.create_definition(context.database, actor, context.definitions, wanted)
    response.headers["location"] = f"/api/v1{PREFIX}/{made.definition_id}"
    return await _out(context, actor, made)


@router.get("/{workflow_id}", name="read_workflow")
async def read_workflow(workflow_id: str, caller: Manager, context: Context) -> DefinitionOut:
    """Returns one approval definition."""
    actor = actor_of(context, caller)
    found = await definitions.find_definition(context.database, actor, context.definitions, workflow_id)
    return await _out(context, actor, found)


@router.put("/{workflow_id}", name="change_workflow")
async def change_workflow(
    workflow_id: str, document: ChangedDefinition, caller: Manager, context: Context
) -> DefinitionOut:
    """Replaces a definition of the tenant's own; open requests keep the terms that they began with.

    With the `version` that was read, the change is refused if somebody has saved the definition meanwhile.
    """
    actor, change = actor_of(context, caller), change_of(document)
    changed = await definitions.change_definition(context.database, actor, context.definitions, workflow_id, change)
    return await _out(context, actor, changed)


@router.delete("/{workflow_id}", status_code=204, name="delete_workflow")
async def delete_workflow(workflow_id: str, caller: Manager, context: Context) -> None:
    """Removes a definition of the tenant's own; the profile's definition with the same id is in force again."""
    await definitions.delete_definition(context.database, actor_of(context, caller), context.definitions, workflow_id)


async def _out(context: GatewayContext, actor: Actor, definition: Definition) -> DefinitionOut:
    (known,) = await facts_of(context.database, actor, [definition], context.selectable)
    return definition_out(known)
