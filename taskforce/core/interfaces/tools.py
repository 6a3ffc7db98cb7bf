"""What a tool is to the rest of the product, and what the product lends to a tool while it runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as agents, rules and workflows see it.

    Attributes:
        name: What the model calls it, `[a-z][a-z0-9_]{0,63}`.
        description: For the model; the first paragraphs of the function's docstring.
        parameters: JSON Schema (draft 2020-12) of its arguments, an object with `additionalProperties: false`.
        idempotent: Running it twice with the same arguments has the effect of running it once. One that is not is never
            run again after a crash: the model is told that its outcome is unknown.
        quick: Runs in-process in milliseconds and touches nothing outside; it becomes a local activity.
        needs_approval: A person must approve each call, whatever the agent's profile says.
        asks_person: The workflow waits for a person's next message before it runs the tool.
        timeout_seconds: Time for one attempt.
        feature: What the tenant must have been given, else the tool is neither offered nor run; None needs nothing.
    """

    name: str
    description: str
    parameters: Mapping[str, object]
    idempotent: bool = False
    quick: bool = False
    needs_approval: bool = False
    asks_person: bool = False
    timeout_seconds: float = 30.0
    feature: str | None = None


class ToolFailure(Exception):
    """Raised by a tool to tell the model something that it can act on; the text is shown to the model."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a workspace, without its content."""

    path: str
    size: int
    updated_at: datetime


class Workspace(Protocol):
    """The files of one run. There is nothing else behind it, so no path can lead out."""

    async def read(self, path: str) -> bytes:
        """Returns a file's content. Raises ToolFailure when it does not exist."""
        ...

    async def write(self, path: str, content: bytes) -> None:
        """Creates or replaces a file. Raises ToolFailure when the path or the size is not acceptable."""
        ...

    async def files(self) -> tuple[StoredFile, ...]:
        """Returns the files, ordered by path."""
        ...


class Results(Protocol):
    """The whole results of earlier calls of the same run, where the transcript only shows a part."""

    async def read(self, step: int, call: int, offset: int, length: int) -> str:
        """Returns characters `offset` to `offset + length` of a result. Raises ToolFailure when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What came back from an outbound request.

    Attributes:
        status: HTTP status code.
        headers: Response headers, names in lower case.
        body: Decoded text, cut at the client's limit.
        truncated: Whether the body was cut.
        url: The URL that answered, after redirects.
    """

    status: int
    headers: Mapping[str, str]
    body: str
    truncated: bool
    url: str


class OutboundHttp(Protocol):
    """The one way out to the network; it refuses addresses that are not public."""

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> HttpReply:
        """Sends a request.

        Raises:
            ToolFailure: The address is refused, or the server did not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool may use besides its arguments. Rights were checked before it was made.

    Attributes:
        tenant_id: The run's tenant.
        user_id: On whose behalf the run acts.
        run_id: The run.
        effect_key: `<run>/<step>/<call>`: names this effect, for receivers that honour idempotency keys.
        now: The time of the attempt, UTC.
        workspace: The run's files.
        results: Whole results of earlier calls.
        http: The guarded outbound client.
        words: What a person wrote, for a tool that asks a person.
    """

    tenant_id: str
    user_id: str
    run_id: str
    effect_key: str
    now: datetime
    workspace: Workspace
    results: Results
    http: OutboundHttp
    words: tuple[str, ...] = field(default=())


class ToolRunner(Protocol):
    """The tools that a process knows."""

    def specs(self) -> Mapping[str, ToolSpec]:
        """Every tool by its name."""
        ...

    def problems(self, name: str, arguments: object) -> tuple[str, ...]:
        """Checks arguments against the tool's JSON Schema.

        Returns:
            One sentence a problem, naming the place; empty when the arguments fit.
        """
        ...

    async def run(self, name: str, arguments: Mapping[str, object], context: ToolContext) -> object:
        """Runs the tool.

        Returns:
            A string, a `TodoList`, or anything that JSON can carry.

        Raises:
            ToolFailure: With a text that the model can act on.
        """
        ...
