"""The tool calls of a step: may they, do they fit, and what came of them. Assume that the model is hijacked."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from taskforce.application.kept import Kept
from taskforce.application.principals import current_user
from taskforce.application.running import Briefs, Replies
from taskforce.application.workspaces import RunResults, RunWorkspace
from taskforce.core.domain.access import require
from taskforce.core.domain.approvals import ApprovalStatus, content_hash
from taskforce.core.domain.documents import check_document
from taskforce.core.domain.errors import Forbidden, Invalid
from taskforce.core.domain.runs import Brief
from taskforce.core.domain.todo import TODO_TOOL, TodoList
from taskforce.core.domain.transcript import CallStatus, Entry, EntryKind, Shown, shown
from taskforce.core.interfaces.identity import Permission
from taskforce.core.interfaces.llm import RequestedCall
from taskforce.core.interfaces.records import Clock, Live, Records, Store
from taskforce.core.interfaces.stored import AuditEvent, Request, Spending
from taskforce.core.interfaces.tools import OutboundHttp, ToolContext, ToolFailure, ToolRunner, ToolSpec

CLEARED_KEPT = 1_000
CLEARED_FOR = timedelta(seconds=2)
MAX_CALLS = 32


@dataclass(frozen=True, slots=True)
class CallRef:
    """Names one tool call.

    Attributes:
        tenant_id: The tenant.
        run_id: The run.
        step: The step.
        call: The call within it, from 1.
    """

    tenant_id: str
    run_id: str
    step: int
    call: int


@dataclass(frozen=True, slots=True)
class Allowed:
    """A call that may go on, and how."""

    call: int
    spec: ToolSpec
    approval: bool


@dataclass(frozen=True, slots=True)
class Observed:
    """How a call went. The plan comes along when the call wrote one."""

    status: CallStatus
    todo: TodoList | None = None


class Acting:
    """The use cases behind `authorize`, `run_tool` and `record_denial`.

    Args:
        store: The tenants' data.
        briefs: What the runs are about.
        tools: The tools there are.
        http: The guarded way out.
        live: Who watches.
        clock: The time.
        claims_age: How long the claims last seen count as rights.
        replies: The replies whose calls are acted on.
    """

    def __init__(
        self,
        store: Store,
        briefs: Briefs,
        tools: ToolRunner,
        http: OutboundHttp,
        live: Live,
        clock: Clock,
        claims_age: timedelta,
        replies: Replies | None = None,
    ) -> None:
        self._store = store
        self._briefs = briefs
        self._tools = tools
        self._http = http
        self._live = live
        self._clock = clock
        self._claims_age = claims_age
        self._replies = replies or Replies(store)
        self._cleared: Kept[CallRef, datetime] = Kept(CLEARED_KEPT)

    async def authorize(self, tenant_id: str, run_id: str, step: int) -> tuple[Allowed, ...]:
        """Checks all calls of a step: their schema first, then the rights. What is refused, the model is told at once.

        Returns:
            The calls that may go on, in order.
        """
        brief = await self._briefs.get(tenant_id, run_id)
        reply = await self._replies.get(tenant_id, run_id, step)
        allowed: list[Allowed] = []
        refused: list[Entry] = []
        async with self._store.tenant(tenant_id) as records:
            forbidden = await self._forbidden(records, brief)
            for number, call in enumerate(reply.tool_calls, start=1):
                objection = forbidden or self._objection(brief, number, call)
                if objection is None:
                    allowed.append(self._allowed(brief, number, call.name))
                    self._cleared.keep(CallRef(tenant_id, run_id, step, number), self._clock(), 1)
                else:
                    refused.append(self._observation(step, number, call, CallStatus.REFUSED, Shown(objection)))
            if refused:
                await self._tell(records, brief, refused)
        self._live.changed(tenant_id, run_id)
        return tuple(allowed)

    async def run(self, ref: CallRef, attempt: int, words: tuple[str, ...], request_id: str | None) -> Observed:
        """Runs one call and stores its observation, its usage and its milestone in one transaction.

        A retry finds the earlier observation. A tool that is not idempotent and was begun before is not run again.
        """
        brief = await self._briefs.get(ref.tenant_id, ref.run_id)
        call = (await self._replies.get(ref.tenant_id, ref.run_id, ref.step)).tool_calls[ref.call - 1]
        if self._just_cleared(brief, ref, call):
            return await self._perform(brief, ref, call, self._tools.specs()[call.name], (), attempt)
        async with self._store.tenant(ref.tenant_id) as records:
            known = await records.transcripts.entry(ref.run_id, ref.step, ref.call)
            if known is not None:
                return _observed_before(call, known)
            objection = await self._objection_now(records, brief, ref, call, request_id)
            if objection is not None:
                return await self._refuse(records, brief, ref, call, objection)
            spec = self._tools.specs()[call.name]
            fresh = spec.idempotent or await records.effects.begin(
                ref.run_id, ref.step, ref.call, spec.name, self._clock()
            )
            said = tuple(text for _, text in await records.words.get(ref.run_id, words)) if words else ()
        if not fresh:
            return await self._store_outcome(brief, ref, call, CallStatus.UNKNOWN, _UNKNOWN, attempt, 0)
        return await self._perform(brief, ref, call, spec, said, attempt)

    async def deny(self, ref: CallRef, request_id: str) -> Observed:
        """Tells the model that a person did not allow the call, and why."""
        brief = await self._briefs.get(ref.tenant_id, ref.run_id)
        call = (await self._replies.get(ref.tenant_id, ref.run_id, ref.step)).tool_calls[ref.call - 1]
        async with self._store.tenant(ref.tenant_id) as records:
            request = await records.requests.get(request_id)
            text = _denial(call.name, request)
            entry = self._observation(ref.step, ref.call, call, CallStatus.DENIED, Shown(text))
            await self._tell(records, brief, [entry])
        self._live.changed(ref.tenant_id, ref.run_id)
        return Observed(CallStatus.DENIED)

    async def _perform(
        self, brief: Brief, ref: CallRef, call: RequestedCall, spec: ToolSpec, said: tuple[str, ...], attempt: int
    ) -> Observed:
        began = self._clock()
        try:
            async with asyncio.timeout(spec.timeout_seconds):
                result = await self._tools.run(spec.name, _arguments(call), self._context(brief, ref, said))
            status = CallStatus.SUCCEEDED
        except ToolFailure as failure:
            status, result = CallStatus.FAILED, f"The tool failed: {failure}"
        except TimeoutError:
            status, result = CallStatus.FAILED, f"The tool did not finish within {spec.timeout_seconds:g} s."
        spent = int((self._clock() - began).total_seconds() * 1_000)
        return await self._store_outcome(brief, ref, call, status, result, attempt, spent)

    async def _store_outcome(
        self,
        brief: Brief,
        ref: CallRef,
        call: RequestedCall,
        status: CallStatus,
        result: object,
        attempt: int,
        spent: int,
    ) -> Observed:
        seen = shown(result, ref.step, ref.call)
        entry = self._observation(ref.step, ref.call, call, status, seen, spent)
        spending = Spending(
            run_id=ref.run_id,
            step=ref.step,
            call=ref.call,
            attempt=attempt,
            user_id=brief.user_id,
            agent_id=brief.agent.agent_id,
            at=self._clock(),
            tool=call.name,
            duration_ms=spent,
        )
        async with self._store.tenant(ref.tenant_id) as records:
            if await self._tell(records, brief, [entry]):
                await records.usage.add(spending)
                if seen.whole is not None:
                    await records.results.add(ref.run_id, ref.step, ref.call, seen.whole)
        self._live.changed(ref.tenant_id, ref.run_id)
        return Observed(status, result if isinstance(result, TodoList) else None)

    async def _refuse(
        self, records: Records, brief: Brief, ref: CallRef, call: RequestedCall, objection: str
    ) -> Observed:
        entry = self._observation(ref.step, ref.call, call, CallStatus.REFUSED, Shown(objection))
        await self._tell(records, brief, [entry])
        return Observed(CallStatus.REFUSED)

    async def _tell(self, records: Records, brief: Brief, entries: list[Entry]) -> bool:
        new = await records.transcripts.add(brief.run_id, entries)
        if new:
            for entry in entries:
                data = {"step": entry.step, "call": entry.call, "tool": entry.tool, "status": entry.status}
                await records.events.append(brief.run_id, "tool.finished", data, entry.at)
                await records.audit.append(_tool_audit(brief, entry))
        return bool(new)

    def _just_cleared(self, brief: Brief, ref: CallRef, call: RequestedCall) -> bool:
        """Whether this process has read the rights for a quick call a moment ago; then they are not read again.

        Only the first attempt: whether there is an observation already is left to the key that it is stored under, for
        what is quick is idempotent.
        """
        at = self._cleared.take(ref)
        if at is None or self._clock() - at > CLEARED_FOR:
            return False
        allowed = self._allowed(brief, ref.call, call.name)
        return allowed.spec.quick and not allowed.spec.asks_person and not allowed.approval

    async def _forbidden(self, records: Records, brief: Brief) -> str | None:
        try:
            user = await current_user(records, brief.user_id)
            require(user.permissions(self._clock(), self._claims_age), Permission.TOOL_EXECUTE)
        except Forbidden as error:
            return f"Refused: {error.message}"
        return None

    def _objection(self, brief: Brief, number: int, call: RequestedCall) -> str | None:
        specs = self._tools.specs()
        if number > MAX_CALLS:
            return f"Refused: at most {MAX_CALLS} tool calls in one step; call it again in the next."
        if call.name not in specs or not brief.agent.may_use(call.name):
            names = ", ".join(sorted(name for name in specs if brief.agent.may_use(name)))
            return f"There is no tool named {call.name[:80]!r}. Tools: {names}."
        try:
            arguments = _arguments(call)
        except Invalid as error:
            return error.message
        problems = self._tools.problems(call.name, arguments)
        return "The arguments do not fit: " + "; ".join(problems) if problems else None

    async def _objection_now(
        self, records: Records, brief: Brief, ref: CallRef, call: RequestedCall, request_id: str | None
    ) -> str | None:
        # Rights are read anew at the moment of the effect, also after a wait of days.
        objection = await self._forbidden(records, brief) or self._objection(brief, ref.call, call)
        if objection is not None or not self._allowed(brief, ref.call, call.name).approval:
            return objection
        request = await records.requests.get(request_id) if request_id else None
        approved = request is not None and _approves(request, ref, call)
        return None if approved else "Refused: this call has no approval for exactly these arguments."

    def _allowed(self, brief: Brief, number: int, name: str) -> Allowed:
        spec = self._tools.specs()[name]
        return Allowed(number, spec, spec.needs_approval or name in brief.agent.require_approval)

    def _observation(
        self, step: int, number: int, call: RequestedCall, status: CallStatus, seen: Shown, duration_ms: int = 0
    ) -> Entry:
        return Entry(
            step=step,
            call=number,
            kind=EntryKind.OBSERVATION,
            text=seen.text,
            at=self._clock(),
            tool=call.name[:80],
            tool_call_id=call.id,
            status=status,
            duration_ms=duration_ms,
            whole_size=len(seen.whole) if seen.whole is not None else None,
        )

    def _context(self, brief: Brief, ref: CallRef, said: tuple[str, ...]) -> ToolContext:
        return ToolContext(
            tenant_id=brief.tenant_id,
            user_id=brief.user_id,
            run_id=brief.run_id,
            effect_key=f"{ref.run_id}/{ref.step}/{ref.call}",
            now=self._clock(),
            workspace=RunWorkspace(self._store, brief.tenant_id, brief.run_id, self._clock),
            results=RunResults(self._store, brief.tenant_id, brief.run_id),
            http=self._http,
            words=said,
        )


_UNKNOWN = (
    "The tool was begun, but the process that ran it died before it could tell the outcome. It may or may not have had "
    "its effect, and it was not run again. Find out before you repeat it, and say so in your answer."
)


def call_payload(call: RequestedCall) -> Mapping[str, object]:
    """What an approver sees and approves: the tool and its exact arguments."""
    return {"tool": call.name, "arguments": _arguments(call)}


def _approves(request: Request, ref: CallRef, call: RequestedCall) -> bool:
    # One approval is good for one effect: that of another call, even with the same arguments, is none for this.
    same_call = (request.run_id, request.step, request.call) == (ref.run_id, ref.step, ref.call)
    same_content = request.content_hash == content_hash(call_payload(call))
    return request.status is ApprovalStatus.APPROVED and same_call and same_content


def _arguments(call: RequestedCall) -> Mapping[str, object]:
    try:
        arguments = json.loads(call.arguments or "{}", parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Invalid("arguments_malformed", "The arguments are not valid JSON; send one JSON object.") from None
    if not isinstance(arguments, dict):
        raise Invalid("arguments_malformed", "The arguments must be one JSON object.")
    check_document(arguments, "arguments")
    return arguments


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _observed_before(call: RequestedCall, known: Entry) -> Observed:
    status = known.status or CallStatus.SUCCEEDED
    written = call.name == TODO_TOOL and status is CallStatus.SUCCEEDED
    return Observed(status, TodoList.written(_arguments(call).get("items")) if written else None)


def _denial(tool: str, request: Request | None) -> str:
    status = request.status.value if request else "withdrawn"
    reason = (request.reason if request else None) or "no reason was given"
    return f"Not allowed: the approval of {tool} was {status}. Reason: {reason}. Do not repeat the call unchanged."


def _tool_audit(brief: Brief, entry: Entry) -> AuditEvent:
    refused = entry.status in {CallStatus.REFUSED, CallStatus.DENIED}
    return AuditEvent(
        actor_id=f"agent:{brief.agent.agent_id}",
        on_behalf_of=brief.user_id,
        action="tool.call",
        resource_type="tool",
        resource_id=entry.tool or "",
        outcome="denied" if refused else "allowed",
        reason=entry.text[:200] if refused else None,
        channel="worker",
        at=entry.at,
        details={"run_id": brief.run_id, "step": entry.step, "call": entry.call, "status": entry.status},
    )
