"""The loader alone: parquet to tokens to rows, in tokens a second and a CPU-second.

Two parts, as in a trial: tokens are made once and kept (with one thread or several), then rows are dealt from
these files to one process or several that share the rows of each batch. Every measurement is a fresh process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from tests.rigs import ROOT

PAPER_ROWS, PAPER_LENGTH = 256, 2048
H100_TOKENS_PER_S = 2e6  # what a model of 20M parameters may take on one H100, about


def write_pages(folder: Path, megabytes: float) -> None:
    """The shipped corpus as parquet files in FineWeb-Edu's layout, its paragraphs dealt to documents of 4 kB anew."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from asiarc.core.seeds import rng_of
    from asiarc.tasks.corpus import docstring_corpus

    paragraphs = docstring_corpus().texts["train"].tobytes().decode().split("\n\n")
    rng, written, number = rng_of("loader"), 0.0, 0
    while written < megabytes:
        texts = []
        while len(texts) < 10_000 and written < megabytes:
            texts.append("\n\n".join(rng.choices(paragraphs, k=16)))
            written += len(texts[-1].encode()) / 1e6
        pq.write_table(pa.table({"text": texts}), folder / f"{number:03}_00000.parquet", row_group_size=1000)
        number += 1


def measured(step: str, arguments: dict[str, Any], environment: dict[str, str]) -> dict[str, float]:
    """A step in a process of its own: what it says of itself."""
    command = [sys.executable, "-m", "tests.rigs.loader", step, json.dumps(arguments)]
    done = subprocess.run(command, env=os.environ | environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def making(folder: str, tokenizer: str) -> dict[str, float]:
    """Parquet to kept tokens."""
    from asiarc.tasks import get_task, opened

    task = get_task(opened(f"text:{folder}", Path(), build=True), tokenizer)
    assert task.tokenizer.encode("the tokenizer itself is made before the clock starts")
    started, cpu = time.perf_counter(), time.process_time()
    task.keep()
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    return {"tokens": task.stream("any").tokens, "wall_s": wall_s, "cpu_s": cpu_s}


def dealing(folder: str, tokenizer: str, rank: int, processes: int, steps: int) -> dict[str, float]:
    """Kept tokens to this process's rows of each batch."""
    from asiarc.tasks import get_task, opened

    stream = get_task(opened(f"text:{folder}", Path(), build=True), tokenizer).stream("seed")
    rows = PAPER_ROWS // processes
    started, cpu = time.perf_counter(), time.process_time()
    for step in range(steps):
        stream.read((step * PAPER_ROWS + rank * rows) * PAPER_LENGTH, rows * PAPER_LENGTH).astype("int64")
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    return {"tokens": steps * rows * PAPER_LENGTH, "wall_s": wall_s, "cpu_s": cpu_s}


def told(name: str, found: Sequence[dict[str, float]]) -> float:
    """Print one line, and give the tokens a second of all processes together."""
    tokens, cpu_s = (sum(one[what] for one in found) for what in ("tokens", "cpu_s"))
    rate = tokens / max(one["wall_s"] for one in found)
    click.echo(f"{name:<40} {tokens / 1e6:8.1f} M tokens  {rate / 1e6:8.2f} M/s  {tokens / cpu_s / 1e6:8.2f} M/CPU-s")
    return rate


def together(arguments: dict[str, Any], processes: int, environment: dict[str, str]) -> list[dict[str, float]]:
    """`dealing` by several processes at once."""
    from concurrent.futures import ThreadPoolExecutor

    def one(rank: int) -> dict[str, float]:
        return measured("dealing", arguments | {"rank": rank, "processes": processes}, environment)

    with ThreadPoolExecutor(processes) as pool:
        return list(pool.map(one, range(processes)))


def caches(folder: Path) -> Iterator[dict[str, str]]:
    """Environments for one measurement after another: a cache of its own, but for what is shipped or made for all."""
    from asiarc.tasks.keep import cache_folder

    here = cache_folder().resolve()
    for number in range(1_000):
        cache = folder / f"cache{number}"
        cache.mkdir()
        for name in ("corpora", "tokenizers"):
            (here / name).mkdir(parents=True, exist_ok=True)
            (cache / name).symlink_to(here / name)
        yield {"ASIARC_CACHE": str(cache)}


@click.command()
@click.option("--tokenizer", default="bpe-8192", show_default=True, help="bytes, gpt2 or bpe-N")
@click.option("--megabytes", type=float, default=50.0, show_default=True, help="text to make tokens of")
@click.option("--workers", type=int, multiple=True, default=(1, 2), show_default=True, help="threads, then processes")
@click.option("--steps", type=int, default=50, show_default=True, help="batches of 256 x 2,048 tokens to deal")
@click.option("--pages", type=click.Path(exists=True, file_okay=False), help="a folder of FineWeb-Edu's own files")
def main(tokenizer: str, megabytes: float, workers: tuple[int, ...], steps: int, pages: str | None) -> None:
    """Tokens a second of the loader: parquet to kept tokens, and kept tokens to rows."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = Path(pages) if pages else folder / "pages"
        if not pages:
            source.mkdir()
            write_pages(source, megabytes)
        arguments = {"folder": str(source.resolve()), "tokenizer": tokenizer}
        environments = caches(folder)
        for count in workers:
            environment = next(environments)
            parallel = {"TOKENIZERS_PARALLELISM": str(count > 1).lower(), "RAYON_NUM_THREADS": str(count)}
            found = [measured("making", arguments, environment | parallel)]
            made = told(f"parquet to kept tokens, {count} threads", found)
        for count in workers:
            found = together(arguments | {"steps": steps}, count, environment)
            dealt = told(f"kept tokens to rows, {count} processes", found)
        click.echo(
            f"an H100 at 20M parameters takes some {H100_TOKENS_PER_S / 1e6:g} M tokens a second: "
            f"{H100_TOKENS_PER_S * workers[-1] / dealt:.2f} processes deal them, and "
            f"{H100_TOKENS_PER_S * workers[-1] / made:.1f} threads would make them as they are trained"
        )


STEPS = {"making": making, "dealing": dealing}

if __name__ == "__main__":
    print(json.dumps(STEPS[sys.argv[1]](**json.loads(sys.argv[2]))))  # noqa: T201 - read by `measured`
