"""What the core of Temporal's SDK runs on."""

import logging

from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    MetricBuffer,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)


def sdk_runtime(metrics: MetricBuffer | None = None) -> Runtime:
    """Builds a runtime whose log goes where the process's own goes.

    By itself it writes to the standard error, in a format of its own and with whatever it quotes.

    Args:
        metrics: Takes the metrics of the SDK.
    """
    warnings = TelemetryFilter(core_level="WARN", other_level="ERROR")
    forwarding = LogForwardingConfig(logging.getLogger("temporalio.core"), prepend_target_on_message=False)
    logs = LoggingConfig(warnings, forwarding)
    return Runtime(telemetry=TelemetryConfig(logging=logs, metrics=metrics, attach_service_name=metrics is None))
