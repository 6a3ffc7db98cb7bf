"""What the environment may say."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.config.settings import REPOSITORY, Settings, normalise_database_url
from workflows.client.connection import TemporalAddress


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.alias), raising=False)


def test_nothing_said_is_a_developers_machine() -> None:
    settings = Settings.from_env()
    assert settings.development
    assert settings.url == "http://127.0.0.1:8000"
    assert settings.temporal_target == "127.0.0.1:7233"
    assert settings.config_dir.is_absolute()


def test_only_our_own_variables_count(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "HOST", "PORT", "MODEL", "PROFILE"):
        monkeypatch.setenv(name, "7777")
    assert Settings.from_env() == Settings()
    assert Settings.from_env().port == 8000
    assert str(Settings.from_env().home) == ".taskforce"


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "")
    assert Settings.from_env().temporal_address is None


def test_hosts_are_a_list_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFORCE_HTTP_ALLOWED_HOSTS", "Intranet:80, wiki.local:8080, [::1]:8000,")
    assert Settings.from_env().http_allowed_hosts == ("intranet:80", "wiki.local:8080", "[::1]:8000")


def test_offered_profiles_are_a_list_or_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.from_env().offered_profiles is None
    monkeypatch.setenv("TASKFORCE_PROFILES", "careful, mine,")
    assert Settings.from_env().offered_profiles == ("careful", "mine")
    monkeypatch.setenv("TASKFORCE_PROFILES", "")
    assert Settings.from_env().offered_profiles is None


def test_whose_tokens_are_believed_has_a_default_in_development_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.from_env().token_issuer == "https://auth.yourcompany.com"
    assert Settings.from_env().token_audience == "taskforce-api"
    monkeypatch.setenv("TASKFORCE_PROFILE", "enterprise")
    with pytest.raises(Invalid, match="JWT_ISSUER"):
        _ = Settings.from_env().token_issuer
    with pytest.raises(Invalid, match="JWT_AUDIENCE"):
        _ = Settings.from_env().token_audience
    monkeypatch.setenv("JWT_ISSUER", "https://id.example")
    monkeypatch.setenv("JWT_AUDIENCE", "us")
    said = Settings.from_env()
    assert (said.token_issuer, said.token_audience) == ("https://id.example", "us")


def test_how_to_reach_temporal_comes_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal.example:7233")
    monkeypatch.setenv("TEMPORAL_TLS_CA", "ca.pem")
    monkeypatch.setenv("TEMPORAL_API_KEY", "hidden-word")
    where = TemporalAddress(**Settings.from_env().temporal_connection)
    assert where == TemporalAddress("temporal.example:7233", ca=Path("ca.pem"), api_key="hidden-word")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("postgres://u:p@h:5/d", "postgresql+asyncpg://u:p@h:5/d"),
        ("postgresql+psycopg://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("postgresql://u:p%40%2F@h/d?sslmode=require", "postgresql+asyncpg://u:p%40%2F@h/d?ssl=require"),
        ("postgresql://u@/d?host=/run/pg", "postgresql+asyncpg://u@/d?host=%2Frun%2Fpg"),
    ],
)
def test_any_usual_database_url_is_understood(given: str, wanted: str) -> None:
    assert normalise_database_url(given) == wanted


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "mysql://u:hidden-word@h/d"),
        ("DATABASE_URL", "hidden-word"),
        ("DATABASE_URL", "postgresql://u:hidden-word@h/d?sslcert=x"),
        ("MIGRATION_DATABASE_URL", "postgresql://u:hidden-word@h:port/d"),
        ("DATABASE_URL", "postgresql://u:hidden-word@h:99999/d"),
        ("DATABASE_URL", "postgresql://u:hidden-word@h:0/d"),
        ("DATABASE_URL", "postgresql://u:hidden-word@/d?host=h&port=99999"),
        ("DATABASE_URL", "postgresql://u:hidden-word@/d?host=h&port=many"),
        ("DATABASE_URL", "postgresql://u:hidden-word@/d?host=a:5432&host=b:99999"),
        ("DATABASE_URL", "postgresql://u:hidden-word@h/d?prepared_statement_cache_size=few"),
        ("TASKFORCE_HTTP_ALLOWED_HOSTS", "wiki.local:8080, hidden-word"),
        ("TASKFORCE_HTTP_ALLOWED_HOSTS", "https://u:hidden-word@wiki.local:8080"),
        ("TASKFORCE_HTTP_ALLOWED_HOSTS", "wiki.local:99999"),
        ("TASKFORCE_HTTP_ALLOWED_HOSTS", "::1:8000"),
        ("TASKFORCE_HTTP_ALLOWED_HOSTS", ":8000"),
        ("TASKFORCE_PORT", "hidden-word"),
        ("TASKFORCE_PORT", "70000"),
        ("TEMPORAL_ADDRESS", "no-port"),
        ("TEMPORAL_ADDRESS", "h:99999"),
        ("TEMPORAL_ADDRESS", "http://h:7233"),
        ("TASKFORCE_DB_POOL_SIZE", "0"),
        ("TASKFORCE_LOG_LEVEL", "loud"),
    ],
)
def test_a_value_that_cannot_be_used_names_its_variable_and_shows_nothing(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(Invalid) as refused:
        Settings.from_env()
    assert refused.value.message.startswith(f"{variable} ")
    assert "\n" not in refused.value.message
    assert "hidden-word" not in refused.value.message


@pytest.mark.parametrize("program", [("worker",), ("api",), ("cli", "doctor", "--json"), ("cli", "up")])
def test_no_process_starts_with_them_and_each_says_what_they_should_look_like(
    tmp_path: Path, program: tuple[str, ...]
) -> None:
    kept = {name: said for name, said in os.environ.items() if not name.startswith(("TASKFORCE_", "TEMPORAL_"))}
    wrong = {
        "DATABASE_URL": "postgresql://u:hidden-word@h:99999/d",
        "TASKFORCE_HTTP_ALLOWED_HOSTS": "hidden-word",
        "TASKFORCE_HOME": str(tmp_path),
    }
    command, environment = [sys.executable, "-m", *program], {**kept, **wrong, "COLUMNS": "1000"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    for part in ("DATABASE_URL", "postgresql://user:password@host", "TASKFORCE_HTTP_ALLOWED_HOSTS", "wiki.example.com"):
        assert part in said, said
    assert ("Traceback" in said, "hidden-word" in said) == (False, False), said


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hidden-word@h/d")
    monkeypatch.setenv("JWT_SECRET", "hidden-word" * 4)
    settings = Settings.from_env()
    assert "hidden-word" not in repr(settings)
    assert "hidden-word" in settings.app_url


def test_the_gateway_listens_where_everybody_else_is_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u@pooler:6432/d?prepared_statement_cache_size=0")
    assert Settings.from_env().listen_url == Settings.from_env().app_url
    monkeypatch.setenv("LISTEN_DATABASE_URL", "postgres://u@server/d")
    assert Settings.from_env().listen_url == "postgresql+asyncpg://u@server/d"


def test_settings_do_not_change_and_missing_ones_are_named() -> None:
    settings = Settings.from_env()
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]
    with pytest.raises(Invalid, match="DATABASE_URL"):
        _ = settings.app_url


def test_a_short_secret_is_for_development_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", "hidden-word")
    assert Settings.from_env().jwt_secret is not None
    monkeypatch.setenv("TASKFORCE_PROFILE", "enterprise")
    with pytest.raises(Invalid, match="JWT_SECRET") as refused:
        Settings.from_env()
    assert "hidden-word" not in refused.value.message


KEY = bytes(range(220, 252))


@pytest.mark.parametrize(
    "written",
    [
        base64.b64encode(KEY).decode(),
        base64.urlsafe_b64encode(KEY).decode(),
        base64.urlsafe_b64encode(KEY).decode().rstrip("="),
        f"  {base64.b64encode(KEY).decode()}\n",
    ],
)
def test_the_encryption_key_is_32_bytes_in_base64(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    assert Settings.from_env().master_key is None
    monkeypatch.setenv("TASKFORCE_ENCRYPTION_KEY", written)
    assert Settings.from_env().master_key == KEY


@pytest.mark.parametrize(
    "written", ["change-me", "a" * 32, base64.b64encode(KEY[1:]).decode(), "=" * 44, "\u00fc" * 43]
)
def test_another_encryption_key_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("TASKFORCE_ENCRYPTION_KEY", written)
    with pytest.raises(Invalid) as refused:
        Settings.from_env()
    assert refused.value.message.startswith("TASKFORCE_ENCRYPTION_KEY is 32 random bytes in base64")
    assert written not in refused.value.message


def test_the_local_stack_has_a_temporal_ui_in_development_and_elsewhere_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TEMPORAL_UI_PORT", raising=False)
    for profile, port, expected in (("dev", "", 8233), ("enterprise", "", None), ("enterprise", "9000", 9000)):
        monkeypatch.setenv("TASKFORCE_PROFILE", profile)
        monkeypatch.setenv("TEMPORAL_UI_PORT", port)
        assert Settings.from_env().local_ui_port == expected
