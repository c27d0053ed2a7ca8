"""Trials that are carried from one machine to the next: a store's rows in one committed file, put back where it is
empty. A study of hours is trained in pieces, wherever there is time for one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asiarc.archive import extract
from asiarc.archive.store import Archive

TRIALS = "trials.jsonl.gz"  # in a study's folder of results

@contextmanager
def carried(store: Path, file: Path) -> Iterator[None]:
    """What `file` holds is in the store within; what the store holds is in the file afterwards, however that ends."""
    put_back(file, store)
    try:
        yield
    finally:
        keep(store, file)


def put_back(file: Path, store: Path) -> int:
    """Put a file's rows into a store, beside those that it has; how many trials it has now. No file, no rows.

    Items are put back, too, to what `extract` keeps of a likelihood: a file that is written again loses none.
    """
    with Archive(store) as archive:
        if file.exists():
            with archive.transaction():
                for table, row in extract.each(file):
                    if table != "items":
                        archive.restore(table, row)
                    elif not archive.items(row["trial"]):
                        archive.add_items(row["trial"], _items(row))
        (counted,) = archive.rows("SELECT COUNT(*) AS trials FROM trials")
        return int(counted["trials"])


def _items(row: dict[str, Any]) -> list[dict[str, Any]]:
    values, lengths = row["values"], row["bytes"]
    return [{"value": value} for value in (values if lengths is None else zip(values, lengths, strict=True))]


def keep(store: Path, file: Path) -> None:
    """Write a store's rows, if it has trials."""
    with Archive(store, write=False) as archive:
        runs = [row["run"] for row in archive.runs()]
        if archive.rows("SELECT 1 FROM trials LIMIT 1"):
            file.parent.mkdir(parents=True, exist_ok=True)
            extract.save(archive, runs, file, tier="full", campaigns=None)


def write_table(folder: Path, name: str, text: str, record: Any) -> None:
    """``NAME.md`` and ``NAME.json`` in a folder: a table for people, and what it was made of."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
