"""Facts about approval definitions for those who write them: what they select in vain, and how often they matched."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from taskforce.application.identity.principals import Actor
from taskforce.core.domain.approvals.definitions import Definition
from taskforce.core.domain.approvals.records import Matches
from taskforce.core.domain.approvals.selection_problems import selection_problems
from taskforce.core.interfaces.store import Records, Store
from taskforce.core.interfaces.tools import ToolFacts


@dataclass(frozen=True, slots=True)
class Selectable:
    """The tools and agents that definitions may select, besides those of the tenant's catalog.

    Attributes:
        tools: The deployment's tools.
        knows_agent: Tells whether a profile's agent has an id.
    """

    tools: Collection[ToolFacts]
    knows_agent: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class DefinitionFacts:
    """A definition with what is known of it.

    Attributes:
        definition: The definition.
        problems: What it selects and is not there, each with `path` and `problem`.
        matches: The requests that were made under it.
    """

    definition: Definition
    problems: Sequence[Mapping[str, str]]
    matches: Matches


async def facts_of(
    store: Store, actor: Actor, definitions: Sequence[Definition], selectable: Selectable
) -> Sequence[DefinitionFacts]:
    """Finds the facts about definitions.

    Args:
        store: The tenants' data.
        actor: The caller.
        definitions: The definitions.
        selectable: What they may select.
    """
    async with store.reading(actor.principal.tenant.tenant_id) as records:
        matches = await records.requests.matches([one.definition_id for one in definitions])
        agents = await _agents(records, definitions, selectable)
    return [
        DefinitionFacts(
            one,
            selection_problems(one, selectable.tools, agents),
            matches.get(one.definition_id, Matches()),
        )
        for one in definitions
    ]


async def _agents(records: Records, definitions: Sequence[Definition], selectable: Selectable) -> Collection[str]:
    named = {name for one in definitions for name in one.agents}
    ours = {name for name in named if selectable.knows_agent(name)}
    return ours | set(await records.catalog.named(sorted(named - ours))) if named - ours else ours
