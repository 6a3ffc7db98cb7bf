"""What reaches pip and uv of a person's settings: where packages come from, never where they go."""

import os
from pathlib import Path

import pytest

from cli.setup.installer_settings import pip_environment, settings_in, uv_environment

LISTING = """\
:env:.config-file='/etc/pip.conf'
:env:.extra-index-url='https://one.example/simple https://two.example/simple'
:env:.target='/elsewhere'
:env:.user='1'
download.dest='/downloads'
global.cert='/etc/ca.pem'
global.index-url='https://me:word@index.example/simple'
global.target='/somewhere'
global.timeout='60'
install.index-url='https://install.example/simple'
install.prefix='/opt'
install.root='/mnt'
"""


def uv_of(settings: dict[str, str], root: Path, **given: str) -> dict[str, str]:
    found = uv_environment(settings, root, {"HOME": str(root / "home"), "XDG_CONFIG_DIRS": str(root / "none"), **given})
    assert found is not None
    return found


def test_settings_that_say_where_packages_come_from_stay_and_the_others_go() -> None:
    assert settings_in(LISTING) == {
        "cert": "/etc/ca.pem",
        "extra-index-url": "https://one.example/simple https://two.example/simple",
        "index-url": "https://install.example/simple",
        "timeout": "60",
    }


@pytest.mark.parametrize(
    "name", ["PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PIP_CONSTRAINT", "pip_user"]
)
def test_pip_is_told_the_settings_and_reads_no_others(name: str) -> None:
    told = pip_environment({"index-url": "https://index.example"}, {"PATH": "/bin", name: "1", "PIP_CONFIG_FILE": "x"})
    assert name not in told
    assert told["PIP_INDEX_URL"] == "https://index.example"
    assert told["PIP_CONFIG_FILE"] == os.devnull
    assert told["PATH"] == "/bin"


def test_uv_is_told_where_pip_finds_packages(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    settings = {
        **settings_in(LISTING),
        "find-links": f"{tmp_path}/wheels {tmp_path}/gone",
        "trusted-host": "index.example",
        "proxy": "proxy.example:3128",
    }
    told = uv_of(settings, tmp_path)
    assert told["UV_DEFAULT_INDEX"] == "https://install.example/simple"
    assert told["UV_INDEX"] == "https://one.example/simple https://two.example/simple"
    assert told["UV_FIND_LINKS"] == f"{tmp_path}/wheels"
    assert told["UV_INSECURE_HOST"] == "index.example"
    assert told["SSL_CERT_FILE"] == "/etc/ca.pem"
    assert told["UV_HTTP_TIMEOUT"] == "60"
    assert told["ALL_PROXY"] == "http://proxy.example:3128"


@pytest.mark.parametrize("name", ["UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS"])
def test_what_uv_itself_is_told_goes_before_what_pip_is(tmp_path: Path, name: str) -> None:
    told = uv_of({"index-url": "https://pip.example"}, tmp_path, **{name: "https://uv.example"})
    assert told[name] == "https://uv.example"
    assert "https://pip.example" not in told.values()


def test_an_index_in_a_file_of_uvs_goes_before_what_pip_is_told(tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text('[[index]]\nurl = "https://uv.example"\n')
    assert "UV_DEFAULT_INDEX" not in uv_of({"index-url": "https://pip.example"}, tmp_path)


@pytest.mark.parametrize("name", ["UV_TARGET", "UV_SYSTEM_PYTHON", "UV_PYTHON", "UV_CONSTRAINT", "UV_NO_VERIFY_HASHES"])
def test_variables_that_would_change_what_uv_does_go(tmp_path: Path, name: str) -> None:
    assert name not in uv_of({}, tmp_path, **{name: "1"})


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("home/.config/uv/uv.toml", "[pip]\ntarget = '/elsewhere'\n"),
        ("uv.toml", "[pip]\nsystem = true\n"),
        ("pyproject.toml", "[tool.uv.pip]\nprefix = '/opt'\n"),
    ],
)
def test_where_a_file_of_uvs_says_another_place_uv_is_not_used(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    given = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_DIRS": str(tmp_path / "none")}
    assert uv_environment({}, tmp_path, given) is None
    assert uv_environment({}, tmp_path, {**given, "UV_NO_CONFIG": "1"}) is not None
