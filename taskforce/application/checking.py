"""May a tool call happen, and do its arguments fit? Assume that the model is hijacked."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from taskforce.application.calls import CallRef, arguments_of, call_payload
from taskforce.application.kept import Kept
from taskforce.application.observing import observation, tell
from taskforce.application.policies import Policies
from taskforce.application.principals import standing
from taskforce.application.rights import context_of, judge
from taskforce.core.domain.access import AccessRules, Standing
from taskforce.core.domain.approvals import ApprovalStatus, content_hash
from taskforce.core.domain.errors import Forbidden, Invalid
from taskforce.core.domain.policies import Policy, Resource, evaluate
from taskforce.core.domain.runs import Brief
from taskforce.core.domain.transcript import CallStatus, Entry, Shown
from taskforce.core.interfaces.identity import Permission, ResourceType
from taskforce.core.interfaces.llm import RequestedCall
from taskforce.core.interfaces.records import Clock, Records
from taskforce.core.interfaces.stored import Request
from taskforce.core.interfaces.tools import ToolRunner, ToolSpec

CLEARED_KEPT = 1_000
CLEARED_FOR = timedelta(seconds=2)
MAX_CALLS = 32


@dataclass(frozen=True, slots=True)
class Allowed:
    """A call that may go on, and how."""

    call: int
    spec: ToolSpec
    approval: bool


class Checking:
    """The rules before a call: of all calls of a reply when the model asks, of each at the moment of its effect.

    Args:
        tools: The tools there are.
        clock: The time.
        rules: What the deployment says about rights.
        policies: What the tenants say about them.
    """

    def __init__(self, tools: ToolRunner, clock: Clock, rules: AccessRules, policies: Policies) -> None:
        self._tools = tools
        self._policies = policies
        self._clock = clock
        self._rules = rules
        self._cleared: Kept[CallRef, datetime] = Kept(CLEARED_KEPT)

    async def user(self, records: Records, brief: Brief) -> Standing:
        """The user on whose behalf the run works, with the rights of now.

        Raises:
            Forbidden: `user_deactivated` or `tenant_disabled`: nothing more happens on behalf of that user.
        """
        return await standing(records, brief.user_id, self._rules, self._clock(), under_way=True)

    async def policy(self, brief: Brief) -> Policy:
        """The policy of the run's tenant; asked for before a transaction is open, for it may need one of its own."""
        return await self._policies.policy(brief.tenant_id)

    async def step(
        self, records: Records, brief: Brief, policy: Policy, reply: Entry, told: Collection[int] = ()
    ) -> tuple[Allowed, ...]:
        """Checks all calls of a reply. What is refused, the model is told at once.

        Args:
            records: The tenant's records.
            brief: What the run is about.
            policy: The tenant's policy.
            reply: The reply.
            told: Calls of which the model has been told an outcome, by an attempt whose result was lost: they are over.

        Returns:
            The calls that may go on, in order.
        """
        if not reply.tool_calls:
            return ()
        allowed: list[Allowed] = []
        refused: list[Entry] = []
        who = await self._standing(records, brief)
        for number, call in enumerate(reply.tool_calls, start=1):
            if number in told:
                continue
            objection = self._forbidden(brief, who, policy, call) or self._objection(brief, number, call)
            if objection is None:
                allowed.append(self._allowed(brief, number, call.name))
                self._cleared.keep(CallRef(brief.tenant_id, brief.run_id, reply.step, number), self._clock(), 1)
            else:
                seen = Shown(objection)
                refused.append(observation(reply.step, number, call, CallStatus.REFUSED, seen, self._clock()))
        if refused:
            await tell(records, brief, refused)
        return tuple(allowed)

    async def objection_now(
        self,
        records: Records,
        brief: Brief,
        policy: Policy,
        ref: CallRef,
        call: RequestedCall,
        request_id: str | None,
    ) -> str | None:
        """What speaks against a call at the moment of its effect, also after a wait of days; None when nothing does.

        Args:
            records: The tenant's records.
            brief: What the run is about.
            policy: The tenant's policy.
            ref: The call's key.
            call: The call.
            request_id: The approval that it waited for.
        """
        who = await self._standing(records, brief)
        objection = self._forbidden(brief, who, policy, call) or self._objection(brief, ref.call, call)
        if objection is not None or not self._allowed(brief, ref.call, call.name).approval:
            return objection
        request = await records.requests.get(request_id) if request_id else None
        approved = request is not None and _approves(request, ref, call)
        return None if approved else "Refused: this call has no approval for exactly these arguments."

    def just_cleared(self, brief: Brief, ref: CallRef, call: RequestedCall) -> bool:
        """Whether this process has read the rights for a quick call a moment ago; then they are not read again.

        Only the first attempt: whether there is an observation already is left to the key that it is stored under, for
        what is quick is idempotent.
        """
        at = self._cleared.take(ref)
        if at is None or self._clock() - at > CLEARED_FOR:
            return False
        allowed = self._allowed(brief, ref.call, call.name)
        return allowed.spec.quick and not allowed.spec.asks_person and not allowed.approval

    async def _standing(self, records: Records, brief: Brief) -> Standing | Forbidden:
        try:
            return await self.user(records, brief)
        except Forbidden as error:
            return error

    def _forbidden(self, brief: Brief, who: Standing | Forbidden, policy: Policy, call: RequestedCall) -> str | None:
        try:
            if isinstance(who, Forbidden):
                raise who
            tool = Resource(ResourceType.TOOL, call.name, brief.tenant_id)
            facts = {"channel": "run", "agent_id": brief.agent.agent_id}
            judge(evaluate(policy, context_of(who), Permission.TOOL_EXECUTE, tool, facts, self._clock()), who)
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
            arguments = arguments_of(call)
        except Invalid as error:
            return error.message
        problems = self._tools.problems(call.name, arguments)
        return "The arguments do not fit: " + "; ".join(problems) if problems else None

    def _allowed(self, brief: Brief, number: int, name: str) -> Allowed:
        spec = self._tools.specs()[name]
        return Allowed(number, spec, spec.needs_approval or name in brief.agent.require_approval)


def _approves(request: Request, ref: CallRef, call: RequestedCall) -> bool:
    # One approval is good for one effect: that of another call, even with the same arguments, is none for this.
    same_call = (request.run_id, request.step, request.call) == (ref.run_id, ref.step, ref.call)
    same_content = request.content_hash == content_hash(call_payload(call))
    return request.status is ApprovalStatus.APPROVED and same_call and same_content
