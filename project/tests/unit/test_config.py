import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from app import PROJECT_DIR
from app.config import Settings

ORPHANED_SECONDS = 15


def test_environment_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9000")
    monkeypatch.setenv("MODEL", "mobilenet_v2")
    assert Settings().port == 9000
    assert Settings().model == "mobilenet_v2"


def test_dotenv_is_read_and_environment_variables_override_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=9000\nLOG_LEVEL=DEBUG\nUNKNOWN=1\n")
    monkeypatch.setenv("PORT", "9001")
    assert Settings().port == 9001
    assert Settings().log_level == "DEBUG"


def test_example_file_is_valid_and_has_the_defaults(tmp_path: Path) -> None:
    example = (Path(__file__).resolve().parents[3] / ".env.example").read_text()
    defaults = Settings().model_dump()
    uncommented = [line.removeprefix("# ") for line in example.splitlines() if re.match(r"# [A-Z_]+=", line)]
    (tmp_path / ".env").write_text("\n".join(uncommented))
    given = Settings().model_dump()
    assert {name for name in given if given[name] != defaults[name]} == {"data_dir", "database_url"}
    assert {line.split("=")[0].lower() for line in uncommented} == set(Settings.model_fields)


def test_empty_value_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    assert Settings().database_url is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "many"),
        ("PORT", "70000"),
        ("MODEL", "../resnet"),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("DATABASE_URL", "postgres://u:se/cret@localhost/x"),
        ("DATABASE_URL", "postgres://u:se#cret@localhost/x"),
        ("DATABASE_URL", "postgres://u:p@[::1/x"),
        ("DATABASE_URL", "postgres://u:p@host:port/x"),
        ("DATABASE_URL", "postgres://u:p@host/x?sslmode=bogus"),
        ("DATABASE_URL", "postgres://u:p@host/x?options=-c"),
        ("RECOVER_SECONDS", "inf"),
        ("LEASE_SECONDS", "1e30"),
        ("WORKER_THREADS", "0"),
        ("MAX_UPLOAD_BYTES", "-1"),
    ],
)
def test_invalid_value_is_rejected_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert [error["loc"] for error in refused.value.errors()] == [(name.lower(),)]


def test_settings_are_immutable() -> None:
    with pytest.raises(ValidationError):
        setattr(Settings(), "port", 1)  # noqa: B010 - mypy knows better than to assign


def test_password_is_not_displayed() -> None:
    assert "hunter2" not in repr(Settings.model_validate({"database_url": "postgres://u:hunter2@db/x"}))


def test_folders_are_in_data_dir_by_default(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert settings.uploads == tmp_path / "uploads"
    assert settings.models == tmp_path / "models"


@pytest.mark.parametrize(
    "url",
    [
        "postgres://localhost",
        "postgresql://u:p%40ss%2Fw%23rd@[::1]:5433/predictions",
        "postgres://u:p@host/x?sslmode=verify-full",
    ],
)
def test_valid_database_urls_are_accepted(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    assert Settings().database_url


def test_jobs_of_a_dead_worker_are_taken_over_within_15_seconds() -> None:
    settings = Settings()
    # It is silent for so long, and somebody looks so often.
    assert settings.heartbeat_seconds + settings.recover_seconds < ORPHANED_SECONDS


def test_every_setting_is_documented_with_its_default() -> None:
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| (?:(.*?) )?\| (.+) \|$", (PROJECT_DIR / "docs" / "settings.md").read_text(), re.MULTILINE
    )
    documented = {name: default.strip("`") for name, default, _ in rows}
    assert documented == {name.upper(): default_in_words(name) for name in Settings.model_fields}


def default_in_words(name: str) -> str:
    default = Settings.model_fields[name].default
    if name in {"uploads_dir", "models_dir"}:
        return f"DATA_DIR/{name.removesuffix('_dir')}"
    if name == "worker_threads":
        return "one per core"
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(int(default))
    if isinstance(default, Path):
        return default.name
    return f"{default:g}" if isinstance(default, float) else str(default)


@pytest.mark.parametrize("proxies", ["127.0.0.1", "10.0.0.0/8, ::1", "*", "", "fd00::/8"])
def test_trusted_proxies_are_addresses_networks_or_all(proxies: str) -> None:
    assert Settings(trusted_proxies=proxies).trusted_proxies == proxies


@pytest.mark.parametrize("proxies", ["caddy", "10.0.0.1/8", "10.0.0.0/33", "*, 10.0.0.1", "http://10.0.0.1"])
def test_trusted_proxies_that_would_never_match_are_refused(proxies: str) -> None:
    """Uvicorn would trust nobody without a word."""
    with pytest.raises(ValidationError, match="must be IP addresses or networks"):
        Settings(trusted_proxies=proxies)
