"""Model of the benchmarks, in a process of its own that answers at once.

The model's name says what it does: `openai/calculator.4` calls `calculator` four times, once a step, and then answers.
"""

import asyncio
import sys

from tests.fixtures.scripted_llm import Body, Reply, ScriptedLLM, call_until


def model_name(tool: str, calls: int) -> str:
    """Returns the LiteLLM name of a model that calls a tool so many times.

    Args:
        tool: The tool's name.
        calls: Number of steps that call it, one call each.
    """
    return f"openai/{tool}.{calls}"


def reply(body: Body) -> Reply:
    """Answers as the model's name says."""
    tool, _, calls = str(body["model"]).rpartition(".")
    return call_until(tool, lambda seen: {"expression": f"6 * {seen + 7}"}, int(calls))(body)


async def _main() -> None:
    llm = ScriptedLLM(int(sys.argv[1]))
    # Kept requests of a whole benchmark would fill the memory.
    llm.keep_requests, llm.reply = False, reply
    async with llm:
        await llm.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
