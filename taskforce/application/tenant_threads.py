"""Threads for what would hold the event loop: parsing and checks of texts that a tenant wrote.

asyncio's default executor is shared by everything in the process. Here a tenant has a share of few threads, so that its
large documents keep nobody else's waiting; few, because Python runs one of them at a time.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from taskforce.core.domain.access.fair_shares import FairShares, tenant_busy

THREADS = 6
PATIENCE_SECONDS = 60.0

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")

_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="tenants")
_shares = FairShares(THREADS, partial(tenant_busy, 5))


async def in_thread(
    tenant_id: str, work: Callable[_Given, _Result], *given: _Given.args, **named: _Given.kwargs
) -> _Result:
    """Calls a function in a thread, when the tenant's share of the threads has room.

    Args:
        tenant_id: The tenant whose text it is about.
        work: The function.
        *given: Its arguments.
        **named: Its named arguments.

    Raises:
        Limited: `tenant_busy`: the tenant had its share in use for a minute.
    """
    await _shares.wait(tenant_id, PATIENCE_SECONDS)
    done = asyncio.get_running_loop().run_in_executor(_threads, partial(work, *given, **named))
    # At the end of the work, not of the wait for it: a thread whose caller is gone works on.
    done.add_done_callback(lambda _: _shares.release(tenant_id))
    return await asyncio.shield(done)
