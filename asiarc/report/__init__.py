"""The report: HTML, Markdown and figures, written from the archive and checkable without it.

`write` reads the archive into plain data (`facts`, `tables`), saves them as JSON and CSV beside the rows that they rest
on (the extract), draws figures from those files (`figures`), renders both documents (`document`) and lists everything
in a manifest. `write_again` does the same from the extract, `render` draws and renders from the saved data alone;
`verify` and `examine` (`checks`) make all of it again and compare.
"""

from asiarc.report.checks import examine, verify
from asiarc.report.document import render, write, write_again

__all__ = ["examine", "render", "verify", "write", "write_again"]
