"""`asiarc reduce`: what of a winner carries its gain."""

from __future__ import annotations

from pathlib import Path

import click

from asiarc.core.recipe import MICRO, Tier
from asiarc.harness.options import AS_JSON, STORE, TIER, WORKERS, say, told


@click.command()
@click.argument("candidate")
@TIER
@STORE
@WORKERS
@click.option("--against", default="delta_net", show_default=True, help="a baseline: whose gain over it is kept")
@click.option("--task", default="text", show_default=True, help="that it is trained and scored on")
@click.option("--seeds", type=click.IntRange(min=3), default=5, show_default=True, help="fresh ones, of every mixer")
@click.option("--steps", type=click.IntRange(min=1), default=MICRO.steps, show_default=True, help="below the gpu tier")
@AS_JSON
def reduce(
    candidate: str,
    tier: Tier,
    store: Path,
    workers: int,
    against: str,
    task: str,
    seeds: int,
    steps: int,
    as_json: bool,
) -> None:
    """A winner without each of its parts in turn, down to the smallest mixer that keeps its gain."""
    from asiarc.archive.store import Archive
    from asiarc.engineer.workshop import Workshop, trial_executor
    from asiarc.export.chosen import choose
    from asiarc.models.baselines import baseline_source
    from asiarc.studies.reduce import conducted, genome_of
    from asiarc.studies.reduce import reduce as run

    with Archive(store) as archive, trial_executor(workers) as executor:
        chosen = choose(archive, candidate, tier)
        row = archive.candidate(chosen.address)
        genome = genome_of(chosen.name, row["genome"] if row else None, chosen.source)
        progress = lambda line: say(line, err=True)  # noqa: E731
        conduct = conducted(f"{chosen.name} reduced", tier, archive, Workshop(archive, executor), progress)
        found = run(genome, baseline_source(against), conduct, seeds=seeds, steps=steps, task=task, tier=tier)
    if as_json:
        told(found.as_dict())
        return
    click.echo("\n".join([*found.lines(), "", found.source]), nl=False)
