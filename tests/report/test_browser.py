"""The page in a real browser, light and dark, narrow and wide; skipped where there is no chromium."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTHS = (400, 1400)
# A frame gives the page its width (a window has a least one); the script tells how wide its content came out.
MEASURE = """<!doctype html><body>{frames}<script>
const high = s => s.getBoundingClientRect().height > 60;
const drawn = f => [...f.contentDocument.querySelectorAll("figure svg")].filter(high);
onload = () => {{ document.body.textContent = [...document.querySelectorAll("iframe")]
  .map(f => f.contentDocument.documentElement.scrollWidth + ":" + drawn(f).length).join(" ") }}
</script>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")


def browse(folder: Path, *arguments: str) -> str:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars"]
    command = [str(CHROMIUM), *flags, f"--user-data-dir={folder / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.parametrize("report", ["written", "with_studies"])
def test_nothing_sticks_out_and_every_figure_is_drawn(request, tmp_path, report):
    written = request.getfixturevalue(report)
    frames = "".join(
        f'<iframe src="{(written / "report.html").as_uri()}" width="{w}" height="900"></iframe>' for w in WIDTHS
    )
    page = tmp_path / "measure.html"
    page.write_text(MEASURE.format(frames=frames))
    text = browse(tmp_path, "--allow-file-access-from-files", "--dump-dom", page.as_uri())
    found = [
        tuple(map(int, pair))
        for pair in re.findall(r"(\d+):(\d+)", re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL))
    ]
    figures = len(list((written / "figures").glob("*.svg")))
    assert [figures] * len(WIDTHS) == [drawn for _, drawn in found]
    for width, (content, _) in zip(WIDTHS, found, strict=True):
        assert content <= width + 4


@pytest.mark.parametrize(("scheme", "value"), [("light", 1), ("dark", 0)])
def test_the_page_follows_the_readers_scheme(written, tmp_path, scheme, value):
    shot = tmp_path / "page.png"
    browse(tmp_path, f"--blink-settings=preferredColorScheme={value}", "--window-size=900,1400", f"--screenshot={shot}",
           (written / "report.html").as_uri())  # fmt: skip
    grey = Image.open(shot).convert("L")
    histogram = grey.histogram()
    ground = max(range(256), key=histogram.__getitem__)
    assert (ground > 200) == (scheme == "light")
    far = sum(histogram[level] for level in range(256) if abs(level - ground) > 120)
    assert far > 0.01 * sum(histogram)  # text stands out from the ground
