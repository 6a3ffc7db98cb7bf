"""Signals that tell a run of people's messages: at once, or by a sweep where whoever stored a message did not."""

from contextlib import suppress

from taskforce.application.runs.control import ControlPorts, StoredMessage, signal
from taskforce.core.domain.errors import Missing
from taskforce.core.domain.runs.run import Run
from taskforce.core.interfaces.clock import Clock
from taskforce.core.interfaces.store import Store
from taskforce.core.interfaces.workflows import RunWorkflows

SIGNAL = "add_word"


async def tell_run(ports: ControlPorts, run: Run, message: StoredMessage, clock: Clock) -> None:
    """Tells a run of a message that is stored; a sweep tells it once more where this is cut off.

    Args:
        ports: The dependencies.
        run: The run.
        message: The message.
        clock: The time.

    Raises:
        Conflict: `run_finished`: it ended meanwhile.
        Missing: `run_not_found`: its workflow was terminated from outside.
        Unavailable: Temporal does not answer; the sweep tells the run.
    """
    await signal(ports, run, SIGNAL, message.message_id, message.question or "")
    async with ports.store.tenant(run.spec.tenant_id) as records:
        await records.messages.told(message.message_id, clock())


async def tell_late(store: Store, workflows: RunWorkflows, clock: Clock, tenant_id: str, message_id: str) -> bool:
    """Tells a run of a message of which it may not have been told; a run hears each id once.

    Args:
        store: The tenants' data.
        workflows: The client of the run workflows.
        clock: The time.
        tenant_id: The tenant.
        message_id: The message.

    Returns:
        Whether the run was told. A run that has ended hears nothing, and is not signalled.

    Raises:
        Unavailable: Temporal does not answer.
    """
    async with store.reading(tenant_id) as records:
        untold = await records.messages.untold(message_id)
        run = None if untold is None else await records.runs.get(untold.run_id)
    if untold is None or run is None:
        return False
    told = False
    if not run.status.is_final:
        # Without a workflow it is not told yet: another sweep starts the workflow, or closes the run's row.
        with suppress(Missing):
            await workflows.signal(tenant_id, untold.run_id, SIGNAL, message_id, untold.question or "")
            told = True
    if told or run.status.is_final:
        async with store.tenant(tenant_id) as records:
            await records.messages.told(message_id, clock())
    return told
