"""Usage records: model calls, tokens and tool calls of a run's steps."""

from dataclasses import dataclass
from datetime import datetime

from taskforce.core.interfaces.llm import ModelCall


@dataclass(frozen=True, slots=True)
class UsageEntry:
    """The usage record of an effect: its key, and either model calls or a tool.

    Attributes:
        run_id: The run.
        step: Its step.
        call: 0 for the model, n for the n-th tool call.
        attempt: Temporal's attempt, from 1.
        user_id: The user on whose behalf the run acts.
        agent_id: The agent.
        at: Time of recording, UTC.
        calls: The model calls of the attempt.
        tool: Name of the tool, for a tool call.
        duration_ms: Duration of the tool call, in milliseconds.
    """

    run_id: str
    step: int
    call: int
    attempt: int
    user_id: str
    agent_id: str
    at: datetime
    calls: tuple[ModelCall, ...] = ()
    tool: str | None = None
    duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class StepUsage:
    """The model's usage in one step, all attempts together.

    Attributes:
        step: The step.
        input_tokens: Tokens of prompts, cached ones included.
        output_tokens: Tokens of replies.
        cached_tokens: Input tokens from the provider's cache.
        wasted_tokens: Tokens of calls without a usable reply.
        models: LiteLLM names of the called models, in alphabetical order.
    """

    step: int
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    wasted_tokens: int = 0
    models: tuple[str, ...] = ()
