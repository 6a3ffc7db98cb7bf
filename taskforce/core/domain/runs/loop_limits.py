"""Limits of a run's loop: calls of one reply, repeated steps, and retries of a model call that fails."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from taskforce.core.domain.errors import Invalid

LOOP_RANGES = {
    "max_calls_per_reply": (1, 64),
    "max_repeated_steps": (2, 10_000),
    "model_patience_seconds": (0, 86_400),
    "model_pause_seconds": (1, 3_600),
}
"""Least and greatest value of each field of `LoopLimits`."""


@dataclass(frozen=True, slots=True)
class LoopLimits:
    """Limits of the loop that an agent's definition may set.

    Attributes:
        max_calls_per_reply: Tool calls of one reply that are executed, at most.
        max_repeated_steps: Steps in a row with the same calls and results after which the run ends.
        model_patience_seconds: Seconds from the first failure of a step's model call during which it is retried.
        model_pause_seconds: Longest pause between two retries, in seconds, unless the provider asks for more.

    Raises:
        Invalid: `limits_invalid` when a value is out of its range.
    """

    max_calls_per_reply: int = 32
    max_repeated_steps: int = 6
    model_patience_seconds: int = 900
    model_pause_seconds: int = 60

    def __post_init__(self) -> None:
        for name, (least, most) in LOOP_RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise Invalid("limits_invalid", f"{name} must be from {least} to {most}.")

    def changed(self, to: Mapping[str, int]) -> "LoopLimits":
        """Returns the limits with some replaced.

        Args:
            to: The new values by field name.

        Raises:
            Invalid: `limits_invalid`.
        """
        return replace(self, **to)
