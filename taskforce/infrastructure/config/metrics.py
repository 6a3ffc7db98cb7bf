"""Metrics and objectives of service of a deployment, from its profile and its environment."""

from collections.abc import Sequence
from typing import Literal

from taskforce.core.domain.errors import Invalid
from taskforce.core.domain.metering.service_levels import Objective, ServiceKind
from taskforce.infrastructure.config.profiles import Profile
from taskforce.infrastructure.config.sections import ObjectiveSection
from taskforce.infrastructure.config.settings import Settings
from taskforce.infrastructure.metrics.process_metrics import ProcessMetrics
from taskforce.infrastructure.metrics.series import Limits

Program = Literal["gateway", "worker"]
WORKER_PORT = 9_464
"""Where a worker shows its metrics in development."""


def process_metrics(settings: Settings, profile: Profile, program: Program) -> ProcessMetrics | None:
    """Builds the metrics of a process; None where the profile has them switched off.

    Args:
        settings: The process's settings.
        profile: The deployment's profile, whose section `metrics` (guide 10.1) has the prefix.
        program: The program; its processes share numbers with each other alone, since Prometheus asks one of each.

    Raises:
        Invalid: `bad_setting`: TASKFORCE_METRICS_DIR cannot be used.
    """
    if not (profile.metrics.enabled and profile.metrics.export.prometheus):
        return None
    directory = None if settings.metrics_dir is None else settings.metrics_dir / program
    try:
        return ProcessMetrics(profile.metrics.prefix, Limits(tenants=settings.metrics_tenants), directory)
    except (OSError, ImportError) as error:
        text = f"TASKFORCE_METRICS_DIR cannot be used: {type(error).__name__}."
        raise Invalid("bad_setting", text) from None


def worker_port(settings: Settings) -> int | None:
    """Returns the port where a worker shows its metrics; None where it does not, as outside development by default."""
    if settings.worker_metrics_port is None:
        return WORKER_PORT if settings.development else None
    return settings.worker_metrics_port or None


def objectives(profile: Profile) -> Sequence[Objective]:
    """Returns the objectives of service of a deployment.

    Args:
        profile: The deployment's profile.
    """
    return [_objective(section) for section in profile.service_levels.objectives]


def _objective(section: ObjectiveSection) -> Objective:
    percent = section.availability_percent
    return Objective(
        ServiceKind(section.kind),
        section.name,
        None if percent is None else percent / 100,
        section.latency_seconds,
        section.latency_percent / 100,
    )
