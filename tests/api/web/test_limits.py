"""The limits as the environment sets them."""

import resource
import subprocess
import sys

import pytest

from api.web.limits import DEFAULTS, http_limits
from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.config.settings import REPOSITORY, Settings

FILES = """
import resource
from api.web.limits import http_limits
from taskforce.infrastructure.config.settings import Settings
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 1_024))
print(http_limits(Settings(TASKFORCE_HTTP_CONNECTIONS=500)).connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
print(http_limits(Settings(TASKFORCE_HTTP_CONNECTIONS=5_000)).connections)
"""


def test_nothing_said_is_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.alias), raising=False)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (65_536, 65_536))
    assert http_limits(Settings()) == DEFAULTS


def test_there_are_no_more_connections_than_the_process_may_have_files() -> None:
    done = subprocess.run([sys.executable, "-c", FILES], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["500", "628", "896"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("HEADER_SECONDS", "0"), ("BODY_SECONDS", "never"), ("IDLE_SECONDS", "-1"), ("STALL_SECONDS", "nan"),
     ("HEADER_BYTES", "10"), ("HEADERS", "0"), ("CONNECTIONS", "0"), ("PENDING_BYTES", "0")],
)  # fmt: skip
def test_a_limit_that_none_could_keep_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(f"TASKFORCE_HTTP_{variable}", value)
    with pytest.raises(Invalid, match=f"TASKFORCE_HTTP_{variable}"):
        Settings.from_env()
