"""Baselines: the cost of the same run without the product.

`Floor` is a workflow of as many no-op activities, of the same kinds, as a run of the product has. `Honest` is what a
person would write by hand: five activities that make the same LiteLLM call, four that stand for the tool, each of the
nine writes one row; no rights, no schema check, no transcript, no usage, no audit, no milestones.
"""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    import asyncpg

    from bench.stub import model_name
    from taskforce.core.interfaces.llm import ChatMessage, ModelRequest, RequestedCall
    from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
    from taskforce.infrastructure.tools.registry import ToolRegistry

CALLS = 4
TIME = timedelta(seconds=60)
TABLE = """
CREATE TABLE bench_rows (run text, step integer, call integer, body jsonb NOT NULL, PRIMARY KEY (run, step, call));
GRANT SELECT, INSERT ON bench_rows TO taskforce_app;
"""


@dataclass(frozen=True)
class Shape:
    """Describes a baseline's run.

    Attributes:
        tool: The tool that the model calls.
        quick: Whether tools are local activities.
    """

    tool: str
    quick: bool


@dataclass(frozen=True)
class Turn:
    """Describes one activity of an honest run."""

    run: str
    step: int
    tool: str


@workflow.defn
class Floor:
    """Runs no-op activities: begin, five times the model, four times a tool, finish."""

    @workflow.run
    async def run(self, shape: Shape) -> None:
        """Runs to the end."""
        await _local(nothing_local)
        for step in range(CALLS + 1):
            await workflow.execute_activity(nothing, start_to_close_timeout=TIME)
            if step < CALLS:
                await (_local(nothing_local) if shape.quick else _regular(nothing))
        await _local(nothing_local)


@workflow.defn
class Honest:
    """Runs the same LiteLLM calls, and writes one row for each activity."""

    @workflow.run
    async def run(self, shape: Shape) -> None:
        """Runs to the end."""
        for step in range(CALLS + 1):
            turn = Turn(workflow.info().workflow_id, step, shape.tool)
            calls = await _regular("ask", turn)
            if calls:
                await (_local("act", turn) if shape.quick else _regular("act", turn))


async def _local(name: Any, *arguments: Any) -> Any:  # noqa: ANN401 - the SDK's own types
    return await workflow.execute_local_activity(name, *arguments, schedule_to_close_timeout=TIME)


async def _regular(name: Any, *arguments: Any) -> Any:  # noqa: ANN401 - the SDK's own types
    return await workflow.execute_activity(name, *arguments, start_to_close_timeout=TIME)


@activity.defn
async def nothing() -> None:
    """Does nothing."""


@activity.defn
async def nothing_local() -> None:
    """Does nothing."""


class HonestActivities:
    """Calls the model and writes rows.

    Args:
        model: The product's access to LiteLLM.
        pool: Connections.
    """

    def __init__(self, model: LiteLLMModel, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._model = model
        self._pool = pool
        self._tools = tuple(spec for _, spec in sorted(ToolRegistry.discover().specs().items()))

    @activity.defn
    async def ask(self, turn: Turn) -> int:
        """Makes the model call that a run of the product makes in this step."""
        request = ModelRequest((model_name(turn.tool, CALLS),), _messages(turn), self._tools)
        reply = await self._model.complete(request, lambda _: None)
        await self._write(turn, 0, reply.text)
        return len(reply.tool_calls)

    @activity.defn
    async def act(self, turn: Turn) -> None:
        """Takes the place of the tool."""
        await self._write(turn, 1, "42")

    async def _write(self, turn: Turn, call: int, text: str) -> None:
        body = json.dumps({"text": text})
        # A retried activity writes its row once, as one of the product does.
        await self._pool.execute(
            "INSERT INTO bench_rows VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING", turn.run, turn.step, call, body
        )


def _messages(turn: Turn) -> tuple[ChatMessage, ...]:
    call = RequestedCall("call_0", turn.tool, '{"expression": "6 * 7"}')
    exchange = [ChatMessage("assistant", "", tool_calls=(call,)), ChatMessage("tool", "42", tool_call_id="call_0")]
    return (ChatMessage("system", "You are a benchmark."), ChatMessage("user", "Work."), *(exchange * turn.step))
