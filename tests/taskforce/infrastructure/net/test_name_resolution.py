"""Names are looked up beside each other: a silent name server holds up nobody but those who ask it."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from taskforce.core.interfaces.tools import ToolFailure
from taskforce.infrastructure.net.guarded_http import GuardedHttp
from taskforce.infrastructure.net.name_resolution import Found, NameResolution, ResolvingLoop

ANSWER: Found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 80))]


class NameServer:
    """Answers at once, but for names under `silent.test`: there not before the test lets it."""

    def __init__(self) -> None:
        self.asked: Counter[object] = Counter()
        self.speaks = threading.Event()

    def __call__(self, host: object, port: object, **_: int) -> Found:
        self.asked[host] += 1
        if str(host).endswith("silent.test"):
            self.speaks.wait()
        if str(host).startswith("unknown."):
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return ANSWER


@pytest.fixture
def server() -> Iterator[NameServer]:
    one = NameServer()
    yield one
    one.speaks.set()


async def test_a_tenant_that_asks_a_silent_server_keeps_nobody_from_an_answer(server: NameServer) -> None:
    names = NameResolution(threads=6, seconds=60, lookup=server)
    silent = [asyncio.create_task(names.addresses(f"{number}.silent.test", 80, holder="acme")) for number in range(32)]
    await asyncio.sleep(0)
    assert await names.addresses("localhost", 80, holder="globex") == ("192.0.2.7",)
    assert not any(task.done() for task in silent)
    # asyncio's own threads are free, too.
    assert await asyncio.to_thread(lambda: "free") == "free"
    server.speaks.set()
    assert set(await asyncio.gather(*silent)) == {("192.0.2.7",)}
    names.close()


async def test_a_name_is_asked_for_once_at_a_time(server: NameServer) -> None:
    names = NameResolution(threads=6, seconds=60, lookup=server)
    asking = [asyncio.create_task(names.addresses("silent.test", 80, holder=str(one))) for one in range(50)]
    await asyncio.sleep(0)
    server.speaks.set()
    await asyncio.gather(*asking)
    assert server.asked == {"silent.test": 1}
    names.close()


async def test_who_waits_too_long_is_told_and_the_thread_counts_until_it_is_free(server: NameServer) -> None:
    names = NameResolution(threads=3, seconds=0.05, lookup=server)
    for number in range(3):
        with pytest.raises(socket.gaierror, match="not resolved in"):
            await names.addresses(f"{number}.silent.test", 80, holder="acme")
    # One of three is the whole share of a tenant, so the other two were not even begun.
    assert server.asked.total() == 1
    assert await names.addresses("localhost", 80, holder="globex") == ("192.0.2.7",)
    names.close()


async def test_an_unknown_name_says_so_to_tools(server: NameServer) -> None:
    http = GuardedHttp(names=NameResolution(lookup=server)).of("acme")
    with pytest.raises(ToolFailure, match="not known"):
        await http.request("GET", "https://unknown.example.com/")


def test_the_processes_loop_resolves_by_it() -> None:
    async def look() -> tuple[str, object]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
        return str(found[0][4][0]), getattr(loop, "_default_executor", None)

    with asyncio.Runner(loop_factory=ResolvingLoop) as runner:
        address, executor = runner.run(look())
    assert address in {"127.0.0.1", "::1"}
    assert executor is None
