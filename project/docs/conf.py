"""Configuration of Sphinx, for ``make docs``. Generates the reference pages."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from reference import commands, http  # noqa: E402

from app import __version__  # noqa: E402

project = "Image classifier"
author = "The maintainers"
release = __version__
extensions = ["myst_parser"]
exclude_patterns = ["_site", "reference/*.py"]
html_theme = "furo"
html_title = project
html_static_path: list[str] = []
html_show_sphinx = html_show_copyright = False
myst_heading_anchors = 3

for name, write in {"commands": commands.page, "http": http.page}.items():
    (HERE / "reference" / f"{name}.md").write_text(write(), encoding="utf-8")
