"""deploy/: versions that are ours, ports that are this machine's alone, and secrets that are elsewhere."""

import re
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY

SERVICES: dict[str, Any] = yaml.safe_load((REPOSITORY / "deploy/compose.yaml").read_text(encoding="utf-8"))["services"]
SECRETS = ("POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY")


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned_and_ports_are_open_on_this_machine_alone(name: str) -> None:
    image, tag = SERVICES[name]["image"].rsplit(":", 1)
    assert image
    assert re.search(r"\d", tag)
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:"), port
    assert "network_mode" not in SERVICES[name]


@pytest.mark.parametrize("name", SERVICES)
def test_a_secret_comes_from_the_file_that_git_ignores_or_nothing_starts(name: str) -> None:
    for key, value in SERVICES[name].get("environment", {}).items():
        if re.search("PASSWORD|KEY|SECRET|MINIO_ROOT", key):
            assert re.fullmatch(rf"\$\{{({'|'.join(SECRETS)}):\?create deploy/\.env first, .*\}}", value), key
    text = f"{SERVICES[name].get('command')} {SERVICES[name].get('entrypoint')}"
    assert not re.search(r"//\w+:\w+@", text)
    assert "/deploy/.env" in (REPOSITORY / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_server_has_the_versions_that_its_clients_have() -> None:
    pinned = re.findall(r"([\w-]+)==([\w.]+)", (REPOSITORY / "deploy/mlflow.Dockerfile").read_text(encoding="utf-8"))
    assert {name for name, _ in pinned} == {"mlflow", "psycopg2-binary", "boto3"}
    lock = (REPOSITORY / "requirements-scale.lock").read_text(encoding="utf-8")
    for name, version in pinned:
        assert re.search(rf"^{name}=={re.escape(version)} ", lock, re.MULTILINE), name
    assert SERVICES["mlflow"]["image"].endswith(f":{dict(pinned)['mlflow']}")


def test_the_larger_environment_has_every_version_of_the_smaller() -> None:
    def versions(name: str) -> set[str]:
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        return set(re.findall(r"^[\w.-]+==[^ ]+(?: ; [^\\]+)?", text, re.MULTILINE))

    def bare(found: set[str]) -> set[str]:
        return {line.partition(" ")[0] for line in found}

    assert bare(versions("requirements.lock")) <= bare(versions("requirements-scale.lock"))
