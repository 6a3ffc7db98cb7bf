"""Routes of a tenant's budgets."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.auth.caller import Caller, Context, actor_of
from api.auth.guard import Allowed
from api.schemas.budgets import BudgetIn, BudgetOut, budget_out
from api.schemas.pages import PageOut
from api.web.pagination import Cursor, Limit, page, parse_text, text_cursor
from taskforce.application.metering import budgets
from taskforce.application.metering.budgets import BudgetUse
from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.ids import is_id
from taskforce.core.domain.metering.budgets import MAX_SCOPE_ID, BudgetScope
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.repositories.budgets import BudgetFilter

PREFIX = "/admin/budgets"
router = APIRouter(prefix=PREFIX, tags=["budgets"])

Reader = Annotated[Caller, Allowed(Permission.AUDIT_READ)]
Manager = Annotated[Caller, Allowed(Permission.TENANT_MANAGE)]


@router.get("", name="list_budgets")
async def list_budgets(
    caller: Reader,
    context: Context,
    scope: BudgetScope | None = None,
    scope_id: Annotated[str | None, Query(max_length=MAX_SCOPE_ID)] = None,
    *,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> PageOut[BudgetOut]:
    """Lists the tenant's budgets, each with its five most used ledgers of the current period."""
    actor, which = actor_of(context, caller), BudgetFilter(scope, scope_id)
    found = await budgets.list_budgets(context.database, actor, which, _place(parse_text(cursor)), limit + 1)
    shown = map(budget_out, found[:limit])
    return page(PageOut[BudgetOut], shown, found=found, limit=limit, cursor_of=_cursor)


@router.post("", status_code=201, name="create_budget")
async def create_budget(body: BudgetIn, caller: Manager, context: Context, response: Response) -> BudgetOut:
    """Makes a budget. It counts what is used from the next step of every run on, and nothing that was used before."""
    made = await budgets.create_budget(context.database, actor_of(context, caller), body.terms())
    response.headers["location"] = f"/api/v1{PREFIX}/{made.budget_id}"
    return budget_out(BudgetUse(made))


@router.get("/{budget_id}", name="read_budget")
async def read_budget(budget_id: str, caller: Reader, context: Context) -> BudgetOut:
    """Returns a budget with the ledgers of its current period, at most 100, those with the most used first."""
    return budget_out(await budgets.find_budget(context.database, actor_of(context, caller), budget_id))


@router.put("/{budget_id}", name="change_budget")
async def change_budget(
    budget_id: str,
    body: BudgetIn,
    caller: Manager,
    context: Context,
    *,
    force: Annotated[bool, Query(description="Also below what is spent already")] = False,
) -> BudgetOut:
    """Changes name, limit, soft limit, and what happens at the limit; runs that wait for more go on if there is room.

    A limit below what is spent is refused (409 `budget_below_spent`) unless `force` is set. What the budget counts does
    not change (422 `budget_invalid`).
    """
    actor = actor_of(context, caller)
    return budget_out(await budgets.change_budget(context.database, actor, budget_id, body.terms(), force=force))


@router.delete("/{budget_id}", status_code=204, name="remove_budget")
async def remove_budget(budget_id: str, caller: Manager, context: Context) -> None:
    """Removes a budget; what was used stands in the usage records."""
    await budgets.remove_budget(context.database, actor_of(context, caller), budget_id)


def _cursor(last: BudgetUse) -> str:
    return text_cursor(last.budget.budget_id)


def _place(text: str | None) -> str | None:
    if text is not None and not is_id(text):
        raise Invalid("cursor_invalid", "No page has this cursor. Send `next_cursor` as it came.")
    return text
