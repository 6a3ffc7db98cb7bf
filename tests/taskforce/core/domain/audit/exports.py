"""Exports of the audit log to test with, and what is wrong with one."""

import json
from collections.abc import Sequence

import pytest

from taskforce.core.domain.audit.chain import Anchor, Flaw, export, seal, verify
from taskforce.core.domain.errors import Invalid

GENESIS = Anchor.genesis("acme")


def events_of(tenant: str, count: int) -> list[dict[str, object]]:
    return [
        {
            "at": f"2026-03-01T10:00:{number:02}+00:00",
            "actor_id": f"alice@{tenant}",
            "action": "tool.call",
            "details": {"args": {"path": "Übersicht\u2028", "cost": 0.5}, "n": number},
            "reason": None,
        }
        for number in range(1, count + 1)
    ]


def exported(count: int, before: Anchor = GENESIS) -> tuple[list[str], Anchor]:
    sealed, after = seal(before, events_of(before.tenant_id, count))
    return list(export(before, sealed, after)), after


LINES, ANCHOR = exported(6)
EVENT_LINES = range(1, 7)


def flaw(lines: Sequence[str], anchor: Anchor = ANCHOR, start: Anchor | None = None) -> tuple[int, Flaw]:
    """The line at which an export breaks, and how."""
    with pytest.raises(Invalid) as caught:
        verify(lines, anchor, start=start)
    assert caught.value.code == "audit_broken"
    line, reason = caught.value.details["line"], caught.value.details["reason"]
    assert isinstance(line, int)
    assert caught.value.message.startswith(f"Line {line}: ")
    return line, Flaw(str(reason))


def altered(number: int, **changes: object) -> list[str]:
    """The export with other values in an event, its line in canonical form and its hash as it was."""
    found = json.loads(LINES[number])
    found["event"].update(changes)
    return [*LINES[:number], line_of(found), *LINES[number + 1 :]]


def line_of(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
