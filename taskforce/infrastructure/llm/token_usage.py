"""Token counts as providers report them: in the OpenAI wire format, in Anthropic's, and in what LiteLLM makes of all.

What they call input and output, and what they count beside it, differs; here it becomes `TokenCounts`, whose parts are
among their wholes.
"""

from taskforce.core.domain.metering.tokens import TokenCounts
from taskforce.infrastructure.llm.call_deltas import get

MOST_TOKENS = 1_000_000_000
"""More tokens than any call can have; a provider that counts more is not believed."""

_READ = ("cache_read_input_tokens", "cached_tokens", "prompt_cache_hit_tokens")
_WRITTEN = "cache_creation_input_tokens"


def usages_of(chunk: object) -> list[object]:
    """Finds token counts where servers put them: beside the choices, in the first, or under other names.

    Args:
        chunk: A chunk of a stream, as JSON or an object of LiteLLM.
    """
    choices = get(chunk, "choices")
    first = choices[0] if isinstance(choices, list | tuple) and choices else None
    found = (get(chunk, "usage"), get(first, "usage"), get(get(chunk, "x_groq"), "usage"))
    return [usage for usage in found if usage is not None]


def counts_of(usage: object) -> TokenCounts:
    """Reads token counts.

    Args:
        usage: The provider's object; what it lacks counts as 0.
    """
    prompt = get(usage, "prompt_tokens_details") or get(usage, "input_tokens_details")
    reply = get(usage, "completion_tokens_details") or get(usage, "output_tokens_details")
    cached = max(_number(prompt, "cached_tokens"), _number(usage, *_READ))
    written = max(_number(prompt, "cache_write_tokens", "cache_creation_tokens"), _number(usage, _WRITTEN))
    return TokenCounts(
        input=_input(usage, cached + written),
        output=_output(usage, reply),
        cached=cached,
        cache_write=written,
        reasoning=_number(reply, "reasoning_tokens") or _number(usage, "reasoning_tokens"),
        audio_input=_number(prompt, "audio_tokens"),
        audio_output=_number(reply, "audio_tokens"),
    )


def larger(one: TokenCounts, other: TokenCounts) -> TokenCounts:
    """Returns the larger of each count: providers send counts once, again, or growing, and some only a part of them."""
    return TokenCounts(*(max(getattr(one, name), getattr(other, name)) for name in TokenCounts.__slots__))


def _input(usage: object, cached: int) -> int:
    """Returns the input tokens; Anthropic counts those of the cache apart, others that do are shown by their total."""
    asked = _number(usage, "prompt_tokens")
    if asked:
        beside = _number(usage, "total_tokens") == asked + cached + _number(usage, "completion_tokens")
        return asked + cached if beside else asked
    beside = _number(usage, _READ[0], _WRITTEN) > 0
    return _number(usage, "input_tokens") + (cached if beside else 0)


def _output(usage: object, details: object) -> int:
    """Returns the output tokens; some providers count reasoning apart, which only their total shows."""
    replied = _number(usage, "completion_tokens", "output_tokens")
    reasoned = _number(details, "reasoning_tokens")
    beside = _number(usage, "total_tokens") == _number(usage, "prompt_tokens") + replied + reasoned
    return replied + reasoned if reasoned and beside else replied


def _number(usage: object, *names: str) -> int:
    for name in names:
        value = get(usage, name) if usage is not None else None
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return int(min(value, MOST_TOKENS))
    return 0
