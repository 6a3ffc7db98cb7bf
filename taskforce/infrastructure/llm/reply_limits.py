"""How much of one reply is taken: a model's reply is somebody else's input, and models do run away."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReplyLimits:
    """Bounds on one reply. The time of a reply is bounded by `ModelRequest.timeout_seconds`.

    Attributes:
        calls: Tool calls; what comes beyond them is left out, and the model is told so.
        characters: Of the words; likewise of the reasoning, and of the arguments of all calls together.
        wire_bytes: Bytes of the whole body, whatever they hold.
        idle_bytes: Bytes that come between two chunks of the reply.
        idle_chunks: Chunks that add nothing to the reply.
        event_bytes: Bytes of one event of a stream.
        document_bytes: Bytes of a reply that is one JSON document.
        error_bytes: Bytes that are read of a refusal.
    """

    calls: int = 64
    characters: int = 500_000
    wire_bytes: int = 64_000_000
    idle_bytes: int = 2_000_000
    idle_chunks: int = 10_000
    event_bytes: int = 2_000_000
    document_bytes: int = 4_000_000
    error_bytes: int = 64_000


DEFAULT_LIMITS = ReplyLimits()


def calls_note(most: int) -> str:
    """What stands in the words of a reply that asked for more calls than are taken, so that the model reads it.

    Args:
        most: Calls that were taken.

    Returns:
        A sentence in brackets.
    """
    return f"[Cut off here: {most} tool calls are taken from one reply. Ask for the rest in the next one.]"
