"""Handler of budget raises: requests for higher limits of an open run, in force from its next step.

The run's row has the limits. A signal makes its workflow read them again; it carries no limits, so that a forged signal
raises nothing.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from taskforce.application.approvals.handler import DefaultHandler, followed
from taskforce.application.approvals.payload_schemas import payload_problems, refuse_payload
from taskforce.application.identity.principals import load_principal_for_key
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.errors import Conflict, Missing, Unavailable
from taskforce.core.domain.identity.principals import AccessRules
from taskforce.core.domain.ids import is_id, missing
from taskforce.core.domain.json_limits import Json
from taskforce.core.domain.runs.run import HARD_LIMITS
from taskforce.core.interfaces.notifications import Live
from taskforce.core.interfaces.store import Records, Store
from taskforce.core.interfaces.workflows import RunSignals

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
        """Requires a run that goes on, and limits that are higher than those it has.

        Raises:
            Invalid: `payload_invalid`.
        """
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
        """Returns the request's hash while the run goes on; else None."""
        run = await records.runs.get(raise_of(request.payload).run_id)
        return None if run is None or not run.goes_on else request.content_hash

    async def apply(self, records: Records, request: Request, now: datetime) -> str | None:
        """Raises the limits in the run's row.

        Raises:
            Invalid: `payload_invalid`: a request from before such payloads were validated.
            Missing: `run_not_found`.
            Conflict: `run_finished`; `run_cancelled`; `not_a_raise`: the run has limits as high by now.
            Forbidden: As `load_principal_for_key` for the requester.
        """
        raise_ = raise_of(request.payload)
        # Only to require that the requester, and the key that asked, may still act.
        await load_principal_for_key(records, request.approval.requester_id, request.key_id, self._rules, now)
        run = await records.runs.locked(raise_.run_id)
        if run is None:
            raise missing("run")
        run.require_open()
        run.require_not_cancelled()
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
