"""Requests of runs for a raise of a budget that has no room for their next call."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Final

from taskforce.application.approvals.definitions import definitions_of
from taskforce.application.approvals.handler import approved_hash
from taskforce.application.runs.tool_calls import CallRef
from taskforce.core.domain.approvals.approval import Approval
from taskforce.core.domain.approvals.definitions import BUDGET_RAISE, DefinitionRules, choose
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.ids import missing
from taskforce.core.domain.metering.budgets import LedgerKey
from taskforce.core.domain.metering.money import plain, product, total
from taskforce.core.domain.runs.run import RunSpec
from taskforce.core.interfaces.store import Records

LEAST_RAISE: Final = Decimal("0.1")
"""The least share of its limit by which a run asks to raise a budget, so that people are not asked at each call."""


@dataclass(frozen=True, slots=True)
class BudgetWish:
    """The need of a run at the limit of a budget.

    Attributes:
        key: The ledger.
        needed: What its next call may need.
        left: What is left.
    """

    key: LedgerKey
    needed: Decimal
    left: Decimal


class BudgetRaiseRequests:
    """Builds requests for raises of budgets.

    Args:
        definitions: The deployment's approval definitions.
    """

    def __init__(self, definitions: DefinitionRules) -> None:
        self._definitions = definitions

    async def build(
        self, records: Records, spec: RunSpec, ref: CallRef, wish: BudgetWish, *, request_id: str, now: datetime
    ) -> Request:
        """Builds the request of a run; stores nothing.

        Args:
            records: The tenant's records.
            spec: The run.
            ref: The step that waits.
            wish: The ledger, and what is missing.
            request_id: The id of the request.
            now: The time, UTC.

        Raises:
            Missing: `budget_not_found`.
        """
        budget = await records.budgets.get(wish.key.budget_id)
        if budget is None:
            raise missing("budget")
        rules = self._definitions
        definitions = await definitions_of(records, rules.definitions, signals=rules.signals)
        chosen = choose(definitions, BUDGET_RAISE, agent=spec.agent.names)
        amount = max(total([wish.needed, -wish.left]), product(budget.limit, LEAST_RAISE))
        payload = {
            "budget_id": budget.budget_id,
            "subject": wish.key.subject,
            "period_start": wish.key.period_start.isoformat(),
            "amount": plain(amount),
            "run_id": spec.run_id,
        }
        bound = approved_hash(payload, BUDGET_RAISE)
        terms = Terms() if chosen is None else chosen.own_terms
        return Request(
            approval=replace(Approval(request_id, spec.user_id, terms, now), content=bound),
            run_id=spec.run_id,
            step=ref.step,
            call=ref.call,
            request_type=BUDGET_RAISE,
            resource_type="budget",
            resource_id=budget.budget_id,
            title=f"{spec.agent.name} needs {budget.shown(amount)} more of the budget {budget.name}",
            payload=payload,
            content_hash=bound,
            definition_id=None if chosen is None else chosen.definition_id,
        )
