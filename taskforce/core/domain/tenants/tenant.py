"""Tenants: their status, their settings, and who may change which."""

import difflib
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Final, Self

from taskforce.core.domain.errors import Conflict, Forbidden, Invalid
from taskforce.core.domain.ids import missing
from taskforce.core.domain.time_zones import parse_time_zone
from taskforce.core.interfaces.identity import checked_tenant_id

FEATURES: Final = frozenset({"rag", "long_term_memory", "approval_workflows"})
"""Features of a tenant, by the guide's names (3.1)."""
OWN_SETTINGS: Final = frozenset({"ip_allow_list", "time_zone"})
"""Settings that a tenant's administrators may change; the others belong to the platform's operator."""
MOST: Final = 1_000_000
_LONGEST_NAME: Final = 200
_MOST_NETWORKS: Final = 200
_MOST_DAYS: Final = 36_600


class TenantStatus(StrEnum):
    """The status of a tenant; a deleted tenant has no row."""

    ACTIVE = "active"
    DISABLED = "disabled"
    DELETING = "deleting"


class RecordKind(StrEnum):
    """Records that hang on no run, each with a setting `<kind>_retention_days` of its own."""

    ANSWER = "answer"
    DELIVERY = "delivery"
    REQUEST = "request"
    USAGE = "usage"


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """Limits and features of a tenant. None means no limit, for `features` all of them.

    Attributes:
        max_agents: Greatest number of agents in the catalog.
        max_concurrent_sessions: Greatest number of open runs; several runs of one session count each.
        features: Names out of `FEATURES`; a tool that needs another one is neither offered nor run.
            `approval_workflows` permits approval definitions of the tenant's own; tools that need an approval need it
            with and without.
        data_retention_days: Days that runs and their parts are kept after their end; None for ever.
        requests_per_minute: Requests per minute of the whole tenant.
        ip_allow_list: Networks from which its users and keys are accepted; empty means all.
        answer_retention_days: Days that first answers to idempotency keys are kept; then a key may be used anew.
        delivery_retention_days: Days that deliveries to webhooks and their attempts are kept after their end.
        request_retention_days: Days that requests for approval that no run asked for are kept after their end.
        usage_retention_days: Days that usage records of ended runs are kept.
        time_zone: IANA name of the time zone of the tenant's reports; None for UTC.
    """

    max_agents: int | None = None
    max_concurrent_sessions: int | None = None
    features: frozenset[str] | None = None
    data_retention_days: int | None = None
    requests_per_minute: int | None = None
    ip_allow_list: tuple[str, ...] = ()
    answer_retention_days: int | None = None
    delivery_retention_days: int | None = None
    request_retention_days: int | None = None
    usage_retention_days: int | None = None
    time_zone: str | None = None

    @classmethod
    def parse(cls, settings: Mapping[str, object]) -> Self:
        """Parses settings from JSON.

        Args:
            settings: JSON values by the guide's names (3.1); null counts as absent.

        Raises:
            Invalid: `tenant_settings_invalid`; `details["problems"]` names every problem.
        """
        problems = [_unknown(name) for name in settings if name not in _READERS]
        found: dict[str, object] = {}
        for name, read in _READERS.items():
            if settings.get(name) is not None:
                try:
                    found[name] = read(settings[name])
                except ValueError as error:
                    problems.append(f"{name}: {error}")
        if problems:
            text = f"The settings cannot be taken: {' '.join(problems)}"
            raise Invalid("tenant_settings_invalid", text, details={"problems": problems})
        return cls(**found)  # type: ignore[arg-type]  # each reader gives its field's type

    def as_json(self) -> dict[str, object]:
        """Serializes the settings to JSON; unset ones are left out."""
        features = None if self.features is None else sorted(self.features)
        values = {
            "max_agents": self.max_agents,
            "max_concurrent_sessions": self.max_concurrent_sessions,
            "features": features,
            "data_retention_days": self.data_retention_days,
            "requests_per_minute": self.requests_per_minute,
            "ip_allow_list": list(self.ip_allow_list) or None,
            **{f"{kind}_retention_days": self._days(kind) for kind in RecordKind},
            "time_zone": self.time_zone,
        }
        return {name: value for name, value in values.items() if value is not None}

    @property
    def zone(self) -> tzinfo:
        """Returns the time zone of the tenant's reports and budgets."""
        return UTC if self.time_zone is None else parse_time_zone(self.time_zone)

    def allows(self, feature: str) -> bool:
        """Tells whether the tenant has a feature."""
        return self.features is None or feature in self.features

    def runs_kept_since(self, now: datetime) -> datetime | None:
        """Returns the time since which ended runs are kept; those that ended earlier are erased.

        Args:
            now: The time, UTC.

        Returns:
            The time, included; None when all runs are kept.
        """
        return None if self.data_retention_days is None else now - timedelta(days=self.data_retention_days)

    def records_kept_since(self, kind: RecordKind, now: datetime) -> datetime | None:
        """Returns the time since which records of a kind are kept; those that ended earlier are erased.

        Args:
            kind: The kind of records.
            now: The time, UTC.

        Returns:
            The time, included; None when all are kept.
        """
        days = self._days(kind)
        return None if days is None else now - timedelta(days=days)

    def _days(self, kind: RecordKind) -> int | None:
        days: int | None = getattr(self, f"{kind}_retention_days")
        return days

    def admits(self, address: str | None) -> bool:
        """Tells whether a client's address is allowed; an unknown address is refused when there is a list.

        Args:
            address: The client's IP address, IPv4 or IPv6; None when not known.
        """
        if not self.ip_allow_list:
            return True
        try:
            client = ipaddress.ip_address(address or "")
        except ValueError:
            return False
        # Dual-stack sockets report IPv4 clients as `::ffff:a.b.c.d`, which no IPv4 network contains.
        plain = client.ipv4_mapped if isinstance(client, ipaddress.IPv6Address) and client.ipv4_mapped else client
        networks = (ipaddress.ip_network(network) for network in self.ip_allow_list)
        return any(plain in network for network in networks if network.version == plain.version)


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organisation, whose data is isolated from all others'.

    Attributes:
        tenant_id: 1 to 64 characters of `A-Za-z0-9._-`.
        name: Display name.
        created_at: Time of creation, UTC.
        updated_at: Time of the last change, UTC.
        status: The status.
        settings: Limits and features.
        metadata: Stored as sent, never read.
        runs_until: During its deletion the time until which open runs may continue, UTC; None when they may not.
        metering_revision: Number that changes with the tenant's prices and budgets, by which they are cached.

    Raises:
        Invalid: `tenant_id_invalid` or `tenant_name_invalid`.
    """

    tenant_id: str
    name: str
    created_at: datetime
    updated_at: datetime
    status: TenantStatus = TenantStatus.ACTIVE
    settings: TenantSettings = TenantSettings()
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)
    runs_until: datetime | None = None
    metering_revision: int = 0

    def __post_init__(self) -> None:
        checked_tenant_id(self.tenant_id)
        if not 0 < len(self.name) <= _LONGEST_NAME:
            raise Invalid("tenant_name_invalid", f"A tenant's name has 1 to {_LONGEST_NAME} characters.")

    def require_active(self) -> None:
        """Requires that the tenant is active.

        Raises:
            Forbidden: `tenant_disabled`.
        """
        if self.status is not TenantStatus.ACTIVE:
            raise _disabled()

    def require_working(self, now: datetime) -> None:
        """Requires that open runs may continue: the tenant is active, or its runs are drained before its deletion.

        New runs and requests need `require_active` instead.

        Args:
            now: The time, UTC.

        Raises:
            Forbidden: `tenant_disabled`.
        """
        if self.status is not TenantStatus.ACTIVE and not self.is_drained(now):
            raise _disabled()

    def is_drained(self, now: datetime) -> bool:
        """Tells whether the tenant is being deleted and its open runs may still continue."""
        return self.status is TenantStatus.DELETING and self.runs_until is not None and now < self.runs_until

    def changed(
        self,
        now: datetime,
        *,
        by_operator: bool,
        name: str | None = None,
        settings: TenantSettings | None = None,
        metadata: Mapping[str, object] | None = None,
        active: bool | None = None,
    ) -> Self:
        """Returns the tenant with changes; fields that are None stay.

        Args:
            now: The time, UTC.
            by_operator: Whether the platform's operator makes the change; a tenant's administrators may change less.
            name: The new name.
            settings: All new settings.
            metadata: All new metadata.
            active: Enables or disables the tenant.

        Raises:
            Forbidden: `operator_only` when a tenant's administrator changes limits or status.
            Conflict: `tenant_deleting`.
        """
        if self.status is TenantStatus.DELETING:
            raise Conflict("tenant_deleting", "This tenant is being deleted.")
        wanted = self.settings if settings is None else settings
        status = self.status if active is None else TenantStatus.ACTIVE if active else TenantStatus.DISABLED
        if not by_operator and (status is not self.status or _limits(wanted) != _limits(self.settings)):
            own = ", ".join(sorted(OWN_SETTINGS))
            raise Forbidden("operator_only", f"Only the platform's operator changes that; you may set: name, {own}.")
        kept = self.metadata if metadata is None else metadata
        return replace(
            self,
            name=self.name if name is None else name,
            settings=wanted,
            metadata=kept,
            status=status,
            updated_at=now,
        )


def parse_tenant_id(text: str) -> str:
    """Validates a tenant id that a caller sent.

    Raises:
        Missing: `tenant_not_found`: an id that cannot exist is answered like one that does not.
    """
    try:
        return checked_tenant_id(text)
    except Invalid:
        raise missing("tenant") from None


def _disabled() -> Forbidden:
    return Forbidden("tenant_disabled", "This tenant is disabled. Ask whoever runs the platform.")


def _limits(settings: TenantSettings) -> Mapping[str, object]:
    return {name: value for name, value in settings.as_json().items() if name not in OWN_SETTINGS}


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, _READERS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(_READERS))}."
    return f"{name[:80]}: no such setting; {hint}"


def _count(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"is a whole number from {least} to {most}.")
        return value

    return read


def _texts(value: object) -> list[str]:
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return list(value)
    raise ValueError("is a list of texts.")


def _features(value: object) -> frozenset[str]:
    names = frozenset(_texts(value))
    if not names <= FEATURES:
        raise ValueError(f"known are {', '.join(sorted(FEATURES))}.")
    return names


def _time_zone(value: object) -> str:
    try:
        return parse_time_zone(str(value)).key
    except Invalid:
        raise ValueError("is a name of the IANA database such as Europe/Berlin, or UTC.") from None


def _networks(value: object) -> tuple[str, ...]:
    texts = _texts(value)
    if len(texts) > _MOST_NETWORKS:
        raise ValueError(f"holds at most {_MOST_NETWORKS} networks.")
    try:
        # Strict: `10.0.0.1/8` is more likely a slip than the whole of 10/8.
        return tuple(str(ipaddress.ip_network(text)) for text in texts)
    except ValueError:
        raise ValueError("is a list of networks like 203.0.113.0/24 or 2001:db8::/32.") from None


_READERS: Final[Mapping[str, Callable[[object], object]]] = {
    "max_agents": _count(0, MOST),
    "max_concurrent_sessions": _count(0, MOST),
    "features": _features,
    "data_retention_days": _count(1, _MOST_DAYS),
    "requests_per_minute": _count(1, MOST),
    "ip_allow_list": _networks,
    **{f"{kind}_retention_days": _count(1, _MOST_DAYS) for kind in RecordKind},
    "time_zone": _time_zone,
}
