"""Routes of the tenant's policy document: read it, replace it as a whole, try one with a dry run."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Response

from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import Allowed
from api.schemas.fields import Document
from api.schemas.pages import ListOut
from api.schemas.policies import DryRunIn, PolicyOut, TriedOut, dry_run_out, policy_out
from taskforce.application.access.policy_documents import DryRunAnswer, current_document, save_document, try_document
from taskforce.application.catalog.agents import CatalogTags
from taskforce.core.interfaces.identity import Permission

router = APIRouter(prefix="/admin/policies", tags=["policies"])

Manager = Annotated[Caller, Allowed(Permission.POLICY_MANAGE)]
Trier = Annotated[Caller, Allowed(Permission.POLICY_MANAGE, transient=True)]


@router.get("", name="read_policy")
async def read_policy(caller: Manager, context: Context) -> PolicyOut:
    """Returns the policy document in force; an empty one of version 0 before the first was saved."""
    return policy_out(await current_document(context.database, actor_of(context, caller)))


@router.put("", name="save_policy")
async def save_policy(document: Document, caller: Manager, context: Context) -> PolicyOut:
    """Replaces the policy document, in its canonical form; every gateway applies it within a second.

    An invalid one is refused with all its `problems`. Its author must hold what its new allow rules grant.
    """
    return policy_out(await save_document(context.database, actor_of(context, caller), document))


@router.post("/dry-run", name="try_policy", response_model=ListOut[TriedOut])
async def try_policy(body: DryRunIn, caller: Trier, context: Context) -> Response:
    """Explains, rule by rule, how cases are decided now and how a proposed document would decide; saves nothing.

    Without a document it explains the present decisions only.
    """
    cases = [case.asked() for case in body.cases]
    answers = await try_document(
        context.database, actor_of(context, caller), CatalogTags(context.database), body.document, cases
    )
    return Response(await asyncio.to_thread(_written, answers), media_type="application/json")


def _written(answers: Sequence[DryRunAnswer]) -> str:
    # Serialized case by case: one large dump holds the interpreter lock for its whole time, in whatever thread it runs.
    return f'{{"items":[{",".join(dry_run_out(one).model_dump_json() for one in answers)}]}}'
