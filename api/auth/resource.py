"""The resource that a request is about, for roles and policy rules that name single resources.

A path may name it through something that belongs to it: a run id stands for the run's session when it is read and for
its agent when it is steered, and an API key stands for its user.
"""

from collections.abc import Mapping
from contextlib import suppress

from starlette.requests import Request

from api.composition import GatewayContext
from taskforce.application.access.authorization import depends_on_resource
from taskforce.application.catalog.agents import agent_id_of
from taskforce.application.identity.api_keys import owner_of
from taskforce.application.runs.lifecycle import require_run
from taskforce.core.domain.errors import Missing
from taskforce.core.domain.identity.principals import Principal
from taskforce.core.domain.ids import is_id
from taskforce.core.interfaces.identity import Permission, ResourceType


async def resource_of(
    request: Request, context: GatewayContext, principal: Principal, permission: Permission, of: str | None
) -> str | None:
    """Determines the id of the resource that a request is about, where roles or policy rules depend on it.

    Args:
        request: The request.
        context: The gateway's context.
        principal: Who asks, with the permissions in force now.
        permission: The permission that is required; the part before the colon is the kind of the resource.
        of: The field of the body that names it, or None when the path does.

    Returns:
        The id; None when all of the kind are meant, when there is no such resource, or when nothing depends on it.

    Raises:
        Unavailable: `policy_unreadable`, or the database does not answer.
    """
    resource_type = permission.resource_type
    # Only the platform's operator names another tenant, and no tenant's policy binds the operator.
    if resource_type is ResourceType.TENANT or not await depends_on_resource(context.policies, principal, permission):
        return None
    named = (
        request.path_params.get(f"{resource_type.value}_id")
        if of is None
        else await _of_body(request, context, resource_type, of)
    )
    if named is None:
        return await _behind(request.path_params, context, principal, resource_type) if of is None else None
    if resource_type is not ResourceType.AGENT:
        return named
    # A clone is judged as a new agent, which has no id yet; the path names the agent that it is copied from.
    made = permission is Permission.AGENT_CREATE
    return None if made else await agent_named(context, principal.tenant.tenant_id, named)


async def agent_named(context: GatewayContext, tenant_id: str, name: str) -> str:
    """Returns the id of an agent that is named by its id or, for one of the catalog, by its slug.

    Args:
        context: The gateway's context.
        tenant_id: The tenant.
        name: The id or the slug; permissions and policies apply to the one agent behind either.

    Returns:
        Its id; the name itself when there is none.
    """
    if context.agents.knows(name):
        return name
    # Rules name agents by id: by its slug an agent would get around them.
    return name.lower() if is_id(name) else await agent_id_of(context.database, tenant_id, name) or name


async def _of_body(request: Request, context: GatewayContext, resource_type: ResourceType, of: str) -> str | None:
    try:
        body = await request.json()
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    named = _text(body.get(of))
    return context.agents.agent_id(named, _text(body.get("profile"))) if resource_type is ResourceType.AGENT else named


async def _behind(
    path: Mapping[str, object], context: GatewayContext, principal: Principal, resource_type: ResourceType
) -> str | None:
    run_id, key_id = _id(path.get("run_id")), _id(path.get("key_id"))
    if run_id is None and key_id is None:
        return None
    tenant_id = principal.tenant.tenant_id
    if run_id is not None:
        # What is not there is judged as no resource; the route then says that it is missing.
        with suppress(Missing):
            spec = (await require_run(context.database, tenant_id, run_id)).spec
            return spec.session_id if resource_type is ResourceType.SESSION else spec.agent.agent_id
    if key_id is not None and resource_type is ResourceType.USER:
        return await owner_of(context.database, tenant_id, key_id)
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _id(value: object) -> str | None:
    return value.lower() if isinstance(value, str) and is_id(value) else None
