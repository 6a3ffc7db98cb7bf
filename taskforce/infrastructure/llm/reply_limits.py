"""Bounds of one reply: it is untrusted input, and some models never stop."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReplyLimits:
    """Bounds on one reply. Its time is bounded by `ReplyTimes`.

    Attributes:
        calls: Tool calls; further ones are left out, and a note in the reply tells the model.
        characters: Characters of the text; likewise of the reasoning, and of the arguments of all calls together.
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
    """Returns the note in a reply that requested too many calls, so that the model reads it in its next turn.

    Args:
        most: Calls that were taken.

    Returns:
        A sentence in brackets.
    """
    return f"[Cut off here: {most} tool calls are taken from one reply. Ask for the rest in the next one.]"
