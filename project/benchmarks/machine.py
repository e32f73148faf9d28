"""The machine and versions of a measurement."""

import datetime as dt
import os
import platform
import sys
from importlib import metadata
from pathlib import Path


def machine() -> dict[str, str]:
    """Date, processor, cores, memory and system, and versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}, Python {platform.python_version()}",
        **{
            name: metadata.version(name)
            for name in ("fastapi", "uvicorn", "ai-edge-litert", "onnxruntime", "openvino", "tortoise-orm", "asyncpg")
        },
    }


def installed(environment: Path, package: str) -> str:
    """The version of a package in a virtual environment."""
    folder = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    versions = [found.version for found in metadata.distributions(name=package, path=[str(folder)])]
    return versions[0] if versions else "not installed"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    known = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = known.get("flags", "").split()
    wide = [name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8") if name in flags]
    return f"{known.get('model name', platform.processor() or platform.machine()).strip()} ({', '.join(wide)})"
