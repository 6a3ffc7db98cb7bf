"""Approval definitions of tool calls, cached for as long as a tenant's definitions do not change."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from taskforce.application.cache import BoundedCache
from taskforce.core.domain.approvals.definitions import (
    TOOL_CALL,
    Definition,
    DefinitionRules,
    agent_terms,
    choose,
)
from taskforce.core.domain.approvals.terms import Terms
from taskforce.core.domain.runs.run import RunSpec
from taskforce.core.interfaces.store import Records
from taskforce.core.interfaces.tools import ToolFacts


@dataclass(frozen=True, slots=True)
class _Read:
    mark: str
    gates: Sequence[Definition]


class ApprovalGates:
    """Cache of the definitions that require approvals of tool calls, or say who decides them.

    What a tenant has saved is marked in the row by which each check reads the user's rights, so the definitions of the
    moment count, and are read only after a change.

    Args:
        rules: The deployment's approval definitions.
    """

    def __init__(self, rules: DefinitionRules) -> None:
        self._rules = rules
        self._of_profile = _gates(rules.in_force(()))
        self._kept: BoundedCache[str, _Read] = BoundedCache()

    async def of(self, records: Records, tenant_id: str, mark: str) -> Sequence[Definition]:
        """Returns the definitions in force of tool calls.

        Args:
            records: The tenant's records.
            tenant_id: The tenant.
            mark: `Principal.definitions_mark`; empty for a tenant without definitions of its own.
        """
        if not mark:
            return self._of_profile
        kept = self._kept.get(tenant_id)
        if kept is None or kept.mark != mark:
            kept = _Read(mark, _gates(self._rules.in_force(await records.definitions.all())))
            self._kept.keep(tenant_id, kept, len(repr(kept)))
        return kept.gates


def terms_of_call(definitions: Iterable[Definition], spec: RunSpec, tool: ToolFacts) -> tuple[Definition | None, Terms]:
    """Returns the definition under which calls of a tool are decided, None without one, and the terms.

    Args:
        definitions: The definitions in force, at least those of type `tool_call`.
        spec: The run's specification.
        tool: The tool.
    """
    chosen = choose(definitions, TOOL_CALL, tool=tool, agent=spec.agent.names)
    says = {"approval_roles": list(spec.agent.approval_roles) or None}
    return chosen, agent_terms(says, chosen, spec.agent.approval)


def _gates(definitions: Sequence[Definition]) -> Sequence[Definition]:
    ours = (one for one in definitions if one.enabled and one.decides == TOOL_CALL)
    # Stripped of what may be long, and says nothing about which calls they apply to, or who decides them.
    return tuple(replace(one, request_type=TOOL_CALL, description="", metadata={}) for one in ours)
