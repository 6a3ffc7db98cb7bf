"""The clock tells the time of the attempt, not that of the machine."""

import pytest

from taskforce.core.interfaces.tools import ToolFailure
from tests.taskforce.infrastructure.tools.tool_context import BUILTIN, call


async def test_utc_unless_asked_otherwise() -> None:
    assert await call("current_time") == {
        "iso": "2026-03-01T23:30:00+00:00",
        "date": "2026-03-01",
        "time": "23:30:00",
        "weekday": "Sunday",
        "timezone": "UTC",
    }


async def test_elsewhere_it_may_be_another_day() -> None:
    assert await call("current_time", timezone="Europe/Berlin") == {
        "iso": "2026-03-02T00:30:00+01:00",
        "date": "2026-03-02",
        "time": "00:30:00",
        "weekday": "Monday",
        "timezone": "Europe/Berlin",
    }


@pytest.mark.parametrize(
    "name", ["Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe", "Europe/", "a\x00b", " "]
)
async def test_a_zone_that_is_not_known_is_told(name: str) -> None:
    with pytest.raises(ToolFailure, match="not known"):
        await call("current_time", timezone=name)


def test_its_schema() -> None:
    assert BUILTIN.specs()["current_time"].parameters == {
        "type": "object",
        "properties": {
            "timezone": {
                "type": "string",
                "description": "IANA name of a time zone, for example Europe/Berlin.",
                "default": "UTC",
                "minLength": 1,
                "maxLength": 64,
            }
        },
        "additionalProperties": False,
    }
