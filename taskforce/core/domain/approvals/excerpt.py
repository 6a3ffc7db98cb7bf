"""What the Temporal UI shows of the content of a request: an excerpt, bounded and redacted, where it may."""

import json
from dataclasses import dataclass, field
from typing import Final

from taskforce.core.domain.approvals.records import Request
from taskforce.core.domain.redaction import redact_document

MAX_EXCERPT: Final = 1_000
"""Characters of an excerpt, at most."""


@dataclass(frozen=True, slots=True)
class ExcerptRules:
    """A deployment's configuration of excerpts. They stand in Temporal's history.

    Attributes:
        shown: Whether a request that may be decided from the Temporal UI shows its content there.
        gateway_url: The public URL of the gateway, without a slash at the end; empty without one.
        secrets: Values that are redacted in any case.
    """

    shown: bool = True
    gateway_url: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def excerpt(self, request: Request) -> str:
        """Returns an excerpt of what was asked for, as JSON; empty where none may be shown.

        Nobody decides from the Temporal UI where signals do not count, so nothing has to be there.
        """
        if not (self.shown and request.approval.terms.signal_channel):
            return ""
        payload = request.payload
        asked = payload.get("arguments", {}) if "tool" in payload else payload
        # Redacted as a whole: half of a secret has no shape by which it could be known.
        text = json.dumps(redact_document(asked, self.secrets), ensure_ascii=False)
        rest = len(text) - MAX_EXCERPT
        return text if rest <= 0 else f"{text[:MAX_EXCERPT]}… ({rest} characters more)"
