"""The prices of LiteLLM's bundled map, read as a file: the library itself is not imported, which takes seconds.

The rules by which a model's name leads to an entry are LiteLLM's own (`get_model_info` there); a test compares both.
"""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from sys import intern
from threading import Lock
from typing import Final

import structlog

from taskforce.core.domain.metering.money import plain, product
from taskforce.core.domain.metering.prices import FREE, Price, PriceTier, TokenPrices
from taskforce.core.domain.metering.tokens import TokenPart
from taskforce.infrastructure.llm.model_selection import OFFLINE_MODEL

_log = structlog.get_logger(__name__)

FILE: Final = "model_prices_and_context_window_backup.json"
CURRENCY: Final = "USD"
MOST_FIELDS: Final = 1_000
"""Fields of an entry at most; an object with more is the map itself."""
ZERO: Final = "LiteLLM's map has zeros in place of a price, which it also has where it knows none."

_KEYS: Final[Mapping[str, TokenPart]] = {
    "input_cost_per_token": TokenPart.INPUT,
    "cache_read_input_token_cost": TokenPart.CACHED,
    "cache_creation_input_token_cost": TokenPart.CACHE_WRITE,
    "input_cost_per_audio_token": TokenPart.AUDIO_INPUT,
    "output_cost_per_token": TokenPart.OUTPUT,
    "output_cost_per_reasoning_token": TokenPart.REASONING,
    "output_cost_per_audio_token": TokenPart.AUDIO_OUTPUT,
}
_NOT_COUNTED: Final[Mapping[str, str]] = {
    "input_cost_per_image": "An image of the prompt",
    "output_cost_per_image": "An image of the reply",
    "input_cost_per_second": "A second of the prompt",
    "output_cost_per_second": "A second of the reply",
    "input_cost_per_audio_per_second": "A second of audio of the prompt",
    "input_cost_per_video_per_second": "A second of video of the prompt",
    "input_cost_per_character": "A character of the prompt",
    "input_cost_per_query": "A query",
}
_TIER: Final = re.compile(rf"({'|'.join(_KEYS)})_above_(\d{{1,6}})(k?)_tokens")
_LONGEST: Final = ("max_output_tokens", "max_tokens")
"""Fields that say how long a reply may be, the one that says it best first."""
_ALSO: Final = frozenset({"litellm_provider", "mode", "tiered_pricing", "range", "off_peak_pricing", *_LONGEST})
_NO_REPLY: Final = frozenset({"embedding", "rerank", "moderation"})
_LOCAL: Final = frozenset({"ollama", "ollama_chat", "lemonade", "llamafile", "lm_studio"})
"""Providers that run on one's own machine, where zero is the price, and not a gap of the map."""
_INCLUSIVE: Final = frozenset({"xai"})
"""Providers whose tier begins with a prompt of its size, not above it."""
_HALF_WHEN_CACHED: Final = frozenset({"fireworks_ai"})
"""Providers that charge half for cached tokens where the map says nothing, as LiteLLM has it."""
_FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "vertex_ai": ("vertex_ai",),
    "vertex_ai_beta": ("vertex_ai",),
    "fireworks_ai": ("fireworks_ai",),
    "bedrock": ("bedrock",),
    "bedrock_converse": ("bedrock",),
    "azure_ai": ("azure_ai", "azure", "openai"),
    "github": ("",),
    "litellm_proxy": ("",),
}
"""Beginnings of the providers whose entries count for a provider, where not only its own do."""
_ROUTES: Final = ("converse/", "invoke/", "chat_completions/", "mantle/", "openai/")
_REGION: Final = re.compile(r"(?:global|us|eu|apac|jp|au|us-gov)\.|[a-z]{2}(?:-gov)?-[a-z]+-\d/")
_THROUGHPUT: Final = re.compile(r":\d+k$")

Entry = Mapping[str, object]


class PriceMap:
    """The bundled prices.

    Args:
        entries: Those fields of the map's entries that prices are made of, by model.
        source: Where prices of it come from, as `Price.source`.
    """

    def __init__(self, entries: Mapping[str, Entry], source: str) -> None:
        self._entries = entries
        self._source = source
        self._lower = {name.lower(): name for name in entries}
        self._prices: dict[str, Price | None] = {}

    def key(self, model: str) -> str | None:
        """Returns the name of the entry that LiteLLM takes for a model; None where there is none."""
        if model == OFFLINE_MODEL:
            return OFFLINE_MODEL
        provider = model.partition("/")[0] if "/" in model else None
        for name in _candidates(model):
            key = name if name in self._entries else self._lower.get(name.lower())
            if key is not None and _serves(provider, str(self._entries[key].get("litellm_provider", ""))):
                return key
        return None

    def price(self, model: str) -> Price | None:
        """Returns the price of a model; None where the map does not know it, or knows no price by tokens."""
        key = self.key(model)
        if key is None:
            return None
        if key not in self._prices:
            # Made when it is first asked for: of thousands of entries an installation uses a few.
            self._prices[key] = self._made(key)
        return self._prices[key]

    def notes(self, model: str) -> tuple[str, ...]:
        """Returns what a cost by the map leaves out, or why it has no price, for people."""
        key = self.key(model)
        entry = {} if key is None else self._entries.get(key, {})
        amounts = ((what, _amount(entry, name)) for name, what in _NOT_COUNTED.items())
        notes = [f"{what} costs {plain(one)} {CURRENCY} besides; it is not counted." for what, one in amounts if one]
        if "off_peak_pricing" in entry:
            notes.append("It is cheaper at some hours of the day; all are counted at the price of the others.")
        if entry and _is_zero(entry) and not _is_local(entry):
            notes.append(ZERO)
        return tuple(notes)

    def max_reply(self, model: str) -> int | None:
        """Returns how many tokens a model's reply may have; None where the map does not say."""
        key = self.key(model)
        entry = {} if key is None else self._entries.get(key, {})
        counts = (entry.get(name) for name in _LONGEST)
        return next((one for one in counts if isinstance(one, int) and one > 0), None)

    def nearest(self, model: str) -> str | None:
        """Returns the name that is most like a mistyped one, as it is written in calls; None where none is like it.

        It compares with thousands of names, for some ten milliseconds.
        """
        text = model[:200].lower()
        close = get_close_matches(text, names := self._written_as(text), n=1, cutoff=0.75)
        return names[close[0]] if close else None

    def _written_as(self, text: str) -> Mapping[str, str]:
        """Returns the names that a text may be meant for, by their small letters, in the form that the text has."""
        if "/" not in text:
            return {low: name for low, name in self._lower.items() if "/" not in low}
        provider = text.partition("/")[0]
        owners = {name: str(entry.get("litellm_provider", "")) for name, entry in self._entries.items()}
        own = [name for name, owner in owners.items() if owner and _serves(provider, owner)]
        bare = (name.removeprefix(f"{provider}/") for name in own)
        # With a provider that does not exist, it is the provider's name that is mistyped.
        written = [f"{provider}/{one}" for one in bare] or [f"{owners[one]}/{one}" for one in owners if "/" not in one]
        return {name.lower(): name for name in written}

    def _made(self, key: str) -> Price | None:
        if key == OFFLINE_MODEL:
            zero = TokenPrices({TokenPart.INPUT: Decimal(0), TokenPart.OUTPUT: Decimal(0)})
            return Price(OFFLINE_MODEL, CURRENCY, zero, FREE)
        entry = self._entries[key]
        tokens = _token_prices(entry)
        if tokens is None or (_is_zero(entry) and not _is_local(entry)):
            return None
        source = FREE if _is_zero(entry) else self._source
        return Price(key, CURRENCY, tokens, source, notes=self.notes(key))


def _candidates(model: str) -> Iterator[str]:
    """Yields the names under which LiteLLM looks for a model, the most specific first."""
    yield model
    provider, slash, rest = model.partition("/")
    if not slash:
        yield _stripped("", model)
        return
    if provider.startswith("bedrock"):
        for route in _ROUTES:
            rest = rest.removeprefix(route)
    bare = _stripped(provider, rest)
    yield from (rest, f"{provider}/{bare}", bare, f"{provider}/{model}")


def _stripped(provider: str, name: str) -> str:
    """Strips what LiteLLM strips of a name: a version, a region, or the owner of a fine-tuned model."""
    if provider.startswith("bedrock"):
        bare = _THROUGHPUT.sub("", name.rpartition("/")[2] if "arn" in name.lower() else name)
        return _REGION.sub("", bare, count=1) if _REGION.match(bare) else bare
    if provider in {"vertex_ai", "vertex_ai_beta", "gemini", "databricks"}:
        return re.sub(r"-\d+$", "", name)
    if "ft:" in name:
        return re.sub(r"(:[^:]*){3}$", "", name)
    return re.sub(r"-\d{4}-\d{2}-\d{2}$", "", name)


def _serves(provider: str | None, owner: str) -> bool:
    return provider is None or owner in {"", provider} or owner.startswith(_FAMILIES.get(provider, (f"{provider}\0",)))


def _token_prices(entry: Entry) -> TokenPrices | None:
    steps = entry.get("tiered_pricing")
    ranged = [one for one in steps if isinstance(one, Mapping) and "range" in one] if isinstance(steps, list) else []
    if ranged:
        return _stepped(entry, ranged)
    prices = _parts(entry)
    if entry.get("mode") in _NO_REPLY:
        prices.setdefault(TokenPart.OUTPUT, Decimal(0))
    if not {TokenPart.INPUT, TokenPart.OUTPUT} <= prices.keys():
        return None
    return TokenPrices(prices, _tiers(entry))


def _parts(entry: Entry) -> dict[TokenPart, Decimal]:
    found = {part: _amount(entry, key) for key, part in _KEYS.items()}
    if entry.get("litellm_provider") in _HALF_WHEN_CACHED and found[TokenPart.CACHED] is None:
        found[TokenPart.CACHED] = product(found[TokenPart.INPUT] or Decimal(0), Decimal("0.5"))
    return {part: price for part, price in found.items() if price is not None}


def _tiers(entry: Entry) -> tuple[PriceTier, ...]:
    tiers: dict[int, dict[TokenPart, Decimal]] = {}
    for key in entry:
        tier, price = _TIER.fullmatch(key), _amount(entry, key)
        if tier is not None and price is not None:
            above = int(tier[2]) * (1_000 if tier[3] else 1) - (entry.get("litellm_provider") in _INCLUSIVE)
            tiers.setdefault(above, {})[_KEYS[tier[1]]] = price
    return tuple(PriceTier(above, prices) for above, prices in sorted(tiers.items()))


def _stepped(entry: Entry, steps: Sequence[Entry]) -> TokenPrices | None:
    """Reads the other form of tiers: each has a range, and takes over nothing of the one below it."""
    own = _amount(entry, "output_cost_per_token")
    tiers = []
    for step in steps:
        prices = _parts(step)
        output = prices.get(TokenPart.OUTPUT, own)
        if TokenPart.INPUT not in prices or output is None:
            return None
        inputs = dict.fromkeys((TokenPart.INPUT, TokenPart.CACHED, TokenPart.CACHE_WRITE), prices[TokenPart.INPUT])
        outputs = dict.fromkeys((TokenPart.OUTPUT, TokenPart.REASONING), output)
        begins = step["range"][0] if isinstance(step["range"], list) and step["range"] else 0
        tiers.append(PriceTier(int(begins), {**inputs, **outputs, **prices}))
    first, *others = sorted(tiers, key=lambda one: one.above)
    return TokenPrices(first.prices, tuple(others))


def _amount(entry: Entry, key: str) -> Decimal | None:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        return None
    amount = Decimal(value)
    return amount if amount.is_finite() and amount >= 0 else None


def _is_zero(entry: Entry) -> bool:
    tokens = _token_prices(entry)
    if tokens is None:
        return False
    levels = [tokens.prices, *(tier.prices for tier in tokens.tiers)]
    return not any(any(prices.values()) for prices in levels)


def _is_local(entry: Entry) -> bool:
    return entry.get("litellm_provider") in _LOCAL


_reading: Final = Lock()
_read: list[PriceMap] = []


def read_price_map() -> PriceMap:
    """Reads the bundled map, once in a process; it blocks for a tenth of a second.

    Returns:
        The map; one without entries where LiteLLM is not installed, or has no such file.
    """
    with _reading:
        if not _read:
            # It does not change while the process runs.
            _read.append(_parsed())
        return _read[0]


class BundledPrices:
    """Hands out the bundled map; fulfils `PriceCatalog`."""

    async def load(self) -> PriceMap:
        """Returns the map, which is read in a thread when it is first asked for."""
        return _read[0] if _read else await asyncio.to_thread(read_price_map)


def _parsed() -> PriceMap:
    # Found, not imported: `find_spec` runs no code of the package.
    spec = find_spec("litellm")
    path = Path(spec.origin).with_name(FILE) if spec is not None and spec.origin is not None else None
    try:
        release = version("litellm")
        text = (path or Path(FILE)).read_text(encoding="utf-8")
        entries = json.loads(text, parse_float=Decimal, object_pairs_hook=_kept)
    except (OSError, ValueError, PackageNotFoundError):
        _log.warning("prices.no_bundled_map", path=str(path))
        return PriceMap({}, "litellm")
    models = {name: one for name, one in entries.items() if isinstance(one, dict) and name != "sample_spec"}
    return PriceMap(models, f"litellm:{release}")


def _kept(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # The outermost object has the models' names as keys; of an entry only what prices are made of is kept.
    if len(pairs) > MOST_FIELDS:
        return dict(pairs)
    return {
        intern(key): intern(value) if isinstance(value, str) else value for key, value in pairs if _is_price_field(key)
    }


@cache
def _is_price_field(key: str) -> bool:
    return key in _KEYS or key in _ALSO or key in _NOT_COUNTED or _TIER.fullmatch(key) is not None
