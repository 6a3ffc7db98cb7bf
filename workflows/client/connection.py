"""The connection to Temporal, with the data converter of every process."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.runtime import Runtime
from temporalio.service import RPCError, TLSConfig

from taskforce.core.domain.errors import Unavailable
from taskforce.core.interfaces.tracing import NO_TRACING, Tracer
from workflows.client.sdk_runtime import sdk_runtime
from workflows.client.tracing import TracedCalls
from workflows.runtime.payload_converter import SparsePydantic

DATA_CONVERTER = DataConverter(payload_converter_class=SparsePydantic)


@dataclass(frozen=True, slots=True)
class TemporalAddress:
    """Address and credentials of Temporal.

    Attributes:
        address: `host:port` of the frontend.
        namespace: The namespace, which must exist.
        task_queue: The queue that the workers poll.
        tls: Whether to use TLS.
        ca, certificate, key: Paths of PEM files for TLS; None without one.
        api_key: API key, for example of Temporal Cloud.
    """

    address: str
    namespace: str = "default"
    task_queue: str = "taskforce"
    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    api_key: str | None = None

    def tls_config(self) -> TLSConfig | bool:
        """Returns the TLS settings of the SDK."""
        if not (self.ca or self.certificate):
            return self.tls
        return TLSConfig(
            server_root_ca_cert=self.ca.read_bytes() if self.ca else None,
            client_cert=self.certificate.read_bytes() if self.certificate else None,
            client_private_key=self.key.read_bytes() if self.key else None,
        )


@cache
def _process_runtime() -> Runtime:
    return sdk_runtime()


async def connect(where: TemporalAddress, runtime: Runtime | None = None, *, tracer: Tracer = NO_TRACING) -> Client:
    """Connects to Temporal.

    Args:
        where: Its address.
        runtime: The SDK's runtime; None takes that of the process.
        tracer: Its current span goes along with what is started.

    Raises:
        Unavailable: `temporal_unavailable`.
    """
    try:
        return await Client.connect(
            where.address,
            namespace=where.namespace,
            tls=where.tls_config(),
            api_key=where.api_key,
            data_converter=DATA_CONVERTER,
            runtime=runtime or _process_runtime(),
            interceptors=[TracedCalls(tracer)] if tracer.on else [],
        )
    except (RuntimeError, RPCError, OSError) as error:
        raise Unavailable(
            "temporal_unavailable", f"Temporal does not answer at {where.address}: {type(error).__name__}."
        ) from error
