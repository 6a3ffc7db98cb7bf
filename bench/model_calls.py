"""`python -m bench.model_calls`: CPU of a streamed model call, by our own wire and by LiteLLM's call, side by side.

Needs no stack: a scripted endpoint in a process of its own answers at once. Both ways are taken in turns, so that what
else goes on at the machine touches both; what counts is the ratio.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from taskforce.core.interfaces.llm import ChatMessage, ModelRequest
from taskforce.core.interfaces.tools import ToolSpec
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from taskforce.infrastructure.llm.model_calls import ModelCalls, ModelTransport
from tests.fixtures.scripted_llm import Body, Reply, ScriptedLLM, text, tool_calls

ROUNDS = 12
CALLS = 20
REPLIES: dict[str, Callable[[Body], Reply]] = {
    "a tool call": lambda _: tool_calls([("calculator", {"expression": "6 * 7"})]),
    "20 pieces of text": lambda _: text(*["word "] * 20),
    "200 pieces of text": lambda _: text(*["word "] * 200),
}
_TOOL = ToolSpec("calculator", "Computes.", {"type": "object", "properties": {"expression": {"type": "string"}}})
_REQUEST = ModelRequest(
    ("openai/bench",),
    (ChatMessage("system", "Be brief."), *[ChatMessage("user", "Go on. " * 30)] * 10),
    (_TOOL,) * 6,
)


class _ByLiteLLM:
    """Declines every endpoint, so that LiteLLM makes all calls."""

    def request(self, *_: object) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Measured:
    """Holds the CPU milliseconds of one call.

    Attributes:
        reply: The kind of reply.
        wire: By our own wire.
        litellm: By LiteLLM's call.
    """

    reply: str
    wire: float
    litellm: float


async def _cpu(workflow_client: ModelTransport) -> float:
    before = time.process_time()
    for _ in range(CALLS):
        await ModelCalls(workflow_client, _REQUEST, lambda _: None).ask("openai/bench")
    return (time.process_time() - before) / CALLS * 1_000


async def measure(reply: str) -> Measured:
    """Measures one kind of reply.

    Args:
        reply: Its name in `REPLIES`.

    Returns:
        Medians over the rounds.
    """
    serve = [sys.executable, "-m", "bench.model_calls", "--serve", reply]
    server = await asyncio.create_subprocess_exec(*serve, stdout=asyncio.subprocess.PIPE)
    assert server.stdout is not None
    os.environ["OPENAI_API_KEY"] = "sk-bench"
    os.environ["OPENAI_BASE_URL"] = (await server.stdout.readline()).decode().strip()
    model = LiteLLMModel()
    try:
        wire = await model.open()
        litellm = replace(wire, endpoints=_ByLiteLLM())  # type: ignore[arg-type]
        # Without the first two rounds, which import and connect.
        rounds = [(await _cpu(wire), await _cpu(litellm)) for _ in range(ROUNDS)][2:]
    finally:
        await model.aclose()
        server.terminate()
        await server.wait()
    return Measured(reply, *(statistics.median(one) for one in zip(*rounds, strict=True)))


async def _serve(reply: str) -> None:
    async with ScriptedLLM() as llm:
        llm.keep_requests = False
        llm.reply = REPLIES[reply]
        sys.stdout.write(f"{llm.url}\n")
        sys.stdout.flush()
        await llm.serve_forever()


async def _main() -> None:
    for reply in REPLIES:
        one = await measure(reply)
        print(f"{reply:20} {one.wire:6.2f} ms, by LiteLLM {one.litellm:6.2f} ms: {one.litellm / one.wire:.1f} times")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="CPU of a streamed model call.")
    parser.add_argument("--serve", choices=tuple(REPLIES), help="serve one kind of reply and print the URL")
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.serve) if arguments.serve else _main())
