"""Full-text search of agents: the tokens of an agent and of a query, and the rank of an agent.

Every token of a query must be a prefix of a token of the name, a tag or the description. English plurals match their
singulars.
"""

import re
import unicodedata
from collections.abc import Iterator

from taskforce.core.domain.catalog.agent import Description

MAX_TOKENS = 10
SEARCHED = 3_000
"""Characters of a description that are searched: the cost of a search grows with the tokens of each agent."""
MAX_TOKEN_LENGTH = 60
WEIGHTS = {"A": 1.0, "B": 0.4, "C": 0.2}
"""Weights of a token in the name, in a tag, in the description; the first three of PostgreSQL's weights."""

_TOKEN = re.compile(r"[^\W_]+")
_NOT_PLURAL = ("ss", "us", "is")
_SHORTEST_PLURAL = 4


def tokens(text: str) -> tuple[str, ...]:
    """Splits a text into tokens: letters and digits of any script, without case and accents."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(char for char in folded if not unicodedata.combining(char))
    return tuple(token[:MAX_TOKEN_LENGTH] for token in _TOKEN.findall(plain))


def stem(token: str) -> str:
    """Returns the singular of an English plural, and any other token as it is."""
    if len(token) < _SHORTEST_PLURAL or not token.endswith("s") or token.endswith(_NOT_PLURAL):
        return token
    return f"{token[:-3]}y" if token.endswith("ies") else token[:-1]


def index_of(about: Description) -> tuple[tuple[str, str], ...]:
    """Returns the tokens of an agent in alphabetical order, each with its highest weight."""
    found: dict[str, str] = {}
    # From the lowest weight to the highest: a later one replaces an earlier one.
    for weight, text in (("C", about.description[:SEARCHED]), ("B", " ".join(sorted(about.tags))), ("A", about.name)):
        for token in tokens(text):
            # Both forms, so that a query in the singular or the plural finds it.
            found |= {token: weight, stem(token): weight}
    return tuple(sorted(found.items()))


def query_tokens(question: str) -> tuple[str, ...]:
    """Returns the distinct tokens of a query in their order, `MAX_TOKENS` at most; the others are ignored."""
    return tuple(dict.fromkeys(tokens(question)))[:MAX_TOKENS]


def rank(about: Description, question: str) -> float:
    """Returns the rank of an agent for a query; 0 when it does not match, or when the query has no token."""
    index = index_of(about)
    best = [max(_matches(index, token), default=0.0) for token in query_tokens(question)]
    return sum(best) if best and all(best) else 0.0


def _matches(index: tuple[tuple[str, str], ...], term: str) -> Iterator[float]:
    beginnings = (term, stem(term))
    return (WEIGHTS[weight] for token, weight in index if token.startswith(beginnings))
