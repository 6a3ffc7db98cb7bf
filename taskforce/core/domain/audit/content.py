"""The content of requests in the audit log: always its hash, and the text where the deployment configures it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from taskforce.core.domain.canonical_json import canonical_hash
from taskforce.core.domain.redaction import redact_document

MAX_TEXT = 4_000
"""Characters of one text within a content, at most."""
MAX_CONTENT = 12_000
"""Characters of a whole content as JSON, at most; a longer one is stored as the beginning of that JSON."""


@dataclass(frozen=True, slots=True)
class ContentRules:
    """A deployment's configuration of contents in its audit log.

    Attributes:
        included: Whether contents are stored (guide 10.1, `enterprise.audit.include_request_body`).
        secrets: Values that are redacted in any case.
    """

    included: bool = False
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def event_fields(self, content: Mapping[str, object]) -> dict[str, object]:
        """Returns the fields of an event for a content.

        Args:
            content: JSON-compatible content: a mission with its context, a message, a call's arguments.

        Returns:
            `content_sha256` over the canonical JSON of the whole, which proves later what was sent; and, where contents
            are included, `content`: redacted, its texts cut, and cut as a whole when it is large.
        """
        facts: dict[str, object] = {"content_sha256": canonical_hash(content)}
        if self.included:
            facts["content"] = _bounded(redact_document(content, self.secrets))
        return facts


def _bounded(content: object) -> object:
    short = _cut(content)
    text = json.dumps(short, sort_keys=True, ensure_ascii=False)
    return short if len(text) <= MAX_CONTENT else f"{text[: MAX_CONTENT - 1]}…"


def _cut(content: object) -> object:
    if isinstance(content, str):
        return _short(content)
    if isinstance(content, Mapping):
        return {_short(str(name)): _cut(part) for name, part in content.items()}
    return [_cut(part) for part in content] if isinstance(content, list | tuple) else content


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
