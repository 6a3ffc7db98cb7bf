"""The tables as the code declares them."""

import ast
from pathlib import Path

from models import tables
from models.tables import metadata

MODULES = Path(tables.__path__[0])


def test_every_module_with_a_table_is_gathered() -> None:
    declaring = {path.stem for path in MODULES.glob("*.py") if "table=True" in path.read_text()}
    assert {module.__name__.rpartition(".")[2] for module in metadata.MODULES} == declaring


def test_the_tenant_leads_every_table() -> None:
    for name, table in metadata.METADATA.tables.items():
        assert next(iter(table.primary_key)).name == "tenant_id", name


def test_the_packages_of_models_stay_empty() -> None:
    for package in (MODULES, MODULES.parent, MODULES.parent / "messages"):
        assert not ast.parse((package / "__init__.py").read_text()).body
