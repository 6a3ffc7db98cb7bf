"""Handler of budget raises: requests for higher limits of an open run, or for more of a budget in its current period.

The run's row has the limits, in force from its next step. A signal makes its workflow read them again; it carries no
limits, so that a forged signal raises nothing. A budget's ledger is raised for its period, and its limit stays.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from taskforce.application.approvals.handler import DefaultHandler, followed
from taskforce.application.approvals.payload_schemas import payload_problems, refuse_payload
from taskforce.application.identity.principals import load_principal_for_key
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.errors import Conflict, Missing, Unavailable
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.ids import is_id, missing
from taskforce.core.domain.json_limits import Json
from taskforce.core.domain.metering.budgets import EACH, MAX_SCOPE_ID, LedgerKey, Owner
from taskforce.core.domain.metering.money import parse_amount, plain, total
from taskforce.core.domain.runs.run import HARD_LIMITS, Run
from taskforce.core.interfaces.notifications import Live
from taskforce.core.interfaces.store import Records, Store
from taskforce.core.interfaces.workflows import RunSignals

_BUDGET: Final = "budget_id"
LIMITS_RAISED: Final = "limits_raised"
"""The signal after which a run's workflow reads its limits again."""
SCHEMA: Final[Mapping[str, object]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["run_id"],
    "minProperties": 2,
    "properties": {
        "run_id": {"type": "string", "maxLength": 64},
        **{name: {"type": "integer", "minimum": 1, "maximum": most} for name, most in HARD_LIMITS.items()},
    },
}


LEDGER_SCHEMA: Final[Mapping[str, object]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["budget_id", "amount"],
    "properties": {
        "budget_id": {"type": "string", "maxLength": 64},
        "amount": {"type": "string", "minLength": 1, "maxLength": 40},
        "subject": {"type": "string", "maxLength": MAX_SCOPE_ID},
        "period_start": {"type": "string", "maxLength": 40},
        "run_id": {"type": "string", "maxLength": 64},
    },
}


@dataclass(frozen=True, slots=True)
class LedgerRaise:
    """The payload of a raise of a budget.

    Attributes:
        key: The ledger.
        amount: By how much.
        run_id: The run that waits for it, if any.
    """

    key: LedgerKey
    amount: Decimal
    run_id: str | None


@dataclass(frozen=True, slots=True)
class Raise:
    """The payload of a budget raise: the run, and its new limits by name."""

    run_id: str
    limits: Mapping[str, int]


class BudgetRaiseHandler(DefaultHandler):
    """Handler of budget raises.

    Args:
        rules: The deployment's access rules.
    """

    def __init__(self, rules: AccessRules) -> None:
        self._rules = rules

    async def validate(self, records: Records, payload: Json, now: datetime) -> Json:
        """Requires a run that goes on, and limits that are higher than those it has; or a budget, and an amount.

        Raises:
            Invalid: `payload_invalid` or `amount_invalid`.
        """
        if _BUDGET in payload:
            return await _named_ledger(records, payload, now)
        raise_ = raise_of(payload)
        run = await records.runs.get(raise_.run_id) if is_id(raise_.run_id) else None
        if run is None or not run.goes_on:
            refuse_payload(["run_id: there is no such run under way."])
        assert run is not None
        has = asdict(run.spec.limits)
        refuse_payload(
            [f"{name}: the run has {has[name]} already." for name in raise_.limits if raise_.limits[name] <= has[name]]
        )
        return {"run_id": run.spec.run_id, **raise_.limits}

    async def current_hash(self, records: Records, request: Request) -> str | None:
        """Returns the request's hash while the run goes on, and the budget is there; else None."""
        if _BUDGET in request.payload:
            wanted = ledger_raise_of(request.payload)
            known = await records.budgets.get(wanted.key.budget_id) is not None
            return request.content_hash if known and await _goes_on(records, wanted.run_id) else None
        run = await records.runs.get(raise_of(request.payload).run_id)
        return None if run is None or not run.goes_on else request.content_hash

    async def apply(self, records: Records, request: Request, now: datetime) -> str | None:
        """Raises the limits in the run's row, or the ledger of a budget.

        Raises:
            Invalid: `payload_invalid`: a request from before such payloads were validated.
            Missing: `run_not_found` or `budget_not_found`.
            Conflict: `run_finished`; `run_cancelled`; `not_a_raise`: the run has limits as high by now.
            Forbidden: As `load_principal_for_key` for the requester.
        """
        # Only to require that the requester, and the key that asked, may still act.
        await load_principal_for_key(records, request.approval.requester_id, request.key_id, self._rules, now)
        if _BUDGET in request.payload:
            return await _raise_ledger(records, request, now)
        raise_ = raise_of(request.payload)
        run = await _going_on(records, raise_.run_id)
        before = run.spec.limits
        limits = before.raised(raise_.limits)
        if limits == before:
            raise Conflict("not_a_raise", "The run may use as much already.")
        await records.runs.set_limits(raise_.run_id, limits)
        said = {name: value for name, value in asdict(limits).items() if value != asdict(before)[name]}
        milestone = {"request_id": request.approval.request_id, **said}
        await records.events.append(raise_.run_id, "run.limits_raised", milestone, now)
        about = ("run", run.spec.run_id)
        await records.audit.append(
            followed(request, "run.raise_limits", about, before=asdict(before), after=asdict(limits), now=now)
        )
        return "The run may use more: " + ", ".join(f"{name} {value}" for name, value in said.items()) + "."

    async def notify(self, store: Store, tenant_id: str, request: Request, runs: RunSignals, live: Live) -> None:
        """Signals the run's workflow, and notifies its watchers.

        Raises:
            Unavailable: Temporal does not answer, or the workflow is not started yet.
        """
        if _BUDGET in request.payload:
            # Whoever waits for it is woken by the end of the request, or looks at the ledger.
            return
        run_id = raise_of(request.payload).run_id
        live.changed(tenant_id, run_id)
        async with store.reading(tenant_id) as records:
            run = await records.runs.get(run_id)
        if run is None or run.status.is_final:
            return
        try:
            await runs.signal(tenant_id, run_id, LIMITS_RAISED)
        except Missing:
            # To be retried: the workflow may be started with limits that were read before the raise.
            raise Unavailable(
                "run_not_started", "The run has no workflow yet, which is told as soon as it has."
            ) from None


def raise_of(payload: Json) -> Raise:
    """Parses the payload of a budget raise.

    Raises:
        Invalid: `payload_invalid`.
    """
    refuse_payload(payload_problems(SCHEMA, payload))
    said = {name: payload.get(name) for name in HARD_LIMITS}
    # JSON Schema counts 5.0 as an integer.
    return Raise(str(payload["run_id"]), {name: int(n) for name, n in said.items() if isinstance(n, int | float)})


def ledger_raise_of(payload: Json) -> LedgerRaise:
    """Parses the payload of a raise of a budget, as `BudgetRaiseHandler.validate` returns it.

    Raises:
        Invalid: `payload_invalid` or `amount_invalid`.
    """
    refuse_payload(payload_problems(LEDGER_SCHEMA, payload))
    amount = parse_amount(str(payload["amount"]), "amount")
    if not amount:
        refuse_payload(["amount: a raise is above 0."])
    try:
        start = datetime.fromisoformat(str(payload["period_start"]))
    except (KeyError, ValueError):
        refuse_payload(["period_start: not a time."])
        raise
    run_id = payload.get("run_id")
    key = LedgerKey(str(payload[_BUDGET]), str(payload.get("subject", "")), start)
    return LedgerRaise(key, amount, None if run_id is None else str(run_id))


async def _named_ledger(records: Records, payload: Json, now: datetime) -> Json:
    """Returns the payload with the ledger of the current period, of the run or of the subject that it names."""
    refuse_payload(payload_problems(LEDGER_SCHEMA, payload))
    said, budget_id, run_id = dict(payload), str(payload[_BUDGET]).lower(), payload.get("run_id")
    budget = await records.budgets.get(budget_id) if is_id(budget_id) else None
    tenant = await records.tenant.get()
    run = await records.runs.get(str(run_id)) if run_id is not None and is_id(str(run_id)) else None
    if budget is None or tenant is None:
        refuse_payload(["budget_id: there is no such budget."])
    if run_id is not None and (run is None or not run.goes_on):
        refuse_payload(["run_id: there is no such run under way."])
    assert budget is not None
    assert tenant is not None
    subject = str(payload.get("subject") or budget.scope_id)
    owner = Owner.named(subject) if run is None else Owner.of_run(run.spec)
    key = budget.key(owner, now, tenant.settings.zone)
    if key is None or (run is None and subject == EACH):
        refuse_payload(["subject: name a run under way that draws on the budget, or whose ledger is meant."])
    assert key is not None
    found = {_BUDGET: budget_id, "subject": key.subject, "period_start": key.period_start.isoformat()}
    whole = {**found, "amount": said["amount"], **({} if run is None else {"run_id": run.spec.run_id})}
    ledger_raise_of(whole)
    return whole


async def _goes_on(records: Records, run_id: str | None) -> bool:
    run = None if run_id is None else await records.runs.get(run_id)
    return run_id is None or (run is not None and run.goes_on)


async def _going_on(records: Records, run_id: str) -> Run:
    """Reads a run and locks its row; requires that the run goes on, for a cancelled one may use no more.

    Raises:
        Missing: `run_not_found`.
        Conflict: `run_finished` or `run_cancelled`.
    """
    run = await records.runs.locked(run_id)
    if run is None:
        raise missing("run")
    run.require_open()
    run.require_not_cancelled()
    return run


async def _raise_ledger(records: Records, request: Request, now: datetime) -> str:
    wanted = ledger_raise_of(request.payload)
    if wanted.run_id is not None:
        # Before the ledger, as calls lock them that are reserved.
        await _going_on(records, wanted.run_id)
    budget = await records.budgets.get(wanted.key.budget_id)
    raised = await records.budgets.raise_ledger(wanted.key, wanted.amount)
    if budget is None or raised is None:
        raise missing("budget")
    about, before = ("budget", budget.budget_id), {"raised_by": plain(total([raised, -wanted.amount]))}
    ledger = {"subject": wanted.key.subject, "period_start": wanted.key.period_start.isoformat()}
    after = {"raised_by": plain(raised), **ledger}
    event = followed(request, "budget.raise", about, before={**before, **ledger}, after=after, now=now)
    await records.audit.append(event)
    return f"The budget {budget.name} is raised by {budget.shown(wanted.amount)} for this period."
