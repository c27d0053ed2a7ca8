"""The documentation builds, names nothing that is not there, and its commands are such as exist."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from asiarc.harness.cli import main
from tests.docs.walk import NEEDS, PAGES, ROOT, blocks_of, follow

DOCS = ROOT / "docs"


def ids(page):
    return page.relative_to(DOCS).as_posix()


def test_it_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "index.html").stat().st_size > 1000


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_what_is_not_typed_says_what_it_needs(page):
    shown = [block for block in blocks_of(page.read_text()) if block.language == "sh" and not block.is_typed]
    assert all(block.needs in NEEDS for block in shown), [block.info for block in shown]
    assert "```bash" not in page.read_text(), "commands stand in blocks of sh, which are followed"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_its_commands_exist(page):
    text = "\n".join(block.text for block in blocks_of(page.read_text()) if block.language == "sh")
    assert set(re.findall(r"^asiarc ([\w-]+)", text, re.MULTILINE)) <= set(main.commands)


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_its_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not target.startswith(("http", "mailto:")):
            assert (page.parent / target).exists(), target


def test_what_agents_are_told_to_type_exists():
    for verb, options in re.findall(r"^\| `asiarc ([\w-]+) ([^`]*)`", (ROOT / "AGENTS.md").read_text(), re.MULTILINE):
        known = {name for option in main.commands[verb].params for name in option.opts}
        assert set(re.findall(r"--[\w-]+", options)) <= known, verb


PAGE = """
Write `a/b.txt`:

```python
one [1]
```

```sh
cat a/b.txt
```

```text
one [1]
o...]
```

```sh needs gpu
false
```
"""


def test_a_page_is_followed(tmp_path):
    assert follow(PAGE, tmp_path, tmp_path) == []


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("cat a/b.txt", "cat a/b.txt; false", "exit status 1"),
        ("cat a/b.txt", "cat a/c.txt", "exit status 1"),
        ("o...]", "two", "not printed: two"),
        ("one [1]\n```\n\n```sh", "one 1\n```\n\n```sh", "not printed: one [1]"),
        ("sh needs gpu", "sh", "exit status 1"),
    ],
)
def test_a_page_that_says_what_is_not_so_is_told(tmp_path, before, after, told):
    assert before in PAGE
    assert told in "\n".join(follow(PAGE.replace(before, after), tmp_path, tmp_path))
