"""Which variables each process of the stack sees."""

from pathlib import Path

import pytest

from cli.stack.environments import for_gateway, for_migrations, for_worker, named_by
from cli.stack.processes import environment_without

ENVIRON = {
    "PATH": "/bin",
    "HTTPS_PROXY": "http://proxy",
    "DATABASE_URL": "postgresql://app",
    "MIGRATION_DATABASE_URL": "postgresql://owner",
    "LISTEN_DATABASE_URL": "postgresql://direct",
    "TASKFORCE_MODEL": "azure/x",
    "AZURE_OPENAI_API_KEY": "a-key",
    "AZURE_OPENAI_DEPLOYMENT": "x",
    "TEMPORAL_API_KEY": "of-temporal",
    "JWT_SECRET": "signs",
    "SLACK_TOKEN": "of-a-tool",
    "EMPTY_API_KEY": "",
}


def test_the_worker_sees_keys_of_providers_and_no_signing_secret(tmp_path: Path) -> None:
    kept = {"PATH", "HTTPS_PROXY", "DATABASE_URL", "TASKFORCE_MODEL", "AZURE_OPENAI_API_KEY", "TEMPORAL_API_KEY"}
    assert for_worker(ENVIRON, tmp_path).keys() == kept | {"AZURE_OPENAI_DEPLOYMENT", "EMPTY_API_KEY"}


def test_the_worker_sees_what_is_listed_for_tools(tmp_path: Path) -> None:
    seen = for_worker({**ENVIRON, "TASKFORCE_WORKER_VARIABLES": "OTHER, SLACK_*"}, tmp_path)
    assert seen["SLACK_TOKEN"] == "of-a-tool"


def test_the_gateway_sees_which_keys_are_set_but_none_of_them(tmp_path: Path) -> None:
    seen = for_gateway(ENVIRON, tmp_path)
    assert seen["AZURE_OPENAI_API_KEY"] == "set"
    assert seen["TEMPORAL_API_KEY"] == "of-temporal"
    assert seen["JWT_SECRET"] == "signs"
    assert seen["LISTEN_DATABASE_URL"] == "postgresql://direct"
    assert not seen.keys() & {"EMPTY_API_KEY", "SLACK_TOKEN", "MIGRATION_DATABASE_URL"}


def test_what_a_profile_names_reaches_both(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("secret: ${SLACK_TOKEN}\nurl: ${WEB:-http://x}\n")
    (tmp_path / "broken.yaml").write_bytes(b"\xff${BROKEN}")
    assert named_by(tmp_path) == {"SLACK_TOKEN", "WEB"}
    assert for_worker(ENVIRON, tmp_path)["SLACK_TOKEN"] == "of-a-tool"
    assert for_gateway(ENVIRON, tmp_path)["SLACK_TOKEN"] == "of-a-tool"


def test_migrations_see_no_secret_at_all() -> None:
    assert for_migrations(ENVIRON).keys() == {"PATH", "HTTPS_PROXY"}


def test_other_programs_see_neither_settings_nor_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    seen = environment_without("HTTPS_")
    assert seen["PATH"] == "/bin"
    assert not seen.keys() & (ENVIRON.keys() - {"PATH"})
