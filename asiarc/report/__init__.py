"""The report: HTML, Markdown and figures, written from the archive and checkable without it.

`write` reads the archive into plain data (`facts`, `tables`), saves them as JSON and CSV, draws figures from those
files (`figures`), renders both documents (`document`) and signs everything in a manifest. `render` draws and renders
again from the saved data alone; `verify` (`checks`) recomputes the checksums and the numbers.
"""

from asiarc.report.checks import verify
from asiarc.report.document import render, write

__all__ = ["render", "verify", "write"]
