"""Inputs that nobody meant, for minutes: what reads files and replies answers or raises an `AsiarcError`, in good time.

Half of the inputs are bytes as the fuzzer invents them, half are good data with some places replaced. Needs atheris
(``pip install atheris``), which nothing else here does. What it found lies in the tests of what it found it in.
"""

from __future__ import annotations

import faulthandler
import json
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import click

from asiarc.core.errors import AsiarcError
from tests.rigs import ROOT

QUICK = ROOT / "results" / "reproduction" / "quick"
SECONDS, SECONDS_PER_BYTE = 20.0, 2e-4  # of the processor: a floor for what any input costs, and what a byte may
STUCK = 60.0  # of the processor as well, after which it is told where it stands, and ends
FOUND = Path(tempfile.gettempdir()) / "asiarc-fuzz"  # where inputs go that were slow or broke something
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1e308, -1e308, 2**70, float("nan"), "", "nan", "\0", "x" * 5000, "../../etc/passwd", "\ud800",
    [], {}, [[]], {"": None}, [None], "2.5", "delta_net", {"values": {}}, 10**400,
)  # fmt: skip
Given = Callable[[Any], None]


class Draws(Random):
    """What the fuzzer's bytes decide: they seed it, so that short inputs differ as much as long ones."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data

    def upto(self, last: int) -> int:
        """A number from 0 to `last`."""
        return self.randrange(last + 1)

    def raw(self, most: int) -> bytes:
        """Some of the fuzzer's own bytes."""
        return self.data[: self.upto(most)]


def spoil(tree: Any, draws: Draws) -> Any:
    """Good data with one to four places replaced, removed or doubled."""
    for _ in range(draws.randint(1, 4)):
        where, parent, key = tree, None, None
        while isinstance(where, (dict, list)) and where and (parent is None or draws.upto(5)):
            keys = list(where) if isinstance(where, dict) else range(len(where))
            parent, key = where, keys[draws.upto(len(keys) - 1)]
            where = parent[key]
        if parent is None:
            return ODD[draws.upto(len(ODD) - 1)]
        what = draws.upto(9)
        if what == 0:
            del parent[key]
        elif what == 1 and isinstance(parent, list):
            parent.append(where)
        else:
            parent[key] = deepcopy(ODD[draws.upto(len(ODD) - 1)])
    return tree


def reply() -> Given:
    """A language model's reply, as the researcher reads it."""
    from asiarc.llm.reading import ReadingError
    from asiarc.researcher.ideas import read_idea

    pieces = (
        "```python\n",
        "```",
        "~~~",
        "{",
        "}",
        '"source": "',
        "<think>",
        "</think>",
        "\r\n",
        "\\u",
        "class Mixer:\n",
        "\0",
    )

    def given(draws: Draws) -> None:
        whole = "".join(
            pieces[draws.upto(len(pieces) - 1)] * draws.randint(1, 50) + draws.raw(20).decode(errors="replace")
            for _ in range(draws.upto(30))
        )
        with suppress(ReadingError):
            read_idea(whole, parent="A = 1\n", tasks=("text",))

    return given


def toml() -> Given:
    """A campaign as data."""
    import tomli_w

    from asiarc.campaign.declaration import load_toml, to_toml
    from asiarc.campaign.loading import declared

    good = ROOT / "campaigns" / "campaign_delta_text.py"
    text = to_toml(declared(good)[1])
    folder = Path(tempfile.mkdtemp())

    def given(draws: Draws) -> None:
        import tomllib

        file = folder / "campaign_x.toml"
        if draws.upto(1):
            at, cut = draws.upto(len(text)), draws.upto(40)
            file.write_bytes(text[:at].encode() + draws.raw(40) + text[at + cut :].encode())
        else:
            try:
                file.write_text(tomli_w.dumps(spoil(tomllib.loads(text), draws)), errors="surrogatepass")
            except (TypeError, ValueError, AttributeError):
                return  # what TOML cannot say
        load_toml(file)

    return given


def release() -> Given:
    """The paper's released files."""
    from asiarc.evidence.release import analyse_release, render
    from tests.evidence.test_release import faithful_search, member_record

    nodes = faithful_search(experiments=300, cold=60)
    members = [member_record(row["index"], loss=3 + row["index"] / 1000) for row in nodes[100:112]]
    good = {"tree.json": {"total_records": len(nodes), "results": nodes}, "106.json": members}
    folder = Path(tempfile.mkdtemp())

    def given(draws: Draws) -> None:
        files = json.loads(json.dumps(good))
        name = ("tree.json", "106.json")[draws.upto(1)]
        files[name] = spoil(files[name], draws)
        for file, data in files.items():
            (folder / file).write_text(json.dumps(data))
        if not draws.upto(4):
            (folder / name).write_bytes(draws.raw(200))
        render(analyse_release(folder))

    return given


def _draw_once() -> None:
    """Figures of equal rows are equal; drawing them is most of the time."""
    from asiarc.report import document

    drawn: dict[str, str] = {}
    draw = document.draw

    def once(kind: str, rows: Any) -> str:
        key = f"{kind}{rows}"
        if key not in drawn:
            drawn[key] = draw(kind, rows)
        return drawn[key]

    document.draw = once


def report() -> Given:
    """A report that somebody sends: verified, and drawn again."""
    from asiarc.report import document, verify

    _draw_once()
    folder = Path(tempfile.mkdtemp()) / "report"

    def given(draws: Draws) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(QUICK, folder)
        file = folder / "report.json"
        file.write_text(json.dumps(spoil(json.loads(file.read_text()), draws)))
        try:
            document.render(folder)
        except AsiarcError:
            manifest = json.loads((folder / "manifest.json").read_text())
            manifest["files"]["report.json"] = document.sha256(file)
            (folder / "manifest.json").write_text(json.dumps(manifest))
        verify(folder)

    return given


def _written() -> Path:
    """A folder with a store of one small campaign, and the report of it."""
    from asiarc.archive.store import Archive
    from asiarc.report import write
    from tests.report.conftest import Bench

    folder = Path(tempfile.mkdtemp())
    with Archive(folder / "store") as store:
        Bench(store).fill([0.02 * number for number in range(8)])
        write(store, "quick", folder / "quick")
    return folder


def archive() -> Given:
    """A store that is damaged, or another program's: opened, and everything read that a report reads."""
    from asiarc.archive.store import Archive
    from asiarc.report import write

    _draw_once()
    good = (_written() / "store" / "archive.db").read_bytes()
    folder = Path(tempfile.mkdtemp())

    def given(draws: Draws) -> None:
        file = folder / "archive.db"
        for old in folder.glob("archive.db*"):
            old.unlink()
        file.write_bytes(good)
        if draws.upto(1):
            content = bytearray(good)
            for _ in range(draws.randint(1, 20)):
                content[draws.upto(len(content) - 1)] = draws.upto(255)
            file.write_bytes(content[: draws.upto(len(content))] if draws.upto(1) else content)
        else:
            _spoil_cells(file, draws)
        with Archive(folder, write=bool(draws.upto(1))) as store:
            write(store, "quick", folder / "report")

    return given


def _spoil_cells(file: Path, draws: Draws) -> None:
    database = sqlite3.connect(file)
    with database:
        database.execute("PRAGMA ignore_check_constraints = ON")
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for _ in range(draws.randint(1, 3)):
            table = tables[draws.upto(len(tables) - 1)]
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            column = columns[draws.upto(len(columns) - 1)]
            value = ODD[draws.upto(len(ODD) - 1)]
            try:
                database.execute(f"UPDATE {table} SET {column} = ?", (json.dumps(value) if draws.upto(1) else value,))
            except (sqlite3.Error, OverflowError, UnicodeEncodeError):
                continue
    database.close()


def extract() -> Given:
    """The rows beside a report."""
    import gzip

    from asiarc.archive.extract import opened
    from asiarc.report import ground
    from asiarc.report.document import in_words

    good = (_written() / "quick" / "extract.jsonl.gz").read_bytes()
    file = Path(tempfile.mkdtemp()) / "extract.jsonl.gz"

    def given(draws: Draws) -> None:
        lines = [json.loads(line) for line in gzip.decompress(good).splitlines()]
        if draws.upto(1):
            packed = bytearray(good)
            packed[draws.upto(len(packed) - 1)] = draws.upto(255)
            file.write_bytes(bytes(packed))
        else:
            text = "".join(
                json.dumps(line) + "\n" for line in [spoil(line, draws) for line in lines[:1]] + spoil(lines[1:], draws)
            )
            file.write_bytes(gzip.compress(text.encode()))
        with opened(file) as rows, in_words("the rows"):
            list(ground.problems(rows))

    return given


TARGETS: dict[str, Callable[[], Given]] = {
    "reply": reply, "toml": toml, "release": release, "report": report, "archive": archive, "extract": extract,
}  # fmt: skip


@click.command()
@click.argument("target", type=click.Choice(list(TARGETS)))
@click.option("--seconds", type=click.IntRange(min=1), default=60, show_default=True)
@click.option("--seed", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--found", type=click.Path(file_okay=False, path_type=Path), default=FOUND, show_default=True,
              help="the folder for inputs that were slow or broke something; in no checkout")  # fmt: skip
def main(target: str, seconds: int, seed: int, found: Path) -> None:
    """Feed one reader until the time is up or something else than an AsiarcError comes out; exit status 1 then."""
    found = found.resolve()
    if any((folder / ".git").exists() for folder in (found, *found.parents)):
        raise click.UsageError(f"{found} is in a checkout, where what is found would be committed: name another folder")
    found.mkdir(parents=True, exist_ok=True)
    try:
        import atheris
    except ImportError as error:
        raise click.UsageError(
            "atheris is not installed; install it into this environment: pip install atheris"
        ) from error
    rooms = ["asiarc.archive", "asiarc.campaign", "asiarc.evidence", "asiarc.llm", "asiarc.report", "asiarc.researcher"]
    with atheris.instrument_imports(include=rooms):
        given = TARGETS[target]()

    faulthandler.register(signal.SIGPROF, chain=True)

    def once(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_PROF, STUCK)
        start = time.process_time()
        with suppress(AsiarcError):
            given(Draws(data))
        signal.setitimer(signal.ITIMER_PROF, 0)
        spent = time.process_time() - start
        if spent > SECONDS + SECONDS_PER_BYTE * len(data):
            raise AssertionError(f"{spent:.1f} CPU-seconds for {len(data)} bytes")

    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={seconds}",
            f"-seed={seed}",
            f"-artifact_prefix={found}/",
            "-max_len=4096",
            "-len_control=0",
            "-rss_limit_mb=4096",
        ],
        once,
    )
    atheris.Fuzz()
