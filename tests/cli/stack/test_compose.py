"""`temporal-dev.yml`: its shape, by the Compose schema; what it opens, by reading it. No container is started."""

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

REPOSITORY = Path(__file__).parents[3]
FILE = REPOSITORY / "temporal-dev.yml"


def composition() -> dict[str, dict[str, dict[str, object]]]:
    loaded: dict[str, dict[str, dict[str, object]]] = yaml.safe_load(FILE.read_text())
    return loaded


def succeeds(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_it_fits_the_compose_schema() -> None:
    package = importlib.util.find_spec("check_jsonschema")
    if package and package.origin:
        schema = json.loads((Path(package.origin).parent / "builtin_schemas/vendor/compose-spec.json").read_text())
        jsonschema.validators.validator_for(schema)(schema).validate(yaml.safe_load(FILE.read_text()))
        return
    if shutil.which("docker") and succeeds("docker", "compose", "version"):
        assert succeeds("docker", "compose", "-f", str(FILE), "config", "--quiet")
        return
    pytest.skip("neither the package check-jsonschema, which carries the schema, nor Docker's Compose is here")


def test_everything_listens_on_loopback_only() -> None:
    for name, service in composition()["services"].items():
        ports = service.get("ports", [])
        assert isinstance(ports, list)
        assert all(str(port).startswith("127.0.0.1:") for port in ports), name


def test_what_stays_up_has_a_health_check_and_mounts_only_what_is_here() -> None:
    for name, service in composition()["services"].items():
        assert "healthcheck" in service or service["restart"] == "on-failure:5", name
        volumes = service.get("volumes", [])
        assert isinstance(volumes, list)
        for source in (str(volume).partition(":")[0] for volume in volumes):
            assert not source.startswith("./") or (REPOSITORY / source).exists(), source


def test_the_temporal_ui_which_answers_to_any_name_is_asked_for() -> None:
    assert composition()["services"]["temporal-ui"]["profiles"] == ["ui"]
