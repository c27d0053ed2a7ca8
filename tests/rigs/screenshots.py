"""The report and a running campaign as people see them, as pictures to look at: ``python -m tests.rigs screenshots``.

Needs chromium (``apt-get install chromium``). The terminal's picture is that of a real run at smoke, in a folder of its
own, stopped in the middle by Ctrl-C: what stood there just before.
"""

from __future__ import annotations

import html
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from tests.harness.screen import Screen, on_terminal
from tests.rigs import ROOT

REPORT = ROOT / "results" / "reproduction" / "quick" / "report.html"
COLUMNS = 80
PAGE = "<body style='margin:1em;background:#111;color:#ddd'><pre style='font:14px/1.3 monospace'>{}</pre>"
VIEWS = {"desk": (1280, 1000, []), "dark": (1280, 1000, ["--force-dark-mode"]), "phone": (500, 900, [])}


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=ROOT / "results" / "screenshots", show_default=True)
@click.option("--stop-at", default="verify  ", show_default=True, help="what the run has printed when it is stopped")
def main(output: Path, stop_at: str) -> None:
    """Draw the committed quick report on a desk, in the dark and on a phone, and a live run on a terminal."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, (width, height, flags) in VIEWS.items():
            draw(REPORT, output / f"report-{name}.png", width, height, Path(scratch), flags)
        page = Path(scratch) / "terminal.html"
        page.write_text(PAGE.format(html.escape(running(Path(scratch) / "own", stop_at))))
        draw(page, output / "terminal.png", 760, 560, Path(scratch))
    click.echo("\n".join(str(path) for path in sorted(output.glob("*.png"))))


def draw(page: Path, picture: Path, width: int, height: int, scratch: Path, flags: list[str] | None = None) -> None:
    """A page as a browser's window of that size shows it."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise click.ClickException("no chromium here: apt-get install chromium")
    fixed = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *(flags or [])]
    these = [f"--user-data-dir={scratch / 'profile'}", f"--window-size={width},{height}", f"--screenshot={picture}"]
    subprocess.run([chromium, *fixed, *these, page.as_uri()], check=True, capture_output=True, timeout=120)


def running(folder: Path, stop_at: str) -> str:
    """What a terminal shows of a campaign at the moment that it prints `stop_at`."""
    (folder / "campaigns").mkdir(parents=True)
    shutil.copy(ROOT / "campaigns" / "campaign_mixing_alone.py", folder / "campaigns")
    command = [sys.executable, "-m", "pytest", "campaigns", "-p", "no:cacheprovider"]
    _, written = on_terminal(command, folder, width=COLUMNS, interrupt_at=stop_at)
    return Screen(COLUMNS).feed(written[: written.index("\x1b[?25h")]).text
