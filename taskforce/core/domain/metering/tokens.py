"""Token counts of a model call, and their disjoint parts, which a price is applied to."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class TokenPart(StrEnum):
    """A part of the tokens of a call; no token is in two of them."""

    INPUT = "input"
    """Text of the prompt that came from no cache and was written to none."""
    CACHED = "cached"
    """Tokens of the prompt that the provider read from its cache."""
    CACHE_WRITE = "cache_write"
    """Tokens of the prompt that the provider wrote to its cache."""
    AUDIO_INPUT = "audio_input"
    """Audio of the prompt, outside the cache."""
    OUTPUT = "output"
    """Text of the reply, with its tool calls."""
    REASONING = "reasoning"
    """Reasoning before the reply."""
    AUDIO_OUTPUT = "audio_output"
    """Audio of the reply."""


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of a call, or of several together. A part that would exceed its whole is cut to it; none is negative.

    Attributes:
        input: All tokens of the prompt.
        output: All tokens of the reply.
        cached: Of the input: those read from the provider's cache.
        cache_write: Of the input: those written to the provider's cache.
        reasoning: Of the output: reasoning.
        audio_input: Of the input: audio.
        audio_output: Of the output: audio.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0

    def __post_init__(self) -> None:
        for whole, parts in _PARTS.items():
            left = max(getattr(self, whole), 0)
            object.__setattr__(self, whole, left)
            for name in parts:
                part = min(max(getattr(self, name), 0), left)
                object.__setattr__(self, name, part)
                left -= part

    @property
    def total(self) -> int:
        """Returns input and output together."""
        return self.input + self.output

    def parts(self) -> Mapping[TokenPart, int]:
        """Returns the disjoint parts, all of them; they add up to `total`."""
        return {
            TokenPart.INPUT: self.input - self.cached - self.cache_write - self.audio_input,
            TokenPart.CACHED: self.cached,
            TokenPart.CACHE_WRITE: self.cache_write,
            TokenPart.AUDIO_INPUT: self.audio_input,
            TokenPart.OUTPUT: self.output - self.reasoning - self.audio_output,
            TokenPart.REASONING: self.reasoning,
            TokenPart.AUDIO_OUTPUT: self.audio_output,
        }

    def __add__(self, other: "TokenCounts") -> "TokenCounts":
        """Returns the counts of both together."""
        return TokenCounts(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


# In this order a provider's parts are believed: tokens of cached audio are counted as cached, which is their price.
_PARTS = {"input": ("cached", "cache_write", "audio_input"), "output": ("reasoning", "audio_output")}

NO_TOKENS = TokenCounts()
