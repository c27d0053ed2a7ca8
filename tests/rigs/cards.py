"""``python -m tests.rigs cards``: a card for each discovery, or else for the finalists that came nearest.

    python -m tests.rigs cards            # as often as it takes: what is trained is not trained again

Writes results/discovery/CAMPAIGN/cards: NAME.md, NAME.py (its source) and cards.json. A card tells where a mixer comes
from, which of its parts are needed (each taken away in turn, on fresh seeds, at the size and with the grid of rates at
which it was compared with the panel), what it costs beside the start, and how anybody trains it again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import click

from asiarc.analyst.lineage import Ancestor, line_to
from asiarc.core.errors import CandidateError, EvidenceError
from asiarc.core.recipe import Tier
from asiarc.harness.archive_verbs import reading
from asiarc.models.baselines import baseline_source
from asiarc.report.document import EXTRACT
from asiarc.report.wording import effect
from asiarc.researcher.mechanisms import phrase
from asiarc.studies.reduce import Conduct, Reduced, genome_of, reduce
from asiarc.studies.study import Study, StudyResult, trained
from tests.rigs.discoveries import (
    CAMPAIGN,
    DECIDES,
    FOLDER,
    SEARCHED,
    SEEDS,
    START,
    STORE,
    TAKEN,
    AgainstPanel,
    asked,
    searched_in,
)  # fmt: skip
from tests.rigs.kept import carried, put_back
from tests.rigs.panel import RATES

if TYPE_CHECKING:
    from asiarc.archive.store import Archive

TIER: Tier = "full"
NEAREST = 3  # cards that an empty gallery has


class Parts(AgainstPanel):
    """A round of a reduction, trained as the finalists were, on seeds of its own."""

    SEEDS_FROM: ClassVar[str] = "reduction"


class Cost(NamedTuple):
    """What a mixer costs, by its trials on the deciding task."""

    parameters: int
    state_bytes: int
    flops_per_token: float
    tokens_per_s: float


@dataclass(frozen=True)
class Card:
    """Everything that is told of one finalist. `reduced` is a reason where there was nothing to reduce."""

    name: str
    address: str
    source: str
    motivation: str
    found: dict[str, Any]  # its row of the table
    line: Sequence[Ancestor]
    reduced: Reduced | str
    cost: Cost
    start: Cost

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, without the source, which lies beside it."""
        reduced = self.reduced if isinstance(self.reduced, str) else self.reduced.as_dict()
        told = {"name": self.name, "address": self.address, "motivation": self.motivation, "found": self.found}
        costs = {"cost": self.cost._asdict(), "cost_of_start": self.start._asdict()}
        return told | costs | {"lineage": [asdict(one) for one in self.line], "reduced": reduced}


def carded(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the table that get a card: the discoveries, or else the `NEAREST` finalists by their mean."""
    rows = sorted(record["finalists"], key=lambda row: row["mean"])
    return [row for row in rows if row["is_discovery"]] or rows[:NEAREST]


def cost_of(archive: Archive, address: str) -> Cost:
    """Means over the scored trials on the task that decides."""
    rows = archive.rows(
        "SELECT parameters, state_bytes, flops_per_token, tokens / train_s AS pace FROM trials "
        "WHERE address = ? AND task = ? AND outcome = 'scored' AND train_s > 0", address, DECIDES,
    )  # fmt: skip
    if not rows:
        raise EvidenceError(f"{address} has no trials on {DECIDES}; python -m tests.rigs discoveries train")
    one = rows[0]
    return Cost(one["parameters"], one["state_bytes"], one["flops_per_token"], fmean(row["pace"] for row in rows))


def conducted(name: str, store: Path, workers: int) -> Conduct:
    """Rounds of a reduction as the finalists were trained."""

    def conduct(study: Study, number: int) -> StudyResult:
        round_ = Parts(mixers=study.mixers, tasks=study.tasks, seeds=study.seeds, size_of=study.size_of,
                       learning_rates=RATES)  # fmt: skip
        return trained(round_, f"{name} without parts {number + 1}", TIER, store, workers, click.echo)

    return conduct


def reduced(row: dict[str, Any], store: Path, workers: int) -> Reduced | str:
    """The smallest mixer that keeps a finalist's gain over the start, or why there is none."""
    try:
        genome = genome_of(row["name"], row["genome"], row["source"])
        conduct = conducted(row["name"], store, workers)
        return reduce(
            genome, baseline_source(START), conduct, seeds=SEEDS, steps=Parts.RECIPE.steps, task=DECIDES, tier=TIER
        )
    except (CandidateError, EvidenceError) as error:  # not of the grammar; no gain to keep on these seeds
        return str(error)


def markdown(card: Card, folder: str) -> str:
    """One card."""
    kind = "A discovery" if card.found["is_discovery"] else "No discovery: a finalist that came near"
    lines = [
        f"# {card.name}", "", card.motivation.strip(), "",
        f"{kind}. Address {card.address}, source in [{card.name}.py]({card.name}.py). On {DECIDES} it is "
        f"{effect(card.found['effect'])} over {card.found['weakest']}, the mixer of the panel that is hardest "
        f"for it (p = {card.found['adjusted']:.3g} over all that entered).",
        "", "## Where it comes from", "",
        "| | gain over the start | over its parent | new | gone |", "|---|---|---|---|---|",
        *map(_ancestor, card.line), "", "## Which of its parts are needed", "",
        *([card.reduced] if isinstance(card.reduced, str) else _list(card.reduced.lines())),
        "", "## What it costs", "",
        "Measured while the table was trained, one thread each, two at a time: no benchmark.", "",
        "| | parameters | state, bytes | FLOPs a token | tokens a second |", "|---|---|---|---|---|",
        _cost(card.name, card.cost), _cost(START, card.start), "", "## Train it again", "",
        "On fresh seeds, against any mixer of the panel, from this repository alone:", "",
        "```sh", f"asiarc retrain {folder} {card.name} --against {card.found['weakest']} --seeds 5", "```", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _list(lines: Sequence[str]) -> list[str]:
    return [f"- {line}" for line in lines]


def _ancestor(one: Ancestor) -> str:
    number = "the start" if one.number is None else f"proposal {one.number}"
    gain, step = ("–" if value is None else f"{value:+.3f}" for value in (one.gain, one.step))
    new, gone = (", ".join(map(phrase, tags)) or "–" for tags in (one.added, one.removed))
    return f"| {one.name}, {number} | {gain} | {step} | {new} | {gone} |"


def _cost(name: str, cost: Cost) -> str:
    return (
        f"| {name} | {cost.parameters:,} | {cost.state_bytes:,} | {cost.flops_per_token:,.0f} | "
        f"{cost.tokens_per_s:,.0f} |"
    )


@click.command()
@CAMPAIGN
@TAKEN
@SEARCHED
@STORE
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True)
def main(campaign: str, top: int, searched: Path | None, store: Path, workers: int) -> None:
    """What is known of each discovery, on a card of its own."""
    folder = FOLDER / campaign
    file = folder / "table.json"
    if not file.exists():
        raise EvidenceError(f"no {file.name} in {folder}; python -m tests.rigs discoveries table")
    chosen = carded(json.loads(file.read_text(encoding="utf-8")))
    searched = searched_in(campaign, searched, store)
    addresses = asked(campaign, top, searched, store).addresses
    cards = []
    put_back(folder / EXTRACT, store)
    with carried(store / "parts", folder / "parts.jsonl.gz"), reading(store) as archive, \
         reading(searched) as search:  # fmt: skip
        run = search.runs(campaign)[-1]["run"]
        start = cost_of(archive, addresses[START])
        for found in chosen:
            address = addresses[found["name"]]
            row = search.candidate(address)
            assert row is not None, "a finalist is a candidate of its search"
            cards.append(
                Card(
                    found["name"], address, row["source"], row["motivation"], found, line_to(search, run, address),
                    reduced(row, store / "parts", workers), cost_of(archive, address), start,
                )
            )  # fmt: skip
    write(folder, cards)


def write(folder: Path, cards: Sequence[Card]) -> None:
    """The cards of a campaign in its folder."""
    (folder / "cards").mkdir(parents=True, exist_ok=True)
    for card in cards:
        (folder / "cards" / f"{card.name}.md").write_text(markdown(card, f"results/discovery/{folder.name}"), "utf-8")
        (folder / "cards" / f"{card.name}.py").write_text(card.source, "utf-8")
    record = json.dumps([card.as_dict() for card in cards], indent=1)
    (folder / "cards" / "cards.json").write_text(record + "\n", "utf-8")
    click.echo(f"{len(cards)} cards in {folder / 'cards'}")
