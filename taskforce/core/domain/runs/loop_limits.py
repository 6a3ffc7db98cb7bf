"""What keeps the loop of a run in bounds: calls of one reply, repeated steps, and the wait for a model that fails."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from taskforce.core.domain.errors import Invalid

LOOP_RANGES = {
    "max_calls_per_reply": (1, 64),
    "max_repeated_steps": (2, 10_000),
    "model_patience_seconds": (0, 86_400),
    "model_pause_seconds": (1, 3_600),
}
"""The least and the most of each of the `LoopLimits`."""


@dataclass(frozen=True, slots=True)
class LoopLimits:
    """Bounds of the loop that an agent's definition may set.

    Attributes:
        max_calls_per_reply: Tool calls of one reply that are run.
        max_repeated_steps: Steps in a row with the same calls and results after which the run ends.
        model_patience_seconds: Seconds, from the first failure of a step's model call, in which the call is made again.
        model_pause_seconds: Seconds at most between two such calls, unless the provider asks for more.

    Raises:
        Invalid: `limits_invalid`.
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
        """These limits, of which some are others.

        Args:
            to: The others by their names.

        Raises:
            Invalid: `limits_invalid`.
        """
        return replace(self, **to)
