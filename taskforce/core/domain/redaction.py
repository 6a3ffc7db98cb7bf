"""Takes secrets out of texts that leave the place where they arose.

Error texts of libraries quote URLs, headers and settings, and go on to models, logs and transcripts. What is known to
be a secret is removed by its value, the rest by its shape. A shape errs on the side of removing too much.
"""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

MASK = "***"
SHORTEST_SECRET = 4

_VALUE = r"""(?:"[^"\n]*"|'[^'\n]*'|(?:(?:bearer|basic|token|digest)\s+)?[^\s"'&,;]+)"""
_NAMES = (
    r"api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|account[_-]?key|secret|token|password|passwd|pwd|"
    r"passphrase|authorization|credentials?|cookie|signature|sig"
)

_SECRETS_NAME = re.compile(rf"(?i)(?:{_NAMES})s?$")

# Each pattern starts at a place that no other start shares, so that a hostile text costs no more than linear time.
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?s)-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:.*?-----END [A-Z ]{0,40}PRIVATE KEY-----|.*)"), MASK),
    (re.compile(r"://[^\s/?#]*@"), f"://{MASK}@"),
    (re.compile(rf"""(?i)(?<![\w-])([\w-]{{0,40}}(?:{_NAMES})["']?\s{{0,4}}[:=]\s{{0,4}}){_VALUE}"""), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(bearer\s{1,4})[a-z0-9._~+/=-]{8,}"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(basic\s{1,4})(?=[a-z]{0,200}[0-9+/=])[a-z0-9+/=]{8,}"), rf"\1{MASK}"),
    (re.compile(r"(?<![\w-])eyJ[\w-]{4,}\.[\w-]{4,}(?:\.[\w-]*){0,3}"), MASK),
    (re.compile(r"(?<![\w-])(?:sk|pk|rk|tf|whsec)[-_][\w-]{8,}"), MASK),
    (
        re.compile(r"(?<!\w)(?:gh[a-z]_|github_pat_|glpat-|xox[a-z]-|hf_|gsk_|npm_|pypi-|AIza|AKIA|ASIA)[\w-]{12,}"),
        MASK,
    ),
)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Removes secrets from a text.

    Args:
        text: For example an error's message.
        secrets: Values known to be secret, as they are; those under four characters are left, for they would match
            everywhere.

    Returns:
        The text with `***` in place of each known value (also where it is percent-encoded), and of what is shaped
        like a secret: bearer and basic credentials, API keys by their usual prefixes, signed tokens, private keys,
        passwords in URLs, and values of names such as `api_key` or `password`.
    """
    for known in sorted(_spellings(secrets), key=lambda value: (-len(value), value)):
        text = text.replace(known, MASK)
    for shape, replacement in _SHAPES:
        text = shape.sub(replacement, text)
    return text


def redact_document(document: object, secrets: Iterable[str] = ()) -> object:
    """Removes secrets from JSON-compatible data, however deep.

    Args:
        document: The data, of bounded depth.
        secrets: Values known to be secret; see `redact`.

    Returns:
        The data with all texts and names redacted, and `***` in place of what stands under a name such as `api_key` or
        `password`, whatever it is.
    """
    known = tuple(secrets)
    if isinstance(document, str):
        return redact(document, known)
    if isinstance(document, Mapping):
        return {redact(str(name), known): _member(str(name), part, known) for name, part in document.items()}
    return [redact_document(part, known) for part in document] if isinstance(document, list | tuple) else document


def _member(name: str, value: object, known: tuple[str, ...]) -> object:
    hidden = _SECRETS_NAME.search(name) and not isinstance(value, bool | None)
    return MASK if hidden else redact_document(value, known)


def _spellings(secrets: Iterable[str]) -> set[str]:
    known = {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}
    return known | {quote(secret, safe="") for secret in known}
