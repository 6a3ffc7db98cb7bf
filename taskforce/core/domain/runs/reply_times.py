"""Time limits of a model's reply: until its first token, between two tokens, and in all."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from taskforce.core.domain.errors import Invalid

FIRST_TOKEN, BETWEEN_TOKENS, WHOLE_REPLY = "first_token_seconds", "between_tokens_seconds", "reply_seconds"
REPLY_TIME_NAMES = (FIRST_TOKEN, BETWEEN_TOKENS, WHOLE_REPLY)
LONGEST_REPLY = 86_400
"""Greatest value of each, in seconds."""
MOST_PATTERNS = 50
MODEL_TIMES = "models"
"""Key of the limits of single models, beside the three that are for all."""


@dataclass(frozen=True, slots=True)
class ReplyTimes:
    """Time limits of one reply of one model. Text, reasoning and pieces of tool calls are tokens.

    Attributes:
        first_token_seconds: Seconds from the request to the first token.
        between_tokens_seconds: Seconds between two tokens.
        reply_seconds: Seconds of the whole reply; the only one for a model that does not stream.
    """

    first_token_seconds: float = 300
    between_tokens_seconds: float = 180
    reply_seconds: float = 1_800


@dataclass(frozen=True, slots=True)
class ReplyTimeSettings:
    """Time limits that a profile or an agent's definition sets.

    Attributes:
        general: Seconds by the names of `ReplyTimes`, for every model.
        models: The same by patterns of LiteLLM names such as `ollama/*`; the last one that fits counts.

    Raises:
        Invalid: `limits_invalid` when a name is unknown or a value out of its range.
    """

    general: Mapping[str, int] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for values in (self.general, *self.models.values()):
            for name, value in values.items():
                if name not in REPLY_TIME_NAMES or not 1 <= value <= LONGEST_REPLY:
                    names = ", ".join(REPLY_TIME_NAMES)
                    raise Invalid("limits_invalid", f"{names} must be from 1 to {LONGEST_REPLY}; no other name.")

    def of(self, model: str) -> dict[str, int]:
        """Returns what is set for a model, by its LiteLLM name."""
        found = dict(self.general)
        for pattern, values in self.models.items():
            if fnmatchcase(model, pattern):
                found |= values
        return found


def reply_times(
    models: Collection[str], deployment: ReplyTimeSettings, agent: ReplyTimeSettings, most: int
) -> dict[str, ReplyTimes]:
    """Resolves the time limits of a run's models: the agent's before the deployment's, and within its maximum.

    Args:
        models: LiteLLM names.
        deployment: What the deployment's profile sets.
        agent: What the agent's definition sets.
        most: Greatest value, in seconds, that an agent's definition is given.
    """
    return {
        model: ReplyTimes(
            **{**deployment.of(model), **{name: min(value, most) for name, value in agent.of(model).items()}}
        )
        for model in models
    }


def longest_call(times: Collection[ReplyTimes]) -> int:
    """Returns the seconds that a call of models in turn may take at most: each may be asked twice."""
    return round(sum(2 * one.reply_seconds for one in times))
