"""The files for deployment hold together: what one names, another has. No container is started."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.config import SETTINGS, settle

ROOT = Path(__file__).parents[2]
OURS = ["host", "bridge-1", "bridge-2"]
SERVICES = [*OURS, "otel-collector", "jaeger"]

# Keys of the Compose specification that the file uses; anything else is a misspelling until it is added here.
SERVICE_KEYS = {
    "build", "cap_drop", "command", "depends_on", "environment", "healthcheck", "image", "networks", "ports",
    "read_only", "restart", "security_opt", "stop_grace_period", "tmpfs", "volumes",
}  # fmt: skip
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}


@cache
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    return document


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"][name]
    return found


@cache
def collector() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "deploy/otel-collector.yaml").read_text("utf-8"))
    return document


# --- docker-compose.yml


def test_compose_has_a_host_two_bridges_a_collector_and_jaeger() -> None:
    assert sorted(compose()["services"]) == sorted(SERVICES)
    assert {key for key in compose() if not key.startswith("x-")} == {"name", "services", "networks"}


def test_compose_is_valid_by_docker_itself() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    command = [docker, "compose", "--file", str(ROOT / "docker-compose.yml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_service_refers_only_to_what_is_there(name: str) -> None:
    found = service(name)
    assert found.keys() <= SERVICE_KEYS
    assert set(found["networks"]) <= compose()["networks"].keys()
    for other, wish in found.get("depends_on", {}).items():
        assert wish["condition"] in CONDITIONS
        assert wish["condition"] != "service_healthy" or "healthcheck" in service(other)
    for volume in found.get("volumes", []):
        source, target, mode = volume.split(":")
        assert (ROOT / source).is_file()
        assert target.startswith("/")
        assert mode == "ro"


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_reachable_from_this_machine_only(name: str) -> None:
    for port in service(name).get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)
    assert "network_mode" not in service(name)


def test_no_port_of_the_machine_is_published_twice() -> None:
    ports = [port.split(":")[1] for name in SERVICES for port in service(name).get("ports", [])]
    assert len(ports) == len(set(ports))


def test_images_of_others_have_a_fixed_version() -> None:
    for name in set(SERVICES) - set(OURS):
        assert re.search(r":v?\d+\.\d+\.\d+$", service(name)["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_services_run_without_privileges(name: str) -> None:
    assert service(name)["cap_drop"] == ["ALL"]
    assert service(name)["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", OURS)
def test_our_services_have_settings_that_the_server_accepts(name: str, tmp_path: Path) -> None:
    environment = service(name)["environment"]
    ours = {key: value for key, value in environment.items() if key.startswith("BRIDGE_")}
    assert all(isinstance(value, str) for value in environment.values()), "YAML turns bare words into booleans"
    settled = settle(_empty(tmp_path), ours, {"adapters": tuple(service(name)["command"][1:])})
    assert settled.config.insecure
    assert service(name)["read_only"]


def _empty(folder: Path) -> Path:
    file = folder / "bridge.toml"
    file.write_text("[server]\n", "utf-8")
    return file


@pytest.mark.parametrize("name", OURS)
def test_our_services_are_checked_and_published_where_they_listen(name: str) -> None:
    _, _, listening = service(name)["environment"]["BRIDGE_LISTEN"].partition(":")
    assert service(name)["healthcheck"]["test"] == ["CMD", "bridge", "health", f"127.0.0.1:{listening}"]
    assert [port.split(":")[2] for port in service(name)["ports"]] == [listening]


def test_bridges_find_the_host_and_everybody_the_collector() -> None:
    host = service("host")["environment"]["BRIDGE_LISTEN"].partition(":")[2]
    for name in ("bridge-1", "bridge-2"):
        assert service(name)["environment"]["BRIDGE_HOST"] == f"host:{host}"
        assert service(name)["depends_on"]["host"] == {"condition": "service_healthy"}
    port = collector()["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].partition(":")[2]
    for name in OURS:
        assert service(name)["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == f"http://otel-collector:{port}"
        assert "backend" in service(name)["networks"]


def test_a_container_gets_more_time_to_stop_than_the_server_gives_its_calls() -> None:
    default = next(setting.default for setting in SETTINGS if setting.key == "grace")
    for name in OURS:
        assert int(service(name)["stop_grace_period"].removesuffix("s")) > default


def test_adapters_served_by_compose_are_in_the_wheel() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text("utf-8")
    for name in OURS:
        module, _, class_name = service(name)["command"][1].partition(":")
        assert f'"adapters/showcase" = "{module.replace(".", "/")}"' in pyproject
        if class_name:
            assert class_name in (ROOT / "adapters/showcase/__init__.py").read_text("utf-8")


# --- deploy/otel-collector.yaml


def test_pipelines_of_the_collector_use_components_that_are_configured() -> None:
    used: dict[str, set[str]] = {"receivers": set(), "processors": set(), "exporters": set()}
    for pipeline in collector()["service"]["pipelines"].values():
        assert pipeline.keys() == used.keys()
        for kind, names in used.items():
            names.update(pipeline[kind])
    assert used == {kind: set(collector()[kind]) for kind in used}


def test_collector_sends_to_jaeger_and_is_mounted_and_published_where_it_looks() -> None:
    exporters = collector()["exporters"]
    assert exporters["otlp_grpc/jaeger"]["endpoint"] == "jaeger:4317"
    port = exporters["prometheus"]["endpoint"].partition(":")[2]
    found = service("otel-collector")
    assert found["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert found["command"] == ["--config=" + found["volumes"][0].split(":")[1]]


# --- Dockerfile


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with their arguments, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines()]


def final_stage() -> list[tuple[str, str]]:
    found = instructions()
    last = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    return found[last:]


def test_image_is_built_in_two_stages_on_slim_python() -> None:
    bases = [arguments.split()[0] for name, arguments in instructions() if name == "FROM"]
    assert bases == ["python:3.13-slim"] * 2


def test_image_copies_only_what_is_there_and_not_ignored() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    for name, arguments in instructions():
        if name == "COPY" and not arguments.startswith("--from"):
            sources = shlex.split(arguments)[:-1]
            assert set(sources) <= allowed
            assert all((ROOT / source).exists() for source in sources)


def test_final_image_has_no_build_tools_and_no_root() -> None:
    stage = final_stage()
    runs = " ".join(arguments for name, arguments in stage if name == "RUN")
    assert "pip install" not in runs
    assert "apt-get install" not in runs
    assert "pip uninstall" in runs
    assert ("USER", "10001:10001") in stage
    assert [name for name, _ in stage].index("USER") > [name for name, _ in stage].index("RUN")


def test_image_runs_the_bridge_command_and_checks_its_default_address() -> None:
    stage = dict(final_stage())
    assert stage["ENTRYPOINT"] == '["bridge"]'
    default = next(setting.default for setting in SETTINGS if setting.key == "listen")
    assert stage["HEALTHCHECK"].endswith(f'CMD ["bridge", "health", "{default[0]}"]')
    assert stage["STOPSIGNAL"] == "SIGTERM"


# --- deploy/bridge.service


def test_systemd_unit_runs_the_bridge_unprivileged_and_gives_it_time_to_drain() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "deploy/bridge.service", "utf-8")
    assert unit.sections() == ["Unit", "Service", "Install"]
    found = unit["Service"]
    program, *arguments = shlex.split(found["ExecStart"])
    assert program.startswith("/")
    assert program.endswith("/bridge")
    assert arguments[0] == "serve"
    assert found["User"] not in ("", "root")
    default = next(setting.default for setting in SETTINGS if setting.key == "grace")
    assert int(found["TimeoutStopSec"]) > default
    assert found["RestartPreventExitStatus"].split() == ["2", "3", "4"]
    assert found["ProtectSystem"] == "strict"
