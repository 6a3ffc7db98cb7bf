"""LiteLLM is imported once, whole, whoever waits for it."""

import asyncio
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]
IMPORT = """
import asyncio, gc, sys
from taskforce.core.interfaces.llm import ChatMessage, ModelRequest
from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from taskforce.infrastructure.llm.model_selection import OFFLINE_MODEL

async def main():
    model = LiteLLMModel()
    asked = ModelRequest((OFFLINE_MODEL,), (ChatMessage("user", "Hello"),), ())
    calls = [asyncio.ensure_future(model.complete(asked, lambda _: None)) for _ in range(50)]
    while "litellm" not in sys.modules:
        await asyncio.sleep(0.001)
    # Those that wait for the import leave the loop's threads to others.
    assert await asyncio.to_thread(lambda: "free") == "free"
    assert not hasattr(sys.modules["litellm"], "main"), "imported before it was looked at"
    for call in calls:
        call.cancel()
    assert {type(one) for one in await asyncio.gather(*calls, return_exceptions=True)} == {asyncio.CancelledError}
    assert (await model.complete(asked, lambda _: None)).text
    assert gc.isenabled()
    await model.aclose()

asyncio.run(main())
"""


async def test_calls_that_are_cancelled_while_litellm_is_imported_leave_it_whole() -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", IMPORT, stderr=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    _, said = await child.communicate()
    assert (child.returncode, said.decode()) == (0, "")
