"""What the files for production promise: no superuser, no privileges, pinned images."""

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml
from pydantic import SecretStr

from app import PROJECT_DIR, __version__
from app.config import Settings
from app.db.connection import connection_options
from app.db.embedded import embedded_postgres
from app.db.embedded_binaries import binaries
from app.db.migrations import migrate
from tests.integration.conftest import serving
from tests.pictures import jpeg
from tests.uploading import classify

pytestmark = pytest.mark.process

REPOSITORY = PROJECT_DIR.parent
ROLE = PROJECT_DIR / "deploy" / "postgres" / "role.sql"
KUBERNETES = PROJECT_DIR / "deploy" / "kubernetes"
PINNED = re.compile(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}")


@pytest.fixture
async def superuser(tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a server of the test's own, as its superuser."""
    async with embedded_postgres(tmp_path / "production", 60) as url:
        yield url


def create_role(url: str, password: str) -> None:
    """As the service `role` of docker-compose.prod.yml does it, but with a password."""
    options = connection_options(url)
    subprocess.run(
        [
            *(str(binaries() / "psql"), "--quiet", "--no-psqlrc", f"--host={options['host']}"),
            *(f"--username={options['user']}", f"--file={ROLE}"),
        ],
        env={**os.environ, "POSTGRES_PASSWORD": password, "PGPASSWORD": options["password"]},
        check=True,
    )


async def test_tables_of_the_superuser_become_those_of_the_role(superuser: str, settings: Settings) -> None:
    # As an earlier version left it.
    settings = settings.model_copy(update={"database_url": SecretStr(superuser)})
    await migrate(superuser, settings)
    async with serving(settings) as client:
        first = await classify(client, jpeg())
    await asyncio.to_thread(create_role, superuser, "its 'password")

    url = superuser.replace(f"postgres:{connection_options(superuser)['password']}", "classifier:its%20%27password")
    settings = settings.model_copy(update={"database_url": SecretStr(url)})
    await migrate(url, settings)
    connection = await asyncpg.connect(**connection_options(url))
    owners = await connection.fetch(
        """SELECT relname, relowner::regrole::text AS owner FROM pg_class
           WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'S', 'v')
           UNION ALL SELECT proname, proowner::regrole::text FROM pg_proc JOIN pg_language ON prolang = pg_language.oid
           WHERE pronamespace = 'public'::regnamespace AND lanname = 'plpgsql'
           UNION ALL SELECT typname, typowner::regrole::text FROM pg_type
           WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd')"""
    )
    assert len(owners) > 10
    assert {row["relname"]: row["owner"] for row in owners if row["owner"] != "classifier"} == {}
    assert not await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("COPY (SELECT 1) TO PROGRAM 'true'")
    # Schema changes of later versions.
    await connection.execute("ALTER TABLE predictions ADD COLUMN later int; ALTER TABLE predictions DROP COLUMN later")
    await connection.close()

    async with serving(settings) as client:
        assert (await client.get(f"/predictions/{first['id']}/")).json() == first
        assert (await classify(client, jpeg()))["status"] == "succeeded"
    # The superuser has no password any more.
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(**connection_options(superuser))


async def test_role_migrates_an_empty_database(superuser: str, settings: Settings) -> None:
    await asyncio.to_thread(create_role, superuser, "secret")
    url = superuser.replace(f"postgres:{connection_options(superuser)['password']}", "classifier:secret")
    settings = settings.model_copy(update={"database_url": SecretStr(url)})
    await migrate(url, settings)
    async with serving(settings) as client:
        assert (await classify(client, jpeg()))["status"] == "succeeded"


def composed() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.prod.yml").read_text())
    return found


def test_every_container_of_production_is_confined(subtests: pytest.Subtests) -> None:
    services = composed()["services"]
    assert len(services) == 5
    for name, service in services.items():
        with subtests.test(name):
            assert service["cap_drop"] == ["ALL"]
            assert service["security_opt"] == ["no-new-privileges:true"]
            assert service["read_only"] is True
            # nginx buffers uploads, which would fill the memory.
            assert service["tmpfs"] == ([] if name == "nginx" else ["/tmp"])  # noqa: S108 - in the container
            assert "privileged" not in service
            assert ("cap_add" in service) == (name == "db")
    reached = {name: set(service.get("networks", [])) for name, service in services.items()}
    assert reached["nginx"].isdisjoint(reached["db"])
    assert reached["web"] & reached["worker"] == set()
    assert all(composed()["networks"][name] == {"internal": True} for name in reached["db"])
    assert "postgres://classifier:" in services["web"]["environment"]["DATABASE_URL"]
    assert services["nginx"]["ports"] == ["${PUBLISH:-127.0.0.1}:${PORT:-8004}:8080"]
    assert not any("ports" in service for name, service in services.items() if name != "nginx")


def test_images_and_actions_are_pinned() -> None:
    for service in composed()["services"].values():
        default = re.sub(r"\$\{\w+:-(.*)\}", r"\1", service["image"])
        assert PINNED.fullmatch(default) or "build" in service, default
    for file in (PROJECT_DIR / "Dockerfile", PROJECT_DIR / "db" / "Dockerfile"):
        text = file.read_text()
        defaults = dict(re.findall(r"^ARG (\w+)=(.*)$", text, re.MULTILINE))
        stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
        for image in set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) - stages:
            assert PINNED.fullmatch(defaults.get(image.removeprefix("$"), image)), image
    for file in (REPOSITORY / ".github" / "workflows").glob("*.yml"):
        for action in re.findall(r"uses: (\S+)", file.read_text()):
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action), action


def manifests() -> list[dict[str, Any]]:
    files = [file for file in KUBERNETES.glob("*.yaml") if file.name != "autoscaler.yaml"]
    return [document for file in files for document in yaml.safe_load_all(file.read_text())]


def test_every_pod_is_confined() -> None:
    pods = [one["spec"]["template"]["spec"] for one in manifests() if one["kind"] in {"Deployment", "Job"}]
    assert len(pods) == 3
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["image"] == f"image-classifier-web:{__version__}"
            assert container["resources"]["limits"]["memory"]


def test_network_policies_cover_every_pod() -> None:
    def selects(policy: dict[str, Any], pod: dict[str, Any], kind: str) -> bool:
        wanted = policy["spec"]["podSelector"]["matchLabels"]
        return kind in policy["spec"]["policyTypes"] and wanted.items() <= pod["metadata"]["labels"].items()

    policies = [one for one in manifests() if one["kind"] == "NetworkPolicy"]
    pods = [one["spec"]["template"] for one in manifests() if one["kind"] in {"Deployment", "Job"}]
    for pod in pods:
        for kind in ("Ingress", "Egress"):
            assert any(selects(policy, pod, kind) for policy in policies), (pod["metadata"]["labels"], kind)
