import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from taskforce.infrastructure.llm.litellm_model import LiteLLMModel
from tests.fixtures.scripted_llm import ScriptedLLM

FAKE = Path(__file__).parent / "fakellm.yaml"
KEY = "planted-key-0123456789"


@pytest.fixture(scope="session")
async def model() -> AsyncIterator[LiteLLMModel]:
    """One transport for all tests, as a worker has one."""
    transport = LiteLLMModel()
    await transport.prepare()
    yield transport
    await transport.aclose()


@pytest.fixture
async def llm(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ScriptedLLM]:
    """The scripted endpoint, set up as a person would: by the usual variables."""
    async with ScriptedLLM() as endpoint:
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        yield endpoint


@pytest.fixture(scope="session")
def fakellm_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real `fakellm` server: an OpenAI-compatible endpoint that is not ours."""
    port = _free_port()
    command = [sys.executable, "-m", "fakellm.cli", "serve", "--port", str(port), "--config", str(FAKE)]
    log = tmp_path_factory.mktemp("fakellm") / "log"
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env=dict(os.environ)) as server:
        try:
            _wait_for(port, server)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("fakellm did not start")
