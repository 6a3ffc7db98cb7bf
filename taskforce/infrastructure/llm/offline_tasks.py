"""Parser of missions for the offline demo model: a few patterns."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from zoneinfo import available_timezones

LONGEST_READ = 4_000
"""Characters of a mission that are parsed: the patterns' time grows faster than the text."""

_URL = r"https?://[^\s\"'<>)\]]*[^\s\"'<>)\].,;:!?]"
_FILE = r"(?P<file>[\w-][\w./-]*\.[A-Za-z]\w{0,7})"
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"

_POST = re.compile(rf"(?i)\b(?:post|send|submit)\b(?P<what>[^\n]*?)\bto\s+(?P<url>{_URL})")
_GET = re.compile(_URL)
_WRITE = re.compile(
    rf"(?i)\b(?:save|write|store|put|note)\b(?P<what>(?:[^\n.?!]|\.(?=\w))*?)\b(?:to|in|into|as)\s+"
    rf"(?:(?:a|the)\s+)?(?:file\s+)?(?:(?:named|called)\s+)?[`\"']?{_FILE}"
)
_READ = re.compile(rf"(?i)\b(?:read|open|show|load|summari[sz]e)\b(?:[^\n.?!]|\.(?=\w))*?[`\"'\s]{_FILE}")
_ASK = re.compile(r"(?i)\bask me\b[:,]?\s*(?P<question>(?:(?!,? (?:and |then\b))[^\n.?!])*)")
_TIME = re.compile(
    r"(?i)\b(?:what time|time is it|current time|the time|day of the week|week ?day|what day|what date|today|"
    r"(?:current|today's|the) date)\b"
)
_PLACE = re.compile(r"\b(?:in|at)\s+(?P<place>[A-Z][\w]*(?:[ _][A-Z]\w*)*)")
_PERCENT = re.compile(rf"(?P<part>{_NUMBER})\s*(?:%|percent)\s+of\s+(?P<whole>{_NUMBER})")
_SUM = re.compile(
    rf"(?<![\w.])\(*-?{_NUMBER}\)*"
    rf"(?:\s*(?:\*\*|//|[-+*/^\u00d7\u00f7]|x|plus|minus|times|divided by)\s*\(*-?{_NUMBER}\)*)+"
)
_ROOT = re.compile(rf"(?i)\bsquare root of\s+(?P<of>{_NUMBER})")
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}")
_QUOTED = re.compile('["\u201c`](?P<text>[^"\u201d`\\n]+)["\u201d`]')
_POINTING = re.compile(r"(?i)(?:(?:both|it|this|that|them|these|all|everything|the|results?|answers?|outcomes?)\s*)*")
_SPELLED = (
    ("plus", "+"),
    ("minus", "-"),
    ("times", "*"),
    ("divided by", "/"),
    ("\u00d7", "*"),
    ("\u00f7", "/"),
    ("^", "**"),
    ("x", "*"),
)


@dataclass(frozen=True, slots=True)
class Task:
    """Describes one tool call of a mission.

    Attributes:
        tool: The tool's name.
        title: For the todo list and the answer.
        arguments: The arguments that the mission gives.
        gathers: The argument that takes what the other tasks found; the task waits for them.
    """

    tool: str
    title: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    gathers: str | None = None


def understand(mission: str) -> tuple[Task, ...]:
    """Parses the tasks of a mission.

    Args:
        mission: As a person wrote it.

    Returns:
        Tasks that need nothing first, then those that use what these found.
    """
    written, text = _taken(mission[:LONGEST_READ], _WRITE)
    posted, text = _taken(text, _POST)
    asked, text = _taken(text, _ASK)
    gotten, text = _taken(text, _GET)
    read, text = _taken(text, _READ)
    first = [
        *(_sum(label, expression) for label, expression in _arithmetic(text)),
        *_times(text),
        *(_read(match["file"]) for match in read),
        *(Task("http_get", f"Fetch {match[0]}", {"url": match[0]}) for match in gotten),
        *(_ask(match["question"]) for match in asked),
    ]
    last = [*(_write(match, bool(first)) for match in written), *(_post(match, bool(first)) for match in posted)]
    return (*first, *last)


def _taken(text: str, pattern: re.Pattern[str]) -> tuple[list[re.Match[str]], str]:
    """Returns a pattern's matches and the text without them, so that the next pattern does not match it again."""
    return list(pattern.finditer(text)), pattern.sub(" ", text)


def _sum(label: str, expression: str) -> Task:
    return Task("calculator", f"Calculate {label}", {"expression": expression})


def _arithmetic(text: str) -> Iterator[tuple[str, str]]:
    for match in _PERCENT.finditer(text):
        yield match[0], f"{_plain(match['part'])} / 100 * {_plain(match['whole'])}"
    text = _PERCENT.sub(" ", text)
    for match in _ROOT.finditer(text):
        yield match[0], f"sqrt({_plain(match['of'])})"
    for match in _SUM.finditer(_DATE.sub(" ", _ROOT.sub(" ", text))):
        label = match[0].strip()
        if label.count("(") == label.count(")"):
            yield label, _plain(label)


def _plain(text: str) -> str:
    for word, sign in _SPELLED:
        text = text.replace(word, sign)
    return text.replace(",", "")


def _times(text: str) -> Iterator[Task]:
    if not _TIME.search(text):
        return
    zones = dict.fromkeys(zone for match in _PLACE.finditer(text) if (zone := _zone(match["place"])))
    for zone in zones or {"UTC": None}:
        yield Task("current_time", f"Look up the date and time in {_city(zone)}", {"timezone": zone})


def _zone(place: str) -> str | None:
    wanted = place.replace(" ", "_").casefold()
    return min((zone for zone in available_timezones() if _city_name(zone) == wanted), key=_preference, default=None)


def _preference(zone: str) -> tuple[int, str]:
    return zone.count("/") or 9, zone


def _city_name(zone: str) -> str:
    return zone.rpartition("/")[2].casefold()


def _city(zone: str) -> str:
    return zone.rpartition("/")[2].replace("_", " ")


def _read(path: str) -> Task:
    return Task("read_file", f"Read {path}", {"path": path})


def _ask(question: str) -> Task:
    asked = question.strip().removeprefix("for ").strip() or "What should I know?"
    asked = f"{asked[0].upper()}{asked[1:]}".rstrip("?") + "?"
    return Task("ask_user", f"Ask you: {asked}"[:150], {"question": asked})


def _write(match: re.Match[str], gathers: bool) -> Task:
    path = match["file"]
    return _told(Task("write_file", f"Write {path}", {"path": path}), "content", match["what"], gathers)


def _post(match: re.Match[str], gathers: bool) -> Task:
    url = match["url"]
    return _told(Task("http_post", f"Post to {url}", {"url": url}), "body", match["what"], gathers)


def _told(task: Task, argument: str, what: str, gathers: bool) -> Task:
    """Completes a task with its text: quoted text is literal, other text only when no results can be meant."""
    quoted = _QUOTED.search(what)
    literal = quoted["text"] if quoted else what.strip(" ,:")
    if not quoted and (gathers or _POINTING.fullmatch(literal)):
        return Task(task.tool, task.title, task.arguments, gathers=argument)
    return Task(task.tool, task.title, {**task.arguments, argument: literal})
