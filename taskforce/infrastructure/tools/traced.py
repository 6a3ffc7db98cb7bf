"""Spans of tool calls."""

from collections.abc import Mapping

from taskforce.core.domain.gen_ai import tool_content, tool_executed
from taskforce.core.interfaces.tools import ToolContext, ToolFailure, ToolRunner, ToolSpec
from taskforce.core.interfaces.tracing import Tracer

FAILED = "tool_failed"


def traced_tools(tools: ToolRunner, tracer: Tracer) -> ToolRunner:
    """Returns tools whose calls are traced; without tracing, the tools themselves."""
    return _TracedTools(tools, tracer) if tracer.on else tools


class _TracedTools(ToolRunner):
    def __init__(self, inner: ToolRunner, tracer: Tracer) -> None:
        self._inner = inner
        self._tracer = tracer

    def specs(self) -> Mapping[str, ToolSpec]:
        return self._inner.specs()

    def problems(self, name: str, arguments: object) -> tuple[str, ...]:
        return self._inner.problems(name, arguments)

    async def run(self, name: str, arguments: Mapping[str, object], context: ToolContext) -> object:
        tracer = self._tracer
        with tracer.span(tool_executed(name, self.specs().get(name), context)) as span:
            if tracer.content:
                span.set(tool_content("arguments", arguments, tracer.harmless))
            try:
                result = await self._inner.run(name, arguments, context)
            except ToolFailure:
                span.fail(FAILED)
                raise
            if tracer.content:
                span.set(tool_content("result", result, tracer.harmless))
            return result
