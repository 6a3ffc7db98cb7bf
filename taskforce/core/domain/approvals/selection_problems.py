"""Problems of an approval definition of tool calls that selects what is not there, and so may never apply."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from taskforce.core.domain.approvals.definitions import INVALID, TOOL_CALL, Definition
from taskforce.core.domain.document_reader import Problems
from taskforce.core.interfaces.tools import ToolFacts


def selection_problems(
    definition: Definition, tools: Collection[ToolFacts], agents: Collection[str]
) -> tuple[Mapping[str, str], ...]:
    """Lists what a definition selects and is not there; a definition may be written before its tools and agents.

    Args:
        definition: The definition.
        tools: The deployment's tools.
        agents: Those of the agents that it names which exist, as it names them.

    Returns:
        The problems, each with `path` and `problem`; none of a definition of another type.
    """
    problems = Problems(INVALID, "definition")
    if definition.decides == TOOL_CALL:
        for path, problem in _problems(definition, tools, agents):
            problems.add(path, problem)
    return tuple(problems.found)


def _problems(
    definition: Definition, tools: Collection[ToolFacts], agents: Collection[str]
) -> Iterator[tuple[str, str]]:
    names, tags = {one.name for one in tools}, {tag for one in tools for tag in one.tags}
    kinds = {kind for one in tools for kind in one.kinds}
    yield from _absent("tools", definition.tools, names, "there is no tool of this name")
    yield from _absent("tool_tags", definition.tool_tags, tags, "no tool has this tag")
    yield from _absent("tool_kinds", definition.tool_kinds, kinds, "no tool is of this kind")
    yield from _absent("agents", definition.agents, agents, "there is no agent of this id or slug")
    if not any(definition.selects(one) for one in tools):
        yield "", "never applies: no tool has all that it asks for in tools, tool_tags and tool_kinds."


def _absent(path: str, wanted: Iterable[str], there: Collection[str], what: str) -> Iterator[tuple[str, str]]:
    for place, name in enumerate(wanted):
        if name not in there:
            yield f"{path}[{place}]", f"{what}, {name[:80]!r}; until there is, it applies to nothing."
