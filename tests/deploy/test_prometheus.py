"""Rules, alerts and dashboards: sound in themselves, about metrics that exist, and with data from a real Prometheus."""

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from api.web.scrape_server import showing_metrics
from cli.stack.ports import free_port
from taskforce.core.domain.errors import Unavailable
from taskforce.infrastructure.config.settings import Settings
from taskforce.infrastructure.metrics import families
from taskforce.infrastructure.metrics.families import Family
from taskforce.infrastructure.metrics.process_metrics import ProcessMetrics
from tests.deploy.conftest import DEPLOY
from tests.deploy.exercised_metrics import exercise

RULES = DEPLOY / "prometheus"
BOARDS = ("operations", "cost", "approvals")
NAME = re.compile(r"\b(?:taskforce|temporal)_[a-z0-9_]+\b")
VARIABLES = {"$__rate_interval": "1m", "$__range": "5m", "$tenant": ".*"}


def families_of_product() -> Mapping[str, Family]:
    return {one.name: one for one in vars(families).values() if isinstance(one, Family)}


def queries() -> Iterator[tuple[str, str]]:
    for board in BOARDS:
        for panel in json.loads((DEPLOY / "grafana" / f"{board}.json").read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{board}: {panel['title']}", target["expr"]


def promtool(programs: Path, *arguments: str, text: str | None = None) -> str:
    command = [str(programs / "promtool"), *arguments]
    done = subprocess.run(command, cwd=RULES, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_rules_and_alerts_are_sound_and_do_what_their_tests_say(prometheus_programs: Path) -> None:
    said = promtool(prometheus_programs, "check", "rules", "rules.yml", "alerts.yml")
    assert "12 rules found" in said
    assert "13 rules found" in said
    assert "SUCCESS" in promtool(prometheus_programs, "test", "rules", "rules_test.yml")
    promtool(prometheus_programs, "check", "config", "--syntax-only", "prometheus.yml")


async def test_the_tool_finds_nothing_to_mend_in_what_is_exposed(prometheus_programs: Path) -> None:
    metrics = ProcessMetrics()
    exercise(metrics)
    text = (await metrics.exposition()).decode()
    shown = set(re.findall(r"^# TYPE (?:taskforce_)?(\S+)", text, re.MULTILINE))
    # Nothing has gone into `other` here.
    assert set(families_of_product()) - {families.FOLDED.name} <= shown
    assert promtool(prometheus_programs, "check", "metrics", text=text) == ""


def test_rules_and_dashboards_are_about_metrics_that_exist() -> None:
    known = {f"taskforce_{name}" for name in families_of_product()}
    known |= {f"{name}{part}" for name in known for part in ("_bucket", "_sum", "_count")}
    texts = [expr for _, expr in queries()]
    for file in ("rules.yml", "alerts.yml"):
        groups = yaml.safe_load((RULES / file).read_text())["groups"]
        texts += [rule["expr"] for group in groups for rule in group["rules"]]
    named = {name for text in texts for name in NAME.findall(text)}
    assert named
    assert {name for name in named if name.startswith("taskforce_")} <= known
    recorded = {name for text in texts for name in re.findall(r"taskforce:[a-z0-9_:]+", text)}
    assert recorded <= set(re.findall(r"record: (\S+)", (RULES / "rules.yml").read_text()))


@asynccontextmanager
async def prometheus(programs: Path, directory: Path, target: int) -> AsyncIterator[httpx.AsyncClient]:
    """A Prometheus that scrapes each second."""
    job = {"job_name": "taskforce-worker", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES / "rules.yml"), str(RULES / "alerts.yml")],
        "scrape_configs": [job],
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        programs / "prometheus",
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        await process.wait()


async def answer(client: httpx.AsyncClient, expr: str) -> list[dict[str, Any]]:
    for variable, value in VARIABLES.items():
        expr = expr.replace(variable, value)
    try:
        found = await client.get("/api/v1/query", params={"query": expr})
    except httpx.TransportError:
        return []
    # While it starts.
    if found.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return []
    body = found.json()
    assert body["status"] == "success", (expr, body)
    return list(body["data"]["result"])


async def test_each_query_of_the_dashboards_returns_data_from_a_prometheus_that_scrapes_each_second(
    prometheus_programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = free_port()
    monkeypatch.setenv("TASKFORCE_WORKER_METRICS_PORT", str(target))
    metrics = ProcessMetrics()
    exercise(metrics)
    async with (
        showing_metrics(Settings.from_env(), metrics),
        prometheus(prometheus_programs, tmp_path, target) as client,
        asyncio.timeout(120),
    ):
        # A rate needs two scrapes.
        while not await answer(client, "count_over_time(taskforce_llm_cost_total[5m]) > 3"):
            exercise(metrics)
            await asyncio.sleep(0.05)
        empty = [title for title, expr in queries() if not await answer(client, expr)]
        assert empty == []
        assert (await answer(client, 'up{job="taskforce-worker"}'))[0]["value"][1] == "1"
        (cost,) = await answer(client, 'sum by (currency) (taskforce_llm_cost_total{currency="USD"})')
        assert float(cost["value"][1]) > 0


async def test_a_worker_shows_its_metrics_to_this_machine_alone_and_says_when_the_port_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = free_port()
    monkeypatch.setenv("TASKFORCE_WORKER_METRICS_PORT", str(port))
    settings, metrics = Settings.from_env(), ProcessMetrics()
    exercise(metrics)
    async with showing_metrics(settings, metrics), httpx.AsyncClient(trust_env=False, timeout=60) as client:
        found = await client.get(f"http://127.0.0.1:{port}/metrics")
        assert 'taskforce_tool_executions_total{tool_name="calculator"' in found.text
        assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 404
        with pytest.raises(Unavailable, match=f"port {port}"):
            async with showing_metrics(settings, metrics):
                pass
