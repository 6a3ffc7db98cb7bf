"""Settings from the environment, read once at the start of a process and never changed afterwards."""

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypedDict

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from taskforce.core.domain.encryption.keys import KEY_BYTES, decode_key
from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.net.public_addresses import HIGHEST_PORT

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

REPOSITORY = Path(__file__).resolve().parents[3]
"""The root of the checkout, or of the installed tree."""

SHORTEST_SECRET = 32
_POSTGRES_SCHEMES = ("postgres", "postgresql")
_URL = "postgresql://user:password@host:5432/database"
_CACHE = "prepared_statement_cache_size"
_UI_PORT = 8233
_LOOPBACK = ("127.0.0.0/8", "::1/128")
_UNTRANSLATED = {"host", "port", _CACHE}


def normalise_database_url(url: str) -> str:
    """Converts any usual PostgreSQL URL to SQLAlchemy's for asyncpg, from which all connections are made.

    Args:
        url: `postgres://`, `postgresql://` or `postgresql+driver://`; `sslmode` and a Unix socket (`?host=/dir`) are
            understood; `prepared_statement_cache_size=0` is for a PgBouncer that pools transactions.

    Returns:
        A `postgresql+asyncpg://` URL, with its password.

    Raises:
        ValueError: It is no PostgreSQL URL, or has a parameter that asyncpg cannot be given. The text holds no secret.
    """
    # Imported here: the import takes a second, and most commands of the CLI need no database.
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError(f"is not a URL like {_URL}") from None
    if parsed.drivername.partition("+")[0] not in _POSTGRES_SCHEMES:
        raise ValueError(f"must be a PostgreSQL URL: {_URL}")
    translated = parsed.set(drivername="postgresql+asyncpg", query=_asyncpg_query(parsed))
    normalised = translated.render_as_string(hide_password=False)
    _check_arguments(normalised, named_port=parsed.port)
    return normalised


def _check_arguments(url: str, named_port: int | None) -> None:
    """Checks the arguments at once; the driver would raise a traceback when it connects."""
    from sqlalchemy.exc import ArgumentError

    try:
        found = driver_arguments(url).get("port")
    except (ArgumentError, ValueError):
        raise ValueError("has a port, a host or a cache size that cannot be used; it is a URL like " + _URL) from None
    ports = found if isinstance(found, list) else [found]
    if named_port == 0 or any(port is not None and not 0 < port <= HIGHEST_PORT for port in ports):
        raise ValueError(f"has a port that is not one of 1 to {HIGHEST_PORT}; it is a URL like {_URL}")


def _asyncpg_query(url: "URL") -> dict[str, str | tuple[str, ...]]:
    query = dict(url.query)
    if "sslmode" in query:
        query["ssl"] = query.pop("sslmode")
    unknown = sorted(set(query) - _UNTRANSLATED - {"ssl"})
    if unknown:
        raise ValueError(f"has parameters that are not supported: {', '.join(unknown)}; certificates: PGSSLROOTCERT")
    return query


def driver_arguments(url: str) -> dict[str, Any]:
    """Returns asyncpg's arguments of a URL as SQLAlchemy reads it: migrations and product reach the same database.

    Args:
        url: A URL that `normalise_database_url` returned.
    """
    from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
    from sqlalchemy.engine import make_url

    parsed = make_url(url)
    cached = parsed.query.get(_CACHE)
    plain = parsed.difference_update_query([_CACHE])
    _, arguments = PGDialect_asyncpg().create_connect_args(plain)  # type: ignore[no-untyped-call]  # SQLAlchemy's own
    sizes = {} if cached is None else {"statement_cache_size": int(str(cached))}
    return {**arguments, **sizes}


def _normalised(url: SecretStr) -> SecretStr:
    return SecretStr(normalise_database_url(url.get_secret_value()))


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(ip_network(value)) for value in values)
    except ValueError:
        raise ValueError("is a list of networks like 10.0.0.0/8, separated by commas") from None


def _places(values: tuple[str, ...]) -> tuple[str, ...]:
    # Imported here as SQLAlchemy is: only deployments that name allowed places wait for it.
    from taskforce.infrastructure.net.url_target import place

    try:
        return tuple(place(value) for value in values)
    except ValueError:
        raise ValueError("is a list of places like wiki.example.com:8443 or [::1]:8000, separated by commas") from None


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= HIGHEST_PORT:
        raise ValueError(f"is host:port, for example temporal.example.com:7233, with a port of 1 to {HIGHEST_PORT}")
    return value


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(one for one in (part.strip() for part in value.split(",")) if one)
    return value


def _key(value: SecretStr) -> SecretStr:
    if len(decode_key(value.get_secret_value())) != KEY_BYTES:
        raise ValueError(f"is {KEY_BYTES} random bytes in base64; make one with: openssl rand -base64 32")
    return value


DatabaseUrl = Annotated[SecretStr, AfterValidator(_normalised)]
EncryptionKey = Annotated[SecretStr, AfterValidator(_key)]
CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Networks = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_networks)]
Places = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_places)]
Address = Annotated[str, Field(pattern=r"^[^\s/]+$"), AfterValidator(_address)]
Port = Annotated[int, Field(ge=1, le=HIGHEST_PORT)]
Seconds = Annotated[float, Field(gt=0, le=3_600)]


class TemporalConnection(TypedDict):
    """Holds the keyword arguments of `workflows.client.client.TemporalAddress`."""

    address: str
    namespace: str
    task_queue: str
    tls: bool
    ca: Path | None
    certificate: Path | None
    key: Path | None
    api_key: str | None


class Settings(BaseSettings):
    """Holds the settings of every process of the product. An empty variable counts as unset.

    Attributes:
        database_url: The URL of the application's role; None when unset (`taskforce up` then starts its own server).
        migration_database_url: The URL of the role that owns the tables; only migrations get it.
        listen_database_url: The URL of the same database where the gateway listens; see `listen_url`.
        worker_model_calls, worker_tool_calls: Slow activities of a worker at a time; see `activities/tenant_shares.py`.
        temporal_address: host:port of a running Temporal; None as above.
        temporal_tls: Whether to use TLS for it; implied by a certificate or an API key.
        temporal_ui_url: The URL of its UI, without a slash at the end.
        http_header_seconds, ...: The limits of the HTTP server; see `api/web/limits.py`.
        failed_sign_ins: Failed sign-ins of an address in a minute, beyond which its unknown credentials are refused.
        streams, waits, exports, ...: What is open at a time; see `api/in_flight.py`.
        url: The public URL of the gateway, without a slash at the end.
        profile: Name of the profile in `config_dir`; `dev` relaxes what only a developer's machine may relax.
        offered_profiles: The other profiles that a request may name; None when unset.
        home: The directory of the local stack's data.
        http_allowed_hosts: Places (`host:port`) that the guarded client may reach although they are not public.
        claims_max_age_hours: Hours for which the roles of the last seen token stay in force.
        platform_tenant: The tenant in which a holder of `tenant:manage` operates the platform.
        trusted_proxies: Networks of the proxies whose X-Forwarded-For is believed.
        metrics_dir: The directory by which the gateways, and the workers, of a machine share their metrics.
        metrics_tenants: Tenants that the metrics name at most.
        scraping_networks: Networks from where metrics may be read without a credential; see `metrics_networks`.
        worker_metrics_host, worker_metrics_port: Where a worker shows its metrics; port 0 is nowhere.
        statistics_days: Days for which service statistics are kept.
        encryption_key: The key of encrypted columns; see `master_key`.
        jwt_issuer, jwt_audience: As set, or a default for development; see `token_issuer` and `token_audience`.
        jwt_platform: Whether the issuer of `JWT_SECRET` or `JWT_PUBLIC_KEY` speaks for the platform's tenant too.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    database_url: DatabaseUrl | None = Field(None, alias="DATABASE_URL")
    migration_database_url: DatabaseUrl | None = Field(None, alias="MIGRATION_DATABASE_URL")
    listen_database_url: DatabaseUrl | None = Field(None, alias="LISTEN_DATABASE_URL")
    db_pool_size: int = Field(10, alias="TASKFORCE_DB_POOL_SIZE", ge=1, le=1000)
    worker_model_calls: int = Field(600, alias="TASKFORCE_WORKER_MODEL_CALLS", ge=3, le=100_000)
    worker_tool_calls: int = Field(600, alias="TASKFORCE_WORKER_TOOL_CALLS", ge=3, le=100_000)

    temporal_address: Address | None = Field(None, alias="TEMPORAL_ADDRESS")
    temporal_namespace: str = Field("default", alias="TEMPORAL_NAMESPACE")
    temporal_tls: bool = Field(default=False, alias="TEMPORAL_TLS")
    temporal_tls_ca: Path | None = Field(None, alias="TEMPORAL_TLS_CA")
    temporal_tls_cert: Path | None = Field(None, alias="TEMPORAL_TLS_CERT")
    temporal_tls_key: Path | None = Field(None, alias="TEMPORAL_TLS_KEY")
    temporal_api_key: SecretStr | None = Field(None, alias="TEMPORAL_API_KEY")
    temporal_task_queue: str = Field("taskforce", alias="TEMPORAL_TASK_QUEUE")
    temporal_ui_url: str | None = Field(None, alias="TEMPORAL_UI_URL", pattern=r"^https?://\S+$")
    temporal_port: Port = Field(7233, alias="TEMPORAL_PORT")
    temporal_ui_port: Port | None = Field(None, alias="TEMPORAL_UI_PORT")

    host: str = Field("127.0.0.1", alias="TASKFORCE_HOST")
    port: Port = Field(8000, alias="TASKFORCE_PORT")
    http_header_seconds: Seconds = Field(10, alias="TASKFORCE_HTTP_HEADER_SECONDS")
    http_body_seconds: Seconds = Field(30, alias="TASKFORCE_HTTP_BODY_SECONDS")
    http_idle_seconds: int = Field(75, alias="TASKFORCE_HTTP_IDLE_SECONDS", ge=1, le=3_600)
    http_stall_seconds: Seconds = Field(30, alias="TASKFORCE_HTTP_STALL_SECONDS")
    http_header_bytes: int = Field(32_768, alias="TASKFORCE_HTTP_HEADER_BYTES", ge=1_024, le=1_048_576)
    http_headers: int = Field(100, alias="TASKFORCE_HTTP_HEADERS", ge=10, le=10_000)
    http_connections: int = Field(2_000, alias="TASKFORCE_HTTP_CONNECTIONS", ge=1)
    http_pending_bytes: int = Field(33_554_432, alias="TASKFORCE_HTTP_PENDING_BYTES", ge=65_536)
    failed_sign_ins: int = Field(300, alias="TASKFORCE_FAILED_SIGN_INS", ge=1, le=1_000_000)
    streams: int = Field(1_500, alias="TASKFORCE_STREAMS", ge=3)
    streams_per_caller: int = Field(50, alias="TASKFORCE_STREAMS_PER_CALLER", ge=1)
    waits: int = Field(1_500, alias="TASKFORCE_WAITS", ge=3)
    waits_per_caller: int = Field(50, alias="TASKFORCE_WAITS_PER_CALLER", ge=1)
    exports: int = Field(30, alias="TASKFORCE_EXPORTS", ge=3)
    exports_per_caller: int = Field(2, alias="TASKFORCE_EXPORTS_PER_CALLER", ge=1)
    public_url: str | None = Field(None, alias="TASKFORCE_URL", pattern=r"^https?://\S+$")
    profile: str = Field("dev", alias="TASKFORCE_PROFILE", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    offered_profiles: Annotated[CommaSeparated | None, NoDecode] = Field(None, alias="TASKFORCE_PROFILES")
    config_dir: Path = Field(REPOSITORY / "configs", alias="TASKFORCE_CONFIG_DIR")
    home: Path = Field(Path(".taskforce"), alias="TASKFORCE_HOME")
    sample: bool = Field(default=True, alias="TASKFORCE_SAMPLE")
    model: str | None = Field(None, alias="TASKFORCE_MODEL")
    http_allowed_hosts: Places = Field((), alias="TASKFORCE_HTTP_ALLOWED_HOSTS")
    log_level: str | None = Field(
        None, alias="TASKFORCE_LOG_LEVEL", pattern=r"^(?i:debug|info|warning|error|critical)$"
    )
    claims_max_age_hours: int = Field(24, alias="TASKFORCE_CLAIMS_MAX_AGE_HOURS", ge=1)

    platform_tenant: str = Field("platform", alias="TASKFORCE_PLATFORM_TENANT", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    trusted_proxies: Networks = Field((), alias="TASKFORCE_TRUSTED_PROXIES")

    metrics_dir: Path | None = Field(None, alias="TASKFORCE_METRICS_DIR")
    metrics_tenants: int = Field(1_000, alias="TASKFORCE_METRICS_TENANTS", ge=1, le=5_000)
    scraping_networks: Annotated[Networks | None, NoDecode] = Field(None, alias="TASKFORCE_METRICS_NETWORKS")
    worker_metrics_host: str = Field("127.0.0.1", alias="TASKFORCE_WORKER_METRICS_HOST")
    worker_metrics_port: int | None = Field(None, alias="TASKFORCE_WORKER_METRICS_PORT", ge=0, le=HIGHEST_PORT)
    statistics_days: int = Field(35, alias="TASKFORCE_STATISTICS_DAYS", ge=4, le=3_660)

    encryption_key: EncryptionKey | None = Field(None, alias="TASKFORCE_ENCRYPTION_KEY")

    jwt_secret: SecretStr | None = Field(None, alias="JWT_SECRET")
    jwt_public_key: SecretStr | None = Field(None, alias="JWT_PUBLIC_KEY")
    jwt_issuer: str = Field("https://auth.yourcompany.com", alias="JWT_ISSUER")
    jwt_audience: str = Field("taskforce-api", alias="JWT_AUDIENCE")
    jwt_platform: bool = Field(False, alias="JWT_PLATFORM")

    @model_validator(mode="after")
    def _secret_is_long_enough(self) -> Self:
        # RFC 7518, 3.2: HS256 requires 256 bits. In development the guide's shorter example is accepted with a warning.
        secret = self.jwt_secret.get_secret_value() if self.jwt_secret else ""
        if secret and len(secret.encode()) < SHORTEST_SECRET and not self.development:
            raise ValueError(f"JWT_SECRET must have {SHORTEST_SECRET} bytes or more outside development")
        return self

    @classmethod
    def from_env(cls) -> Self:
        """Reads the settings from the environment.

        Raises:
            Invalid: A variable has a value that cannot be used; the message names the variable, never its value.
        """
        try:
            return cls()
        except ValidationError as error:
            problems = "; ".join(_problem(detail) for detail in error.errors(include_url=False, include_input=False))
            raise Invalid("bad_setting", problems) from None

    @property
    def url(self) -> str:
        """Returns the base URL of the gateway, for people and for the CLI."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104  compared, not bound
        return f"http://{host}:{self.port}"

    @property
    def temporal_target(self) -> str:
        """Returns host:port of the Temporal frontend to connect to."""
        return self.temporal_address or f"127.0.0.1:{self.temporal_port}"

    @property
    def local_ui_port(self) -> int | None:
        """Returns the port of the local stack's Temporal UI; outside development there is one only where it is set."""
        return self.temporal_ui_port or (_UI_PORT if self.development else None)

    @property
    def temporal_connection(self) -> TemporalConnection:
        """Returns the arguments of the connection to Temporal."""
        return TemporalConnection(
            address=self.temporal_target,
            namespace=self.temporal_namespace,
            task_queue=self.temporal_task_queue,
            tls=self.temporal_tls,
            ca=self.temporal_tls_ca,
            certificate=self.temporal_tls_cert,
            key=self.temporal_tls_key,
            api_key=self.temporal_api_key.get_secret_value() if self.temporal_api_key else None,
        )

    @property
    def development(self) -> bool:
        """Returns whether the profile is that of a developer's machine."""
        return self.profile in {"dev", "development", "test"}

    @property
    def development_exposed(self) -> bool:
        """Returns whether other machines can reach a gateway that runs with the relaxed checks of development."""
        return self.development and not _is_loopback(self.host)

    @property
    def metrics_networks(self) -> tuple[str, ...]:
        """Returns the networks from where metrics may be read without a credential; in development this machine."""
        return (_LOOPBACK if self.development else ()) if self.scraping_networks is None else self.scraping_networks

    @property
    def token_issuer(self) -> str:
        """Returns what `iss` of a token must equal.

        Raises:
            Invalid: `bad_setting`: JWT_ISSUER is not set; it has a default in development only.
        """
        return self._said("jwt_issuer", self.jwt_issuer)

    @property
    def token_audience(self) -> str:
        """Returns what `aud` of a token must equal or contain.

        Raises:
            Invalid: `bad_setting`: JWT_AUDIENCE is not set; it has a default in development only.
        """
        return self._said("jwt_audience", self.jwt_audience)

    @property
    def master_key(self) -> bytes | None:
        """Returns the 32 bytes from which column keys are derived; None where nothing can be encrypted."""
        return None if self.encryption_key is None else decode_key(self.encryption_key.get_secret_value())

    @property
    def app_url(self) -> str:
        """Returns the URL of the application's database, for SQLAlchemy.

        Raises:
            Invalid: DATABASE_URL is not set.
        """
        return _required(self.database_url, "DATABASE_URL")

    @property
    def migration_url(self) -> str:
        """Returns the URL of the database as its owner, for SQLAlchemy.

        Raises:
            Invalid: MIGRATION_DATABASE_URL is not set.
        """
        return _required(self.migration_database_url, "MIGRATION_DATABASE_URL")

    @property
    def listen_url(self) -> str:
        """Returns the URL at which the gateway listens to notifications, for SQLAlchemy: the server's own, no pooler's.

        Raises:
            Invalid: Neither LISTEN_DATABASE_URL nor DATABASE_URL is set.
        """
        return self.app_url if self.listen_database_url is None else self.listen_database_url.get_secret_value()

    def _said(self, field: str, value: str) -> str:
        if self.development or field in self.model_fields_set:
            return value
        variable = type(self).model_fields[field].alias
        raise Invalid("bad_setting", f"{variable} is not set; it has a default in development profiles only.")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _required(url: SecretStr | None, variable: str) -> str:
    if url is None:
        raise Invalid("bad_setting", f"{variable} is not set; `taskforce up` sets it for the local stack.")
    return url.get_secret_value()


def _problem(detail: ErrorDetails) -> str:
    variable = str(detail["loc"][0]) if detail["loc"] else "environment"
    return f"{variable} {detail['msg'].removeprefix('Value error, ')}"
