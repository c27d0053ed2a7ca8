"""Should the mixers of a study share one variance, and does pairing by seed pay? Asked of a published report.

    python -m tests.rigs pooling results/reproduction/full

One variance for all gives more degrees of freedom (at n = 6 a multiplier of 2.0 to 2.6), where all have the same. Shown
are the spreads, Levene's test that they are equal, and how far mixers share their seeds' luck (1 - residual variance
over the variance within a mixer). Then, with the spreads taken for true, how often 95 % intervals cover a gain: those
of pooled variance and paired t, for the pair that varies most and the pair that varies least, and how wide each is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from asiarc.core.seeds import seed_of
from tests.rigs import ROOT

LEAST_MIXERS, LEAST_SEEDS = 3, 3
WORLDS = 20_000
HEAD = f"{'study, task':34}{'mixers':>7}{'n':>3}  {'spread, least to most':24}{'equal? p':>10}{'seeds agree':>13}"
ROW = "{what:34}{m:>7}{n:>3}  {least:.4f} to {most:.4f} ({times:4.1f}x) {p:>10.2g}{together:>+13.2f}"
COVERS = "    {which:26} pooled covers {pooled:.3f}, paired t {paired:.3f}; pooled is {share:.2f} as wide"


@dataclass(frozen=True)
class Table:
    """The scores of a study on one task, each mixer on every seed."""

    what: str
    scores: np.ndarray  # [mixers, seeds]

    @property
    def spreads(self) -> np.ndarray:
        """Each mixer's standard deviation over seeds, in order."""
        return np.sort(self.scores.std(axis=1, ddof=1))

    @property
    def together(self) -> float:
        """What pairing by seed saves: 1 - (what is left without mixer and seed effects) / (variance of a mixer)."""
        m, n = self.scores.shape
        own_MN = self.scores - self.scores.mean(axis=1, keepdims=True)
        left_MN = own_MN - own_MN.mean(axis=0, keepdims=True)
        within = (own_MN**2).sum() / (m * (n - 1))
        return float(1 - (left_MN**2).sum() / ((m - 1) * (n - 1)) / within) if within > 0 else 0.0

    @property
    def equal(self) -> float:
        """Levene's p-value: how surprising such spreads are where all mixers have one."""
        from scipy.stats import levene

        return float(levene(*self.scores).pvalue)


def tables(report: Path) -> Iterator[Table]:
    """Those of a published report with enough mixers and seeds, and any spread."""
    for study in json.loads(report.read_text(encoding="utf-8"))["studies"]:
        for task in study["tasks"]:
            values = [mixer["tasks"][task["name"]]["values"] for mixer in study["mixers"]]
            scored = [one for one in values if len(one) >= LEAST_SEEDS]
            seeds = sorted(set[str]().union(*scored).intersection(*scored))
            if len(scored) < LEAST_MIXERS or len(seeds) < LEAST_SEEDS:
                continue
            found = Table(f"{study['name']}, {task['name']}", np.array([[one[s] for s in seeds] for one in scored]))
            if found.spreads[-1] > 0:
                yield found


def coverage(spreads_M: np.ndarray, n: int, pair: tuple[int, int]) -> tuple[float, float, float]:
    """(pooled intervals that cover, paired ones that do, pooled width over paired), where mixers differ by nothing."""
    from scipy.stats import t as student

    m = len(spreads_M)
    rng = np.random.default_rng(seed_of("pooling", m, n, *pair))
    draws_WMN = rng.standard_normal((WORLDS, m, n)) * spreads_M[None, :, None]
    apart_WN = draws_WMN[:, pair[0]] - draws_WMN[:, pair[1]]
    gain_W = np.abs(apart_WN.mean(axis=1))
    pooled_W = np.sqrt(draws_WMN.var(axis=2, ddof=1).mean(axis=1) * 2 / n) * student.isf(0.025, m * (n - 1))
    paired_W = apart_WN.std(axis=1, ddof=1) / np.sqrt(n) * student.isf(0.025, n - 1)
    return (
        float((gain_W <= pooled_W).mean()),
        float((gain_W <= paired_W).mean()),
        float(np.median(pooled_W / paired_W)),
    )


def lines(table: Table) -> Iterator[str]:
    """What is printed of a table."""
    (m, n), spreads = table.scores.shape, table.spreads
    yield ROW.format(
        what=table.what, m=m, n=n, least=spreads[0], most=spreads[-1],
        times=spreads[-1] / max(spreads[0], 1e-9), p=table.equal, together=table.together,
    )  # fmt: skip
    for which, pair in (("the pair that varies most", (m - 1, m - 2)), ("that varies least", (0, 1))):
        if spreads[pair[0]] + spreads[pair[1]] > 0:
            pooled, paired, share = coverage(spreads, n, pair)
            yield COVERS.format(which=which, pooled=pooled, paired=paired, share=share)


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path), default=ROOT / "results/reproduction/full")
def main(folder: Path) -> None:
    """Whether mixers of a published report's studies may share one variance, and whether pairing by seed pays."""
    click.echo(HEAD)
    for table in tables(folder / "report.json"):
        for line in lines(table):
            click.echo(line)
