"""Authorization of tool calls and validation of their arguments, as if the model were under an attacker's control."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from taskforce.application.access.authorization import load_subject, raise_if_denied
from taskforce.application.access.policy_engine import Policies
from taskforce.application.cache import BoundedCache
from taskforce.application.identity.principals import load_principal_for_key
from taskforce.application.metering.budget_books import BudgetBooks
from taskforce.application.metering.price_books import PriceBooks
from taskforce.application.runs.approval_gates import ApprovalGates, terms_of_call
from taskforce.application.runs.observations import MISFIT, observation, store_observations
from taskforce.application.runs.tool_calls import CallRef, arguments_of, call_payload
from taskforce.core.domain.access.decisions import Subject, decide, subject_of
from taskforce.core.domain.access.policies import Policy, Resource
from taskforce.core.domain.approvals.approval import ApprovalStatus
from taskforce.core.domain.approvals.definitions import Definition, DefinitionRules, requires_approval
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.approvals.terms import Terms
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
_UNAPPROVED = "Refused: this call has no approval for exactly these arguments."
_ASKS_MORE = "Refused: since people approved {} for this run, its calls need more. Make it again, and they are asked."
_GATED_SINCE = "Refused: since you made this call, calls of {} need an approval. Make it again, and people are asked."


@dataclass(frozen=True, slots=True)
class PermittedCall:
    """A tool call that is permitted.

    Attributes:
        call: The call within the step, from 1.
        tool_spec: The tool.
        approval: Whether it needs an approval first.
    """

    call: int
    tool_spec: ToolSpec
    approval: bool


@dataclass(frozen=True, slots=True)
class RunOwner:
    """The owner of a run with the rights of one moment.

    Attributes:
        principal: The user, cut to the key or token that started the run.
        subject: The user as decisions on the run's tools take them.
    """

    principal: Principal
    subject: Subject


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
        prices: The prices of the tenants, which are looked after whenever a run's tenant is read.
        books: The budgets of the tenants, which are looked after as well.
        definitions: The deployment's approval definitions.
    """

    def __init__(
        self,
        tools: ToolRunner,
        clock: Clock,
        rules: AccessRules,
        policies: Policies,
        *,
        prices: PriceBooks,
        books: BudgetBooks,
        definitions: DefinitionRules | None = None,
    ) -> None:
        self._tools = tools
        self._prices = prices
        self._books = books
        self._policies = policies
        self._clock = clock
        self._rules = rules
        self._gates = ApprovalGates(definitions or DefinitionRules())
        self._cleared: BoundedCache[CallRef, datetime] = BoundedCache(CLEARED_KEPT)

    async def user(self, records: Records, spec: RunSpec) -> Principal:
        """Loads the principal of the run's owner with current rights, cut to the key or token that started the run.

        Raises:
            Forbidden: `user_deactivated`, `tenant_disabled` or `api_key_ended`.
        """
        principal = await load_principal_for_key(
            records,
            spec.user_id,
            spec.key_id,
            self._rules,
            self._clock(),
            claims=spec.claims,
            run=spec,
        )
        # Here the tenant's row is read anyway, so that a change counts from this step on, at no query of its own.
        await self._prices.of(records, principal.tenant)
        await self._books.of(records, principal.tenant)
        return principal

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
        owner = await self._owner(records, spec)
        # The reply is paid and stored; its calls are permitted, and each meets what stops the run when it is to run.
        stopped = isinstance(owner, RunOwner) and bool(owner.principal.stop)
        gated = await self._gated(records, spec, owner, {call.name for call in reply.tool_calls})
        granted = await records.requests.granted_for_run(spec.run_id) if gated else {}
        for number, call in enumerate(reply.tool_calls, start=1):
            if number in observed:
                continue
            # Yields to the event loop, so that a reply with many calls does not delay other runs.
            await asyncio.sleep(0)
            objection = _beyond(spec, reply, number) or self._against(spec, owner, policy, call)
            if objection is None:
                asked = gated.get(call.name)
                needed = asked is not None and not _covers(granted.get(call.name, ()), asked)
                allowed.append(PermittedCall(number, self._tools.specs()[call.name], approval=needed))
                if not stopped and call.name not in gated:
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
        owner = await self._owner(records, spec)
        if isinstance(owner, RunOwner):
            owner.principal.stop.require_none()
        objection = self._against(spec, owner, policy, call)
        asked = None if objection is not None else (await self._gated(records, spec, owner, {call.name})).get(call.name)
        if asked is None:
            return objection
        if request is not None:
            return None if _approves(request, ref, call) else _UNAPPROVED
        granted = (await records.requests.granted_for_run(spec.run_id)).get(call.name, ())
        if _covers(granted, asked):
            return None
        if granted:
            return _ASKS_MORE.format(call.name)
        # Only a definition can have come since the reply was authorized, so that nobody was asked.
        always = _demands_approval(spec, self._tools.specs()[call.name])
        return _UNAPPROVED if always else _GATED_SINCE.format(call.name)

    def just_cleared(self, spec: RunSpec, ref: CallRef, call: RequestedCall) -> bool:
        """Tells, once, whether this process has authorized a quick call, without approval, within `CLEARED_FOR`.

        Then neither rights nor an earlier observation are read again: quick tools are idempotent, and the primary key
        of observations refuses a second one.
        """
        at = self._cleared.take(ref)
        if at is None or self._clock() - at > CLEARED_FOR:
            return False
        tool_spec = self._tools.specs()[call.name]
        return tool_spec.quick and not tool_spec.asks_person

    async def _owner(self, records: Records, spec: RunSpec) -> RunOwner | Forbidden:
        try:
            principal = await self.user(records, spec)
        except Forbidden as error:
            # As a value: each call of the reply gets an observation of the refusal.
            return error
        # Most owners hold it everywhere: then their roles on single resources are not read.
        held = Permission.TOOL_EXECUTE in principal.permissions
        subject = (
            subject_of(principal)
            if held
            else await load_subject(records, principal, rules=self._rules, now=self._clock())
        )
        return RunOwner(principal, subject)

    def _against(self, spec: RunSpec, owner: RunOwner | Forbidden, policy: Policy, call: RequestedCall) -> str | None:
        if isinstance(owner, Forbidden):
            return f"Refused: {owner.message}"
        settings = owner.principal.tenant.settings
        return self._forbidden(spec, owner.subject, policy, call) or self._objection(spec, settings, call)

    def _forbidden(self, spec: RunSpec, subject: Subject, policy: Policy, call: RequestedCall) -> str | None:
        tool = Resource(ResourceType.TOOL, call.name, spec.tenant_id, agent_id=spec.agent.agent_id)
        needed = Permission.TOOL_EXECUTE
        try:
            raise_if_denied(decide(policy, subject, needed, tool, context={}, now=self._clock()), needed)
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

    async def _gated(
        self, records: Records, spec: RunSpec, owner: RunOwner | Forbidden, names: Collection[str]
    ) -> Mapping[str, Terms]:
        """Returns those of the tools of which each call needs an approval now, with the terms of one."""
        if isinstance(owner, Forbidden):
            return {}
        definitions = await self._gates.of(records, spec.tenant_id, owner.principal.definitions_mark)
        known = (self._tools.specs()[name] for name in names if name in self._tools.specs())
        gated = (one for one in known if _needs_approval(spec, one, definitions))
        return {one.name: terms_of_call(definitions, spec, one.facts)[1] for one in gated}


def _needs_approval(spec: RunSpec, tool_spec: ToolSpec, definitions: Sequence[Definition]) -> bool:
    gated = requires_approval(definitions, tool_spec.facts, spec.agent.names)
    return gated or _demands_approval(spec, tool_spec)


def _covers(granted: Iterable[Terms], asked: Terms) -> bool:
    """Tells whether an approval for the rest of the run satisfies what is asked for a call now."""
    return any(asked.asks_no_more_than(terms) for terms in granted)


def _demands_approval(spec: RunSpec, tool_spec: ToolSpec) -> bool:
    return tool_spec.needs_approval or tool_spec.name in spec.agent.require_approval


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
