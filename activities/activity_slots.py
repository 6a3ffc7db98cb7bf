"""The activities that a worker takes from the server: no more than it begins soon.

The SDK hands them to Python one by one, at a rate that falls when the worker is busy. What it has taken before waits in
the order in which it came, where the server's fairness does not reach it: with a slot for each of a thousand activities
of one tenant, another's waited behind all of them, until it had timed out.
"""

import asyncio
import threading
from collections import deque
from typing import Any, Final

from temporalio import activity
from temporalio.worker import (
    ActivityInboundInterceptor,
    CustomSlotSupplier,
    ExecuteActivityInput,
    Interceptor,
    SlotMarkUsedContext,
    SlotPermit,
    SlotReleaseContext,
    SlotReserveContext,
)

AHEAD: Final = 8
"""Activities that are taken and have not begun, or are being reported: as many as the SDK polls with, and a few."""


class ActivitySlots(CustomSlotSupplier, Interceptor):
    """Gives slots as long as few of them are held by activities that have not begun.

    It is an interceptor too, the outermost one, and learns by that what has begun. The SDK calls it from threads of its
    own, except for `reserve_slot`.

    Args:
        slots: Activities at a time.
        ahead: How many of them may not have begun.
    """

    def __init__(self, slots: int, ahead: int = AHEAD) -> None:
        self._slots = slots
        self._ahead = ahead
        self._held = 0
        self._begun = 0
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()
        self._lock = threading.Lock()

    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        """Waits for a slot."""
        loop = asyncio.get_running_loop()
        while True:
            turn = loop.create_future()
            with self._lock:
                if self._has_room():
                    self._held += 1
                    return SlotPermit()
                self._waiting.append((loop, turn))
            try:
                await turn
            except asyncio.CancelledError:
                self._pass_on(turn)
                raise

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        """Returns a slot for an activity that comes with the answer to its workflow task; None without room."""
        with self._lock:
            if not self._has_room():
                return None
            self._held += 1
        return SlotPermit()

    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        """Does nothing: an activity that was received has not begun."""

    def release_slot(self, ctx: SlotReleaseContext) -> None:
        """Takes a slot back."""
        with self._lock:
            self._held -= 1
        self._wake()

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wraps an activity, to learn that it has begun."""
        return _BeginningInboundInterceptor(next, self)

    def begin(self) -> None:
        """Counts an activity that begins."""
        with self._lock:
            self._begun += 1
        self._wake()

    def end(self) -> None:
        """Counts an activity that has ended; it keeps its slot until the server is told."""
        with self._lock:
            self._begun -= 1

    def _has_room(self) -> bool:
        return self._held < self._slots and self._held - self._begun < self._ahead

    def _wake(self) -> None:
        with self._lock:
            if not self._waiting or not self._has_room():
                return
            loop, turn = self._waiting.popleft()
        try:
            loop.call_soon_threadsafe(self._hand_over, turn)
        except RuntimeError:
            # The loop was closed: its worker has ended.
            return

    def _hand_over(self, turn: "asyncio.Future[None]") -> None:
        if turn.done():
            self._wake()
        else:
            turn.set_result(None)

    def _pass_on(self, turn: "asyncio.Future[None]") -> None:
        """Lets the next one take what a wait that was cancelled was just given."""
        with self._lock:
            self._waiting = deque(one for one in self._waiting if one[1] is not turn)
        self._wake()


class _BeginningInboundInterceptor(ActivityInboundInterceptor):
    def __init__(self, inner: ActivityInboundInterceptor, slots: ActivitySlots) -> None:
        super().__init__(inner)
        self._activity_slots = slots

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, ANN401 - the SDK's signature
        if activity.info().is_local:
            return await self.next.execute_activity(input)
        self._activity_slots.begin()
        try:
            return await self.next.execute_activity(input)
        finally:
            self._activity_slots.end()
