"""What a step of a run used: calls, tokens, money."""

from dataclasses import dataclass
from datetime import datetime

from taskforce.core.interfaces.llm import ModelCall


@dataclass(frozen=True, slots=True)
class UsageEntry:
    """What an effect used: its key, and either the calls to models or the tool that ran.

    Attributes:
        run_id: The run.
        step: Its step.
        call: 0 for the model, n for the n-th tool call.
        attempt: Temporal's attempt, from 1.
        user_id: On whose behalf.
        agent_id: Which agent.
        at: When it was recorded.
        calls: The model calls of the attempt.
        tool: The tool that ran, for a tool call.
        duration_ms: Milliseconds that the tool took.
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
    """What the model used in one step, all attempts together.

    Attributes:
        step: The step.
        input_tokens: Of prompts, cached ones included.
        output_tokens: Of replies.
        cached_tokens: Those input tokens that came from the provider's cache.
        wasted_tokens: Those of calls that brought no usable reply.
        models: LiteLLM names that were called, in alphabetical order.
    """

    step: int
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    wasted_tokens: int = 0
    models: tuple[str, ...] = ()
