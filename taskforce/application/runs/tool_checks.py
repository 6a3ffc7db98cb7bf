"""Authorization of tool calls and validation of their arguments, as if the model were under an attacker's control."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from taskforce.application.access.authorization import evaluate_principal, raise_if_denied
from taskforce.application.access.policy_engine import Policies
from taskforce.application.cache import BoundedCache
from taskforce.application.identity.principals import load_principal_for_key
from taskforce.application.runs.observations import MISFIT, observation, store_observations
from taskforce.application.runs.tool_calls import CallRef, arguments_of, call_payload
from taskforce.core.domain.access.policies import Policy, Resource
from taskforce.core.domain.approvals.approval import ApprovalStatus
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.canonical_json import canonical_hash
from taskforce.core.domain.errors import Forbidden, Invalid
from taskforce.core.domain.identity.principals import AccessRules, Principal
from taskforce.core.domain.runs.reply import MAX_ARGUMENT_VALUES, MAX_ARGUMENTS, beyond_bound, is_too_large
from taskforce.core.domain.runs.run import RunSpec
from taskforce.core.domain.runs.transcript import CallStatus, Entry, ShownText
from taskforce.core.domain.tenants.tenant import TenantSettings
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.identity import Permission, ResourceType
from taskforce.core.interfaces.llm import RequestedCall
from taskforce.core.interfaces.store import Records
from taskforce.core.interfaces.tools import ToolRunner, ToolSpec

CLEARED_KEPT = 1_000
TOO_LARGE = (
    f"Refused: the arguments of all calls of a reply may have {MAX_ARGUMENTS:,} characters and "
    f"{MAX_ARGUMENT_VALUES:,} values; do it in several steps."
)
# Also bounds for how long a quick call still passes by a right that was withdrawn after its check.
CLEARED_FOR = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class PermittedCall:
    """A tool call that is permitted.

    Attributes:
        call: The call within the step, from 1.
        spec: The tool.
        approval: Whether it needs an approval first.
    """

    call: int
    tool_spec: ToolSpec
    approval: bool


@dataclass(frozen=True, slots=True)
class ToolCallVerdicts:
    """The verdicts on a reply's tool calls.

    Attributes:
        allowed: The permitted calls, in order.
        refused: The observations of the refused calls.
    """

    allowed: tuple[PermittedCall, ...] = ()
    refused: tuple[Entry, ...] = ()


class ToolCallPolicy:
    """Authorizes tool calls: all calls of a reply when it is stored, and each one again before it runs.

    Args:
        tools: The deployment's tools.
        clock: The time, UTC.
        rules: The deployment's access rules.
        policies: The tenants' policies.
    """

    def __init__(self, tools: ToolRunner, clock: Clock, rules: AccessRules, policies: Policies) -> None:
        self._tools = tools
        self._policies = policies
        self._clock = clock
        self._rules = rules
        self._cleared: BoundedCache[CallRef, datetime] = BoundedCache(CLEARED_KEPT)

    async def user(self, records: Records, spec: RunSpec) -> Principal:
        """Loads the principal of the run's owner with current rights, cut to the key or token that started the run.

        Raises:
            Forbidden: `user_deactivated`, `tenant_disabled` or `api_key_ended`.
        """
        return await load_principal_for_key(
            records,
            spec.user_id,
            spec.key_id,
            self._rules,
            self._clock(),
            claims=spec.claims,
            run=spec,
        )

    async def policy(self, spec: RunSpec) -> Policy:
        """Returns the policy of the run's tenant; call it outside a transaction, for it may open one of its own."""
        return await self._policies.policy(spec.tenant_id)

    async def step(
        self, records: Records, spec: RunSpec, policy: Policy, reply: Entry, observed: Collection[int] = ()
    ) -> ToolCallVerdicts:
        """Authorizes all calls of a reply, and stores the observations of the refused ones.

        Args:
            records: The tenant's records.
            spec: The run's specification.
            policy: The tenant's policy.
            reply: The reply.
            observed: Calls that have an observation from an attempt whose result was lost; they are skipped.

        Raises:
            DuplicateKey: As `store_observations`.
        """
        if not reply.tool_calls:
            return ToolCallVerdicts()
        allowed: list[PermittedCall] = []
        refused: list[tuple[RequestedCall, Entry]] = []
        principal = await self._standing(records, spec)
        # The reply is paid and stored; its calls are permitted, and each meets what stops the run when it is to run.
        stopped = isinstance(principal, Principal) and bool(principal.stop)
        granted = await self._granted(records, spec, [call.name for call in reply.tool_calls])
        for number, call in enumerate(reply.tool_calls, start=1):
            if number in observed:
                continue
            # Yields to the event loop, so that a reply with many calls does not delay other runs.
            await asyncio.sleep(0)
            objection = _beyond(spec, reply, number) or self._against(spec, principal, policy, call)
            if objection is None:
                allowed.append(self._allowed(spec, number, call.name, granted))
                if not stopped:
                    self._cleared.keep(CallRef(spec.tenant_id, spec.run_id, reply.step, number), self._clock(), 1)
            else:
                seen = ShownText(objection)
                entry = observation(reply.step, number, call, status=CallStatus.REFUSED, result=seen, at=self._clock())
                refused.append((call, entry))
        return ToolCallVerdicts(tuple(allowed), await store_observations(records, spec, refused))

    async def objection_now(
        self,
        records: Records,
        spec: RunSpec,
        policy: Policy,
        *,
        ref: CallRef,
        call: RequestedCall,
        request: Request | None,
    ) -> str | None:
        """Authorizes a call again just before it runs, which may be days after the reply.

        Args:
            records: The tenant's records.
            spec: The run's specification.
            policy: The tenant's policy.
            ref: The call's reference.
            call: The call, with the arguments that were approved.
            request: The approval request that it waited for; None where there is none.

        Returns:
            The reason of the refusal, for the model; None where the call may run.

        Raises:
            Conflict, Unavailable: As `RunStop.require_none`.
        """
        principal = await self._standing(records, spec)
        if isinstance(principal, Principal):
            principal.stop.require_none()
        objection = self._against(spec, principal, policy, call)
        if objection is not None or not self._needs_approval(spec, call.name):
            return objection
        if request is None and call.name in await records.requests.granted_for_run(spec.run_id):
            return None
        approved = request is not None and _approves(request, ref, call)
        return None if approved else "Refused: this call has no approval for exactly these arguments."

    def just_cleared(self, spec: RunSpec, ref: CallRef, call: RequestedCall) -> bool:
        """Tells, once, whether this process has authorized a quick call within the last `CLEARED_FOR`.

        Then neither rights nor an earlier observation are read again: quick tools are idempotent, and the primary key
        of observations refuses a second one.
        """
        at = self._cleared.take(ref)
        if at is None or self._clock() - at > CLEARED_FOR:
            return False
        tool_spec = self._tools.specs()[call.name]
        return tool_spec.quick and not tool_spec.asks_person and not self._needs_approval(spec, call.name)

    async def _standing(self, records: Records, spec: RunSpec) -> Principal | Forbidden:
        try:
            return await self.user(records, spec)
        except Forbidden as error:
            # As a value: each call of the reply gets an observation of the refusal.
            return error

    def _against(
        self, spec: RunSpec, principal: Principal | Forbidden, policy: Policy, call: RequestedCall
    ) -> str | None:
        if isinstance(principal, Forbidden):
            return f"Refused: {principal.message}"
        return self._forbidden(spec, principal, policy, call) or self._objection(spec, principal.tenant.settings, call)

    def _forbidden(self, spec: RunSpec, principal: Principal, policy: Policy, call: RequestedCall) -> str | None:
        try:
            tool = Resource(ResourceType.TOOL, call.name, spec.tenant_id)
            facts = {"channel": "run", "agent_id": spec.agent.agent_id}
            now, needed = self._clock(), Permission.TOOL_EXECUTE
            raise_if_denied(evaluate_principal(policy, principal, needed, tool, facts=facts, now=now), principal)
        except Forbidden as error:
            return f"Refused: {error.message}"
        return None

    def _objection(self, spec: RunSpec, settings: TenantSettings, call: RequestedCall) -> str | None:
        specs = self._tools.specs()
        if call.name not in specs or not spec.agent.may_use(call.name):
            names = ", ".join(tool_spec.name for tool_spec in offered(specs, spec, settings))
            return f"There is no tool named {call.name[:80]!r}. Tools: {names}."
        if not _has_feature(settings, specs[call.name]):
            return f"Refused: {call.name} needs the feature {specs[call.name].feature}, which your tenant lacks."
        if is_too_large(call):
            return TOO_LARGE
        try:
            arguments = arguments_of(call)
        except Invalid as error:
            return error.message
        problems = self._tools.problems(call.name, arguments)
        return f"{MISFIT}: {'; '.join(problems)}" if problems else None

    def _allowed(self, spec: RunSpec, number: int, name: str, granted: Collection[str]) -> PermittedCall:
        approval = self._needs_approval(spec, name) and name not in granted
        return PermittedCall(number, self._tools.specs()[name], approval)

    def _needs_approval(self, spec: RunSpec, name: str) -> bool:
        return self._tools.specs()[name].needs_approval or name in spec.agent.require_approval

    async def _granted(self, records: Records, spec: RunSpec, names: Collection[str]) -> frozenset[str]:
        """Reads the tools that are approved for the rest of the run, if any of the calls needs an approval."""
        known = [name for name in names if name in self._tools.specs()]
        if any(self._needs_approval(spec, name) for name in known):
            return await records.requests.granted_for_run(spec.run_id)
        return frozenset()


def _beyond(spec: RunSpec, reply: Entry, number: int) -> str | None:
    """Returns the refusal of a call beyond the limit; the first one also counts the calls that were not stored."""
    most = spec.agent.loop.max_calls_per_reply
    return beyond_bound(len(reply.tool_calls) + reply.dropped, most) if number > most else None


def offered(specs: Mapping[str, ToolSpec], spec: RunSpec, settings: TenantSettings) -> tuple[ToolSpec, ...]:
    """Returns the tools that the agent may use for its tenant, in a stable order, so that providers can cache prompts.

    Args:
        specs: The deployment's tools by name.
        spec: The run's specification, which names the agent.
        settings: The tenant's current settings.
    """
    own = (specs[name] for name in sorted(specs) if spec.agent.may_use(name))
    return tuple(tool_spec for tool_spec in own if _has_feature(settings, tool_spec))


def _has_feature(settings: TenantSettings, tool_spec: ToolSpec) -> bool:
    return tool_spec.feature is None or settings.allows(tool_spec.feature)


def _approves(request: Request, ref: CallRef, call: RequestedCall) -> bool:
    # An approval permits one call: that of another call with the same arguments does not permit this one.
    same_call = (request.run_id, request.step, request.call) == (ref.run_id, ref.step, ref.call)
    same_content = request.approval.content == canonical_hash(call_payload(call))
    return request.status is ApprovalStatus.APPROVED and same_call and same_content
