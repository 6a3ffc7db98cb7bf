"""Routes of the caller's own identity and permissions."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import SignedIn
from api.auth.resource import agent_named
from api.composition import GatewayContext
from api.routes.usage import FORMS
from api.schemas.budgets import LedgerListOut, ledger_out
from api.schemas.me import MeOut, MyAccessOut, MyGrantOut, MyPermissionsOut
from api.schemas.usage import UsageAggregationOut
from api.usage_query import Grouping, Selection, aggregated, answered
from taskforce.application.access.explanations import explain_access, own_grants, permissions_in_force
from taskforce.application.identity.resource_roles import LONGEST_RESOURCE_ID
from taskforce.application.metering.budgets import own_budgets
from taskforce.core.domain.tenants.tenant import FEATURES
from taskforce.core.interfaces.identity import Permission, ResourceType

router = APIRouter(tags=["identity"])

Anybody = Annotated[Caller, SignedIn]
ResourceId = Annotated[str | None, Query(min_length=1, max_length=LONGEST_RESOURCE_ID)]


@router.get("/me", name="read_me")
async def me(caller: Anybody, context: Context) -> MeOut:
    """Returns the caller, with the roles and permissions in force now."""
    user = caller.user
    return MeOut(
        user_id=user.user_id,
        tenant_id=user.tenant_id,
        username=user.username,
        email=user.email,
        roles=sorted(caller.roles),
        permissions=await _permissions(context, caller),
    )


@router.get("/me/budgets", name="read_my_budgets")
async def my_budgets(caller: Anybody, context: Context) -> LedgerListOut:
    """Returns what is left of the budgets that the caller's runs draw on, whatever agent they start."""
    found = await own_budgets(context.database, context.use_cases.budget_books, actor_of(context, caller))
    return LedgerListOut(items=[ledger_out(one) for one in found])


@router.get("/me/permissions", name="read_my_permissions")
async def my_permissions(caller: Anybody, context: Context) -> MyPermissionsOut:
    """Returns the caller's permissions: in the tenant, on single resources, and the tenant's features.

    What the tenant's policy denies is left out, with the attributes that the caller's token claims.
    """
    settings = caller.principal.tenant.settings
    return MyPermissionsOut(
        roles=sorted(caller.roles),
        permissions=await _permissions(context, caller),
        features=sorted(name for name in FEATURES if settings.allows(name)),
        grants=await _grants(context, caller),
    )


@router.get("/me/permissions/explain", name="explain_my_permission")
async def explain_my_permission(
    caller: Anybody,
    context: Context,
    action: Permission,
    resource_id: ResourceId = None,
    agent_id: Annotated[ResourceId, Query(description="Of a tool: the agent in whose run it is called")] = None,
) -> MyAccessOut:
    """Explains whether the caller may do an action now, as it is decided when they do it, and which rules apply.

    It speaks of rights alone: a resource that is not there is explained like one that is.
    """
    if resource_id is not None and action.resource_type is ResourceType.AGENT:
        resource_id = await agent_named(context, caller.tenant_id, resource_id)
    if agent_id is not None:
        agent_id = await agent_named(context, caller.tenant_id, agent_id)
    explained = await explain_access(
        context.database,
        context.policies,
        actor_of(context, caller),
        action,
        resource_id,
        agent_id=agent_id,
        facts=caller.facts,
    )
    decision = explained.decision
    return MyAccessOut(
        allowed=decision.allowed, reason=decision.reason, base=explained.base, rules=list(explained.matched)
    )


@router.get("/me/usage", response_model=UsageAggregationOut, responses=FORMS, name="aggregate_my_usage")
async def my_usage(
    request: Request, caller: Anybody, context: Context, which: Selection, by: Grouping
) -> Response | UsageAggregationOut:
    """Sums up the caller's own usage, as the usage of a tenant is; a filter on users has no effect."""
    own = replace(which, values={**which.values, "user": (caller.user_id,)})
    return answered(request, await aggregated(context, caller, own, by))


async def _grants(context: GatewayContext, caller: Caller) -> Sequence[MyGrantOut]:
    found = await own_grants(context.database, context.policies, actor_of(context, caller), caller.facts)
    return [
        MyGrantOut(
            role_id=grant.role_id,
            resource_type=grant.resource_type,
            resource_id=grant.resource_id,
            expires_at=grant.expires_at,
            permissions=sorted(one.value for one in allowed),
        )
        for grant, allowed in found
    ]


async def _permissions(context: GatewayContext, caller: Caller) -> list[str]:
    held = await permissions_in_force(context.policies, caller.principal, caller.facts)
    return sorted(permission.value for permission in held)
