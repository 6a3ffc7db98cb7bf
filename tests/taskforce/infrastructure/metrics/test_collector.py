"""The metrics of guide 6.3, for people who embed the library."""

import pytest
from prometheus_client import generate_latest

from taskforce.core.domain.errors import Invalid
from taskforce.infrastructure.metrics import MetricsCollector, get_metrics_collector
from tests.fixtures.expositions import samples

GUIDE = """
from taskforce.infrastructure.metrics import MetricsCollector, get_metrics_collector

collector = MetricsCollector(prefix="taskforce")

# Record API request metrics
collector.record_request(
    endpoint="/api/v1/agents/execute",
    method="POST",
    status_code=200,
    duration_seconds=1.5,
    tenant_id="acme-corp"
)

# Record agent execution metrics
collector.record_agent_execution(
    agent_id="customer-support-agent",
    success=True,
    duration_seconds=8.5,
    steps=5,
    tokens_used=2300,
    tenant_id="acme-corp"
)

# Record tool execution metrics
collector.record_tool_execution(
    tool_name="semantic_search",
    success=True,
    duration_seconds=0.3,
    tenant_id="acme-corp"
)

# Use timer context manager for automatic timing
with collector.time("custom_operation_duration", labels={"operation": "data_processing"}):
    # Your operation here
    import time
    time.sleep(0.1)

# Get SLA summary
sla = collector.get_sla_summary(tenant_id="acme-corp")
print(f"\\nSLA Summary for acme-corp:")
print(f"  Total requests: {sla['total_requests']}")
print(f"  Total errors: {sla['total_errors']}")
print(f"  Error rate: {sla['error_rate_percent']:.2f}%")
print(f"  Latency P50: {sla['latency_p50_seconds']:.3f}s")
print(f"  Latency P95: {sla['latency_p95_seconds']:.3f}s")
print(f"  Latency P99: {sla['latency_p99_seconds']:.3f}s")

# Export Prometheus format for Grafana dashboards
prometheus_output = collector.export_prometheus()
print("\\nPrometheus Metrics:")
print(prometheus_output)
"""
EXPOSED = """\
# TYPE taskforce_http_requests_total counter
taskforce_http_requests_total{endpoint="/api/v1/agents/execute",method="POST",status="200",tenant_id="acme-corp"} 1.0
# TYPE taskforce_http_request_duration_seconds histogram
taskforce_http_request_duration_seconds_bucket{endpoint="/api/v1/agents/execute",method="POST",status="200",tenant_id="acme-corp",le="0.5"} 0
taskforce_http_request_duration_seconds_bucket{endpoint="/api/v1/agents/execute",method="POST",status="200",tenant_id="acme-corp",le="1.0"} 0
taskforce_http_request_duration_seconds_bucket{endpoint="/api/v1/agents/execute",method="POST",status="200",tenant_id="acme-corp",le="2.5"} 1
taskforce_http_request_duration_seconds_sum{endpoint="/api/v1/agents/execute",method="POST",status="200",tenant_id="acme-corp"} 1.5
taskforce_http_request_duration_seconds_count{endpoint="/api/v1/agents/execute",method="POST",status="200",tenant_id="acme-corp"} 1
"""  # noqa: E501 - the guide's lines


def test_guide_6_3_runs_and_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    exec(GUIDE, {})
    said = capsys.readouterr().out.splitlines()
    assert said[1:8] == [
        "SLA Summary for acme-corp:",
        "  Total requests: 1",
        "  Total errors: 0",
        "  Error rate: 0.00%",
        "  Latency P50: 1.500s",
        "  Latency P95: 1.500s",
        "  Latency P99: 1.500s",
    ]
    assert said[9] == "Prometheus Metrics:"
    # Line by line as the guide prints them; there are more buckets, and lines that explain.
    assert set(EXPOSED.splitlines()) <= set(said)
    found = samples("\n".join(said[10:]))
    named = (("agent_id", "customer-support-agent"), ("tenant_id", "acme-corp"))
    assert found["taskforce_agent_tokens_total", named] == 2300
    assert found["taskforce_agent_steps_total", named] == 5
    assert found["taskforce_agent_execution_duration_seconds_sum", named] == 8.5
    tool = (("status", "succeeded"), ("tenant_id", "acme-corp"), ("tool_name", "semantic_search"))
    assert found["taskforce_tool_executions_total", tool] == 1
    timed = found["taskforce_custom_operation_duration_seconds_sum", (("operation", "data_processing"),)]
    assert timed >= 0.1


def test_the_text_says_what_prometheus_client_says_of_the_same_registry() -> None:
    collector = MetricsCollector("own")
    for status, seconds in ((200, 0.004), (200, 0.005), (500, 700.0)):
        collector.record_request('/a"b\\c\nd', "GET", status, seconds, "acme")
        collector.record_request("/x", "GET", status, seconds)
    with collector.time("work"):
        pass
    text = collector.export_prometheus()
    assert samples(text) == samples(generate_latest(collector.registry).decode())
    assert samples(text)["own_http_requests_total", (("endpoint", "/x"), ("method", "GET"), ("status", "500"))] == 1


def test_errors_are_those_of_the_service_and_percentiles_are_exact() -> None:
    collector = MetricsCollector()
    for number in range(1, 101):
        collector.record_request("/x", "GET", 503 if number > 98 else 404, number / 100, "acme")
    summary = collector.get_sla_summary("acme")
    assert (summary["total_requests"], summary["total_errors"], summary["error_rate_percent"]) == (100, 2, 2.0)
    assert summary["latency_p50_seconds"] == pytest.approx(0.505)
    assert summary["latency_p99_seconds"] == pytest.approx(0.9901)
    assert set(collector.get_sla_summary("nobody").values()) == {0}


def test_a_block_is_timed_also_when_it_raises_and_its_labels_keep_their_names() -> None:
    collector = MetricsCollector()
    with pytest.raises(ZeroDivisionError), collector.time("work", {"a": "1"}):
        _ = 1 / 0
    assert samples(collector.export_prometheus())["taskforce_work_seconds_count", (("a", "1"),)] == 1
    with pytest.raises(Invalid, match="labels a"), collector.time("work", {"b": "1"}):
        pass


def test_the_parts_of_a_process_share_one_collector() -> None:
    assert get_metrics_collector() is get_metrics_collector()


def test_ten_thousand_label_values_and_twenty_thousand_paths_leave_the_exposition_bounded() -> None:
    collector = MetricsCollector()
    for number in range(10_000):
        collector.record_tool_execution(f"tool-{number}", True, 0.1, tenant_id=f"tenant-{number}")
    sizes = []
    for round_ in range(3):
        for number in range(20_000):
            collector.record_request(f"/path/{round_}/{number}", f"VERB{number}", number, 0.1, f"tenant-{number}")
        sizes.append(len(collector.export_prometheus()))
    # What comes beyond the limits adds nothing but digits.
    assert sizes[2] <= sizes[1] * 1.01
    assert sizes[2] < 20_000_000
    found = samples(collector.export_prometheus())
    assert sum(value for (name, _), value in found.items() if name == "taskforce_http_requests_total") == 60_000
    assert {dict(labels)["method"] for (name, labels) in found if name == "taskforce_http_requests_total"} == {"other"}
    tools = {dict(labels)["tool_name"] for (name, labels) in found if name == "taskforce_tool_executions_total"}
    assert "other" in tools
    assert len(tools) == 501
