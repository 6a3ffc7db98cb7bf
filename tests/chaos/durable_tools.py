"""Tools whose effects outlive the worker that had them: they are lines in a file."""

import asyncio
import os
from collections import Counter
from pathlib import Path

from taskforce.core.interfaces.tools import ToolContext
from taskforce.infrastructure.tools.declaration import tool

PLACE = "TASKFORCE_TEST_EFFECTS"


class Effects:
    """What the tools of all workers did, and whether those that can wait shall wait in the middle.

    Args:
        place: A directory.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._file = place / "effects"
        self._hold = place / "hold"

    def had(self, tool: str, key: str, stage: str) -> None:
        """Adds a line; short appends do not mix."""
        with self._file.open("a") as file:
            file.write(f"{tool} {key} {stage}\n")

    def seen(self) -> Counter[tuple[str, str, str]]:
        """How often each (tool, key, stage) happened."""
        # The last line may be under way: what is there of it is no effect yet.
        whole = self._file.read_text().rpartition("\n")[0] if self._file.exists() else ""
        return Counter((tool, key, stage) for tool, key, stage in (line.split() for line in whole.splitlines()))

    def count(self, tool: str, run_id: str, stage: str) -> list[int]:
        """How often each effect of one tool in one run got to a stage."""
        seen = self.seen().items()
        return [times for (name, key, at), times in seen if name == tool and key.startswith(run_id) and at == stage]

    def hold(self) -> None:
        self._hold.touch()

    def release(self) -> None:
        self._hold.unlink(missing_ok=True)

    async def released(self) -> None:
        while self._hold.exists():  # noqa: ASYNC110 - the test is another process
            await asyncio.sleep(0.05)


def _effects() -> Effects:
    return Effects(Path(os.environ[PLACE]))


@tool(idempotent=True, quick=True)
async def tally(context: ToolContext, text: str) -> str:
    """Counts, as a local activity.

    Args:
        context: Lent by the product.
        text: What to count.
    """
    _effects().had("tally", context.effect_key, "done")
    return text


@tool(idempotent=True)
async def file_away(context: ToolContext, text: str) -> str:
    """Files something under a key that makes filing it twice the same as once.

    Args:
        context: Lent by the product.
        text: What to file.
    """
    effects = _effects()
    effects.had("file_away", context.effect_key, "begun")
    await effects.released()
    effects.had("file_away", context.effect_key, "done")
    return f"filed {text}"


@tool()
async def wire(context: ToolContext, amount: int) -> str:
    """Wires money: twice is not once.

    Args:
        context: Lent by the product.
        amount: How much.
    """
    effects = _effects()
    effects.had("wire", context.effect_key, "begun")
    await effects.released()
    effects.had("wire", context.effect_key, "done")
    return f"wired {amount}"


@tool(needs_approval=True)
async def pay(context: ToolContext, amount: int) -> str:
    """Pays what a person has approved.

    Args:
        context: Lent by the product.
        amount: How much.
    """
    _effects().had("pay", context.effect_key, "done")
    return f"paid {amount}"


TOOLS = (tally, file_away, wire, pay)
