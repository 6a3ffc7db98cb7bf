"""Redaction of secrets in texts for models, logs and transcripts.

Error texts of libraries quote URLs, headers and settings. Known secrets are removed by value, others by shape. A shape
errs on the side of removing too much, but never an id, by which logs and audit are read. So a vendor's prefix alone
makes no key (`sk-customers` is a slug), and the name before the colon of one of our own ids (`acme-token:run:<uuid>`)
makes what follows no secret. Where that name is nothing but a secret's (`cookie`, `auth_token`), only an id with a UUID
is one of ours.
"""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

MASK = "***"
SHORTEST_SECRET = 4

# Within JSON that is a text of other JSON, quotes have backslashes before them, on both sides as many.
_ESCAPED = r"""(?P<slashes>\\{1,15})(?P<quote>["'])[^\n]*?(?:(?<!\\)(?P=slashes)(?P=quote)|(?=\n|\Z))"""
_COLON = r"""(?:\\{0,15}["'])?\s{0,4}[:=]\s{0,4}"""
_VALUE = rf"""(?:{_ESCAPED}|"[^"\n]*"|'[^'\n]*'|(?:(?:bearer|basic|token|digest)\s+)?[^\s"'&,;]+)"""
_NAMES = (
    r"api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|account[_-]?key|secret|token|password|passwd|pwd|"
    r"passphrase|authorization|credentials?|cookie|signature"
)
# `sig` also ends ordinary words and ids, so it counts alone or after an underscore only.
_SIG = r"(?:[\w-]{0,40}_)?sig"
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_QUALIFIERS = (
    r"access|api|app|auth|bearer|client|csrf|database|db|http|id|login|proxy|refresh|root|secret|session|set|user|"
    r"webhook|www|x|xsrf"
)
_ALONE = rf"(?<![\w.-])(?:(?:{_QUALIFIERS})[_-]?){{0,3}}(?:{_NAMES})"
_END = r"""(?=[\s"'\\,;)\]}>]|\.?(?:\s|$))"""
_UUID_IDS = rf":(?:run|approval|delivery):{_UUID}"
_OUR_IDS = rf"(?:{_UUID_IDS}|:(?:deletion|session-[A-Za-z0-9._-]{{1,100}}|[0-9]{{1,18}}:[0-9a-f]{{64}}){_END})"
_MIXED = r"(?=[\w-]{0,60}[A-Z])(?=[\w-]{0,60}[a-z])(?=[\w-]{0,60}[0-9])[\w-]{12,}"
_UNBROKEN = r"(?:[a-z0-9]{1,10}[_-]){0,3}(?=[A-Za-z]{0,60}[0-9])[A-Za-z0-9]{16,}[\w-]*"

_SECRETS_NAME = re.compile(rf"(?i)(?:(?:{_NAMES})s?|(?:^|_)sig)$")
_COUNTS_NAME = re.compile(r"(?i)tokens$")

# No two matches of a pattern can start at the same place, which keeps hostile texts at linear time (ReDoS).
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?s)-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:.*?-----END [A-Z ]{0,40}PRIVATE KEY-----|.*)"), MASK),
    (re.compile(r"://[^\s/?#]*@"), f"://{MASK}@"),
    (
        re.compile(
            rf"(?i)(?<![\w-])((?:{_ALONE}(?!{_UUID_IDS})|[\w-]{{0,40}}(?:{_NAMES})(?!{_OUR_IDS})){_COLON}){_VALUE}"
        ),
        rf"\1{MASK}",
    ),
    (
        re.compile(rf"""(?i)(?<![\w-])({_SIG}(?:\\{{0,15}}["']\s{{0,4}}[:=]|\s{{0,4}}=)\s{{0,4}}){_VALUE}"""),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?i)\b(bearer\s{1,4})[a-z0-9._~+/=-]{8,}"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(basic\s{1,4})(?=[a-z]{0,200}[0-9+/=])[a-z0-9+/=]{8,}"), rf"\1{MASK}"),
    (re.compile(r"(?<![\w-])eyJ[\w-]{4,}\.[\w-]{4,}(?:\.[\w-]*){0,3}"), MASK),
    (re.compile(rf"(?<![\w-])[spr]k[-_](?:{_MIXED}|{_UNBROKEN})"), MASK),
    (re.compile(rf"(?i)(?<![\w-])[spr]k-[a-z]{{2,4}}-{_UUID}"), MASK),
    (re.compile(r"(?<![\w-])tf_[0-9A-Za-z]{32,}"), MASK),
    (re.compile(r"(?<![\w-])whsec_[0-9A-Za-z+/=]{24,}"), MASK),
    (
        re.compile(
            r"(?<!\w)(?:gh[a-z]_[0-9A-Za-z]{16,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[a-z]-[\w-]{12,}|"
            r"(?:hf|gsk|npm)_[0-9A-Za-z]{20,}|pypi-AgE[\w-]{12,}|AIza[\w-]{30,}|(?:AKIA|ASIA)[0-9A-Z]{12,})"
        ),
        MASK,
    ),
)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Redacts secrets in a text.

    Args:
        text: The text, for example an error's message.
        secrets: Known secret values; those under four characters are ignored, for they would match everywhere.

    Returns:
        The text with `***` in place of each known value (also where it is percent-encoded), and of what is shaped
        like a secret: bearer and basic credentials, API keys by their usual prefixes, signed tokens, private keys,
        passwords in URLs, and values of names such as `api_key` or `password`.
    """
    # Longest first, or a secret that contains another would be redacted in part only.
    for known in sorted(_spellings(secrets), key=lambda value: (-len(value), value)):
        text = text.replace(known, MASK)
    for shape, replacement in _SHAPES:
        text = shape.sub(replacement, text)
    return text


def redact_document(document: object, secrets: Iterable[str] = ()) -> object:
    """Redacts secrets in JSON-compatible data at any depth.

    Args:
        document: The data, of bounded depth.
        secrets: Known secret values; see `redact`.

    Returns:
        The data with all texts and names redacted, and `***` in place of any value under a name such as `api_key` or
            `password`; a number under `max_tokens` and the like is a count, and stays.
    """
    known = tuple(secrets)
    if isinstance(document, str):
        return redact(document, known)
    if isinstance(document, Mapping):
        return {redact(str(name), known): _member(str(name), part, known) for name, part in document.items()}
    return [redact_document(part, known) for part in document] if isinstance(document, list | tuple) else document


def _member(name: str, value: object, known: tuple[str, ...]) -> object:
    counts = _COUNTS_NAME.search(name) and isinstance(value, int | float)
    hidden = _SECRETS_NAME.search(name) and not counts and not isinstance(value, bool | None)
    return MASK if hidden else redact_document(value, known)


def _spellings(secrets: Iterable[str]) -> set[str]:
    known = {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}
    return known | {quote(secret, safe="") for secret in known}
