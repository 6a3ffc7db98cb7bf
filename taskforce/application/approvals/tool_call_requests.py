"""Requests for approval of tool calls: bound to exact arguments, by the tenant's definition or the agent's terms."""

from dataclasses import replace
from datetime import datetime

from taskforce.application.approvals.definitions import definitions_of
from taskforce.application.approvals.handler import TOOL_CALL, approved_hash
from taskforce.application.runs.approval_gates import terms_of_call
from taskforce.application.runs.tool_calls import CallRef, call_payload
from taskforce.core.domain.approvals.approval import Approval
from taskforce.core.domain.approvals.definitions import Definition, DefinitionRules
from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.json_limits import Json
from taskforce.core.domain.runs.run import RunSpec
from taskforce.core.domain.runs.transcript import Entry
from taskforce.core.interfaces.store import Records
from taskforce.core.interfaces.tools import ToolFacts, ToolRunner


class ToolCallRequests:
    """Builds requests for approval of tool calls.

    Args:
        definitions: The deployment's approval definitions.
        tools: The deployment's tools; None where they are not known, and definitions select by name only.
    """

    def __init__(self, definitions: DefinitionRules, tools: ToolRunner | None) -> None:
        self._definitions = definitions
        self._tools = tools

    async def build(
        self, records: Records, spec: RunSpec, ref: CallRef, *, reply: Entry, request_id: str, now: datetime
    ) -> Request:
        """Builds the request of a call; stores nothing.

        Args:
            records: The tenant's records.
            spec: The run's specification.
            ref: The call.
            reply: The model's reply that wants the call.
            request_id: The id of the request.
            now: The time, UTC.
        """
        call = reply.tool_calls[ref.call - 1]
        chosen, terms = await self._chosen(records, spec, call.name)
        payload = call_payload(call)
        bound = approved_hash(payload, TOOL_CALL)
        return Request(
            approval=replace(Approval(request_id, spec.user_id, terms, now), content=bound),
            run_id=ref.run_id,
            step=ref.step,
            call=ref.call,
            request_type=TOOL_CALL,
            resource_type="tool",
            resource_id=call.name,
            title=f"{spec.agent.name} wants to call {call.name}",
            payload={**payload, "reason": reply.text[:2_000]},
            content_hash=bound,
            definition_id=None if chosen is None else chosen.definition_id,
        )

    async def _chosen(self, records: Records, spec: RunSpec, tool: str) -> tuple[Definition | None, Terms]:
        rules = self._definitions
        definitions = await definitions_of(records, rules.definitions, signals=rules.signals)
        found = None if self._tools is None else self._tools.specs().get(tool)
        facts = ToolFacts(tool) if found is None else found.facts
        return terms_of_call(definitions, spec, facts)


def idle_roles(spec: RunSpec, terms: Terms) -> Json:
    """Returns, for the auditor of a request, the agent's approval roles where its terms allow none of them."""
    roles = spec.agent.approval_roles
    idle = roles and set(roles).isdisjoint(terms.allowed_roles)
    return {"approval_roles_without_effect": list(roles)} if idle else {}
