"""Token counts where a provider reports none, or an implausible one.

Short texts are counted by a tokenizer. Of a long one a sample is, so that no text, however long, holds up the event
loop for more than some milliseconds; the rest is taken to be alike.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from taskforce.core.domain.metering.tokens import TokenCounts
from taskforce.core.interfaces.llm import ChatMessage, ModelRequest
from taskforce.core.interfaces.tools import ToolSpec
from taskforce.infrastructure.llm.chat_format import wire_tools

SAMPLED_CHARACTERS = 16_000
SAMPLES = 8
IMPLAUSIBLE = 8
"""A provider that counts less than an eighth of the rough count is not believed: no tokenizer is that good."""
SMALLEST_DOUBTED = 4_000
"""Tokens by the rough count, below which a provider's count is taken as it is: little depends on it."""

HEADROOM_PERCENT = 130
"""A reserved prompt in percent of the rough count: code and numbers make more tokens than prose does."""
TOKENS_OF_MESSAGE = 8
"""Tokens of the format around each message of a reserved prompt, at most."""

_ASCII_PER_TOKEN = 4
_OTHER_PER_TOKEN = 1.4

Encode = Callable[[str], Sequence[int]]


def rough_tokens(*texts: str) -> int:
    """Estimates tokens from characters: four of ASCII make one, one of another script is two thirds of one.

    Args:
        texts: The texts; each length of text costs the same few nanoseconds a character.

    Returns:
        Tokens.
    """
    ascii_only, other = 0, 0
    for text in texts:
        plain = len(text) if text.isascii() else len(text.encode("ascii", "ignore"))
        ascii_only += plain
        other += len(text) - plain
    # Rounded up, so that no text counts as nothing.
    return -int(-(ascii_only / _ASCII_PER_TOKEN + other / _OTHER_PER_TOKEN) // 1)


class TokenCounter:
    """Counts tokens.

    Args:
        encode: A tokenizer; None counts by characters.
    """

    def __init__(self, encode: Encode | None = None) -> None:
        self._encode = encode

    def count(self, *texts: str) -> int:
        """Counts the tokens of texts together.

        Args:
            texts: The texts.

        Returns:
            Tokens: counted for up to 16,000 characters, extrapolated from eight places beyond them.
        """
        if self._encode is None:
            return rough_tokens(*texts)
        whole = "\n".join(texts) if sum(map(len, texts)) else ""
        sample = whole if len(whole) <= SAMPLED_CHARACTERS else _sample(whole)
        tokens = len(self._encode(sample.encode("utf-8", "replace").decode()))
        return tokens if sample is whole else -(-tokens * len(whole) // len(sample))

    def complete(self, counted: TokenCounts, asked: Sequence[str], said: Sequence[str]) -> tuple[TokenCounts, bool]:
        """Completes a provider's counts by ours where it has none, or an implausible one.

        Args:
            counted: The provider's counts.
            asked: The texts of the request.
            said: The texts of the reply.

        Returns:
            The counts, and whether any is ours.
        """
        prompt, reply = self.believed(counted.input, *asked), self.believed(counted.output, *said)
        return replace(counted, input=prompt, output=reply), (prompt, reply) != (counted.input, counted.output)

    def believed(self, counted: int, *texts: str) -> int:
        """Returns a provider's count, unless there is none or it is far too low.

        Args:
            counted: The provider's count; 0 where it reports none.
            texts: The texts that were counted.

        Returns:
            The larger of its count and ours where its own is missing or implausible, else its own.
        """
        if counted:
            rough = rough_tokens(*texts)
            if rough < SMALLEST_DOUBTED or counted * IMPLAUSIBLE >= rough:
                return counted
        return max(counted, self.count(*texts))


def _sample(text: str) -> str:
    length = SAMPLED_CHARACTERS // SAMPLES
    apart = (len(text) - length) / (SAMPLES - 1)
    return "".join(text[round(place * apart) :][:length] for place in range(SAMPLES))


def request_texts(messages: Iterable[ChatMessage], tools: Iterable[ToolSpec]) -> list[str]:
    """Collects the texts of a request that count as tokens.

    Args:
        messages: The conversation.
        tools: The tools on offer; their schemas are part of the prompt.

    Returns:
        Its texts.
    """
    texts: list[str] = []
    for message in messages:
        texts.append(message.content)
        texts += [call.name + call.arguments for call in message.tool_calls]
    return texts + [json.dumps(tool) for tool in wire_tools(tools)]


def prompt_bound(request: ModelRequest) -> int:
    """Estimates how many tokens the prompt of a request may have at most; fulfils `PromptBound`."""
    counted = rough_tokens(*request_texts(request.messages, request.tools))
    return -(-counted * HEADROOM_PERCENT // 100) + TOKENS_OF_MESSAGE * len(request.messages)
