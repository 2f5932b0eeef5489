"""The compose file is valid, and everything that it names is there. `tests/e2e/test_compose_services.py` starts it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
import pytest
from typer.main import get_command

from app.cli import cli
from app.cli.server import GRACEFUL_SECONDS
from app.db.urls import parse
from app.main import create_app
from app.settings import Settings
from tests.architecture.compose import ROOT, SECRETS, Unset, environment, image, interpolate, load, seconds

FILES: Final = ("docker-compose.yml", "docker-compose.gpu.yml")
COMPOSE: Final = load()
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
OURS: Final = ("migrate", "api", "worker")
LASTING: Final = ("postgres", "api", "worker")


def _check(*paths: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _settings(name: str) -> Settings:
    variables = environment(SERVICES[name], SECRETS)
    prefix = "STILLHOUSE_"
    return Settings.model_validate(
        {key.removeprefix(prefix).lower(): value for key, value in variables.items() if key.startswith(prefix)}
    )


def _strings(part: object) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict):
        for key, value in part.items():
            yield from _strings(key)
            yield from _strings(value)
    elif isinstance(part, list):
        for value in part:
            yield from _strings(value)


def test_the_files_follow_the_compose_schema() -> None:
    done = _check(*(ROOT / name for name in FILES))
    assert done.returncode == 0, done.stdout


def test_the_schema_would_refuse_a_misspelt_key(tmp_path: Path) -> None:
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text((ROOT / "docker-compose.yml").read_text().replace("healthcheck:", "healtcheck:"))
    assert _check(wrong).returncode == 1


@pytest.mark.parametrize("path", [*FILES, "app/cli/Dockerfile", "workers/Dockerfile"])
def test_every_setting_that_is_named_exists(path: str) -> None:
    named = set(re.findall(r"STILLHOUSE_[A-Z_]+", (ROOT / path).read_text()))
    assert named <= {f"STILLHOUSE_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_a_service_are_valid(name: str) -> None:
    settings = _settings(name)
    dialect, url = parse(settings.database)
    assert dialect == "postgresql"
    assert url.host in SERVICES
    database = SERVICES["postgres"]["environment"]
    assert (url.username, url.database) == (database["POSTGRES_USER"], database["POSTGRES_DB"])


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_must_be_given_and_has_no_default(secret: str) -> None:
    asking = [text for text in _strings(SERVICES) if f"${{{secret}" in text]
    assert asking
    for text in asking:
        with pytest.raises(Unset, match=secret):
            interpolate(text, {name: value for name, value in SECRETS.items() if name != secret})


def test_only_the_api_is_given_the_admin_key() -> None:
    holders = [name for name in SERVICES if "STILLHOUSE_API_KEY" in environment(SERVICES[name], SECRETS)]
    assert holders == ["api"]


@pytest.mark.parametrize("name", OURS)
def test_the_command_of_a_service_exists(name: str) -> None:
    entry = image(SERVICES[name]["build"]["dockerfile"]).all("ENTRYPOINT")
    assert entry == ['["stillhouse"]']
    command, *words = SERVICES[name]["command"]
    subcommands: dict[str, Any] = get_command(cli).commands  # type: ignore[attr-defined]  # typer returns a group
    subcommands[command].make_context(command, words)


@pytest.mark.parametrize("name", OURS)
def test_the_build_of_a_service_finds_its_dockerfile(name: str) -> None:
    build = SERVICES[name]["build"]
    assert build["context"] == "."
    assert (ROOT / build["dockerfile"]).is_file()


def test_migrations_run_before_everything_that_uses_the_database() -> None:
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("api", "worker"):
        assert SERVICES[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert SERVICES["migrate"]["restart"] == "no"


def test_api_and_worker_share_one_volume_for_blobs_staging_and_checkpoints() -> None:
    for name in ("api", "worker"):
        (mount,) = SERVICES[name]["volumes"]
        volume, folder = mount.split(":")
        assert volume in COMPOSE["volumes"]
        settings = _settings(name)
        assert settings.data_dir == Path(folder)
        store = urlsplit(settings.store_url)
        assert store.scheme == "file"
        assert Path(store.path).is_relative_to(folder)
    assert SERVICES["api"]["volumes"] == SERVICES["worker"]["volumes"]


def test_every_volume_and_network_that_is_named_is_declared() -> None:
    for service in SERVICES.values():
        assert {mount.split(":")[0] for mount in service.get("volumes", ())} <= set(COMPOSE["volumes"])
        assert set(service["networks"]) <= set(COMPOSE["networks"])


def test_the_api_is_published_on_loopback_alone_and_at_its_own_port() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["api"]
    (published,) = SERVICES["api"]["ports"]
    host, outer, inner = interpolate(published, {}).split(":")
    assert host == "127.0.0.1"
    assert outer == "8000"
    settings = _settings("api")
    assert settings.host == "0.0.0.0"
    assert int(inner) == settings.port
    assert [int(port) for port in image("app/cli/Dockerfile").all("EXPOSE")] == [settings.port]


@pytest.mark.parametrize("name", LASTING)
def test_a_service_that_stays_says_how_it_is(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert seconds(check["timeout"]) <= seconds(check["interval"])
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_the_health_check_asks_a_path_that_the_api_has() -> None:
    found = re.search(r'"(http://[^"]+)"', SERVICES["api"]["healthcheck"]["test"][-1])
    assert found is not None
    url = urlsplit(found[1])
    assert url.port == _settings("api").port
    assert url.path in create_app(Settings()).openapi()["paths"]


def test_a_stop_gives_jobs_the_time_to_write_their_checkpoint() -> None:
    assert seconds(SERVICES["worker"]["stop_grace_period"]) > _settings("worker").drain_seconds + 10
    assert seconds(SERVICES["worker"]["stop_grace_period"]) > 30
    assert seconds(SERVICES["api"]["stop_grace_period"]) > GRACEFUL_SECONDS + 10


@pytest.mark.parametrize("name", ["api", "worker"])
def test_an_init_reaps_what_processes_leave(name: str) -> None:
    assert SERVICES[name]["init"] is True


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_has_no_privileges(name: str) -> None:
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]


def test_the_worker_has_no_way_out_of_the_machine() -> None:
    assert [COMPOSE["networks"][name] for name in SERVICES["worker"]["networks"]] == [{"internal": True}]


def test_the_gpu_file_adds_a_reservation_to_the_worker_and_nothing_else() -> None:
    added = load("docker-compose.gpu.yml")
    assert set(added) == {"services"}
    assert set(added["services"]) == {"worker"} <= set(SERVICES)
    (device,) = added["services"]["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


def test_the_postgresql_of_the_compose_file_is_the_one_that_the_tests_run_on(postgresql_url: str) -> None:
    with psycopg.connect(postgresql_url.replace("+psycopg", "")) as connection:
        major = connection.info.server_version // 10_000
    assert SERVICES["postgres"]["image"] == f"postgres:{major}"
