"""What the product lends to a tool, kept in memory."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from taskforce.core.interfaces.tools import (
    HttpReply,
    OutboundHttp,
    Results,
    StoredFile,
    ToolContext,
    ToolFailure,
    Workspace,
)
from taskforce.infrastructure.tools.registry import ToolRegistry

NOW = dt.datetime(2026, 3, 1, 23, 30, tzinfo=dt.UTC)
BUILTIN = ToolRegistry.discover()


@dataclass
class Files:
    stored: dict[str, bytes] = field(default_factory=dict)

    async def read(self, path: str) -> bytes:
        if path not in self.stored:
            raise ToolFailure(f"There is no file {path}.")
        return self.stored[path]

    async def write(self, path: str, content: bytes) -> None:
        self.stored[path] = content

    async def files(self) -> tuple[StoredFile, ...]:
        return tuple(StoredFile(path, len(content), NOW) for path, content in sorted(self.stored.items()))


@dataclass
class Whole:
    texts: Mapping[tuple[int, int], str] = field(default_factory=dict)

    async def read(self, step: int, call: int, offset: int, length: int) -> str:
        if (step, call) not in self.texts:
            raise ToolFailure(f"There is no result of call {call} in step {step}.")
        return self.texts[step, call][offset : offset + length]


@dataclass
class Postbox:
    reply: HttpReply = field(default_factory=lambda: HttpReply(200, {}, "", truncated=False, url="http://example.com/"))
    sent: list[tuple[str, str, Mapping[str, str] | None, bytes | None]] = field(default_factory=list)

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> HttpReply:
        self.sent.append((method, url, headers, body))
        return self.reply


def lent(
    *,
    workspace: Workspace | None = None,
    results: Results | None = None,
    http: OutboundHttp | None = None,
    words: tuple[str, ...] = (),
) -> ToolContext:
    return ToolContext(
        tenant_id="acme-corp",
        user_id="alice",
        run_id="r1",
        effect_key="r1/2/1",
        now=NOW,
        workspace=workspace or Files(),
        results=results or Whole(),
        http=http or Postbox(),
        words=words,
    )


async def call(name: str, context: ToolContext | None = None, **arguments: object) -> object:
    """Calls a built-in tool as a run does: checks first."""
    assert BUILTIN.problems(name, arguments) == ()
    return await BUILTIN.run(name, arguments, context or lent())
