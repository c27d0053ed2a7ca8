"""The page in a real browser, light and dark, on a phone and on a desk; skipped where there is no chromium."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from asiarc.report.answer import opening
from asiarc.report.document import read_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE, DESK = 400, 1280
HEIGHT = 900
# A frame gives the page its width (a window has a least one); the script says what it looks like in it. Code may be
# wider than its box, which scrolls.
MEASURE = """<!doctype html><body>{frames}<script>
const box = e => e.getBoundingClientRect();
function seen(frame) {{
  const page = frame.contentDocument, all = [...page.querySelectorAll("body *:not(pre *)")];
  const wide = all.filter(e => box(e).right > frame.clientWidth + 1 && !e.closest("svg"));
  const cut = [...page.querySelectorAll("code.command, .badge, figcaption, #found p")].filter(
    e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== "inline");
  const only = page.getElementById("only-contradicted"), shown = () => [...page.querySelectorAll(".claim")].filter(
    e => box(e).height > 0).map(e => e.className.split(" ")[1]);
  const before = shown(), told = {{}};
  if (only) {{ only.checked = true; told.filtered = shown(); }}
  return {{...told, width: page.documentElement.scrollWidth, claims: before.length,
    wide: wide.map(e => e.outerHTML.slice(0, 80)), cut: cut.map(e => e.outerHTML.slice(0, 80)),
    found: [...page.querySelectorAll("#found p")].map(e => [e.textContent, box(e).bottom]),
    figures: [...page.querySelectorAll("figure svg")].filter(s => box(s).height > 60).length}};
}}
onload = () => {{
  for (const f of document.querySelectorAll("iframe"))
    f.contentDocument.querySelectorAll("details").forEach(d => d.open = true);
  document.body.textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(seen));
}}
</script>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")


def browse(folder: Path, *arguments: str) -> str:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars"]
    command = [str(CHROMIUM), *flags, f"--user-data-dir={folder / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def measure(folder: Path, written: Path, scheme: int) -> list[dict[str, object]]:
    """What the page looks like on a phone and on a desk, everything unfolded."""
    page = (written / "report.html").as_uri()
    frames = "".join(
        f'<iframe src="{page}" width="{w}" height="{HEIGHT}" style="border:0"></iframe>' for w in (PHONE, DESK)
    )
    (folder / "measure.html").write_text(MEASURE.format(frames=frames))
    text = browse(folder, "--allow-file-access-from-files", f"--blink-settings=preferredColorScheme={scheme}",
                  "--dump-dom", (folder / "measure.html").as_uri())  # fmt: skip
    found = re.search(r"<body>(\[.*\])</body>", text, flags=re.DOTALL)
    assert found, text[-500:]
    return json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@pytest.fixture
def published():
    """The largest report that is committed."""
    return Path(__file__).parents[2] / "results" / "reproduction" / "full"


@pytest.mark.parametrize(("report", "scheme"), [("written", 1), ("with_studies", 0), ("published", 1)])
def test_nothing_sticks_out_and_the_first_screen_says_what_was_found(request, tmp_path, report, scheme):
    written = request.getfixturevalue(report)
    found = read_report(written)
    said, verdicts = opening(found)["sentences"], found["claims"]["counts"]
    drawn = len(list((written / "figures").glob("*.svg")))
    assert len(said) == 4
    for width, seen in zip((PHONE, DESK), measure(tmp_path, written, scheme), strict=True):
        assert (seen["wide"], seen["cut"], seen["width"]) == ([], [], width)
        assert [text for text, _ in seen["found"]] == said
        assert max(bottom for _, bottom in seen["found"]) <= HEIGHT
        assert seen["figures"] == drawn
        assert seen["claims"] == sum(verdicts.values())  # and with a verdict chosen, its claims and no others
        assert seen.get("filtered", []) == ["contradicted"] * verdicts.get("contradicted", 0)


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
