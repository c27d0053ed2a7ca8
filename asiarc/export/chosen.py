"""What is exported: a candidate that somebody names, and the one of its trials that is trained again.

Of all trials the run's last stage is preferred, then text, then the longest training, then the first seed: nothing is
chosen by its score.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from asiarc.archive.cells import load_cell
from asiarc.archive.results import CampaignResult
from asiarc.archive.store import Archive, Trial
from asiarc.core.candidate import content_address
from asiarc.core.errors import EvidenceError, nearest
from asiarc.core.pattern import mixers_of
from asiarc.core.recipe import STAGES, Tier, TrialRecipe, stage_plan
from asiarc.engineer.workshop import Request
from asiarc.models.baselines import PANEL_NAMES, baseline_source
from asiarc.tasks import get_task

Row = dict[str, Any]
_TRIALS = """
    SELECT t.key, t.recipe, u.run FROM uses u JOIN trials t ON t.key = u.trial JOIN runs r ON r.run = u.run
    WHERE t.address = ?1 AND r.tier = ?2 AND (?3 IS NULL OR r.campaign = ?3) AND t.outcome = 'scored' ORDER BY r.rowid
"""
_ELSEWHERE = """
    SELECT DISTINCT r.campaign, r.tier FROM uses u JOIN trials t ON t.key = u.trial JOIN runs r ON r.run = u.run
    WHERE t.address = ? AND t.outcome = 'scored'
"""
_ENDED = "SELECT outcome, gate, reason FROM results WHERE address = ? ORDER BY rowid DESC LIMIT 1"


@dataclass(frozen=True)
class Chosen:
    """A candidate, the stored trial of it that is exported, and the run that the trial was for; with a pattern the
    sources of the other mixers in it by name."""

    address: str
    name: str
    source: str
    motivation: str
    trial: Trial
    recipe: TrialRecipe
    run: Row
    mixers: dict[str, str] = field(default_factory=dict)

    @property
    def request(self) -> Request:
        """The trial as it was asked for, at the size that it was brought to."""
        hidden, d_model = self.trial.details.get("hidden") or 0, self.recipe.d_model
        plans = self.run["identity"].get("plans", {})
        stage = self.trial.stage
        documents = plans[stage]["documents"] if stage in plans else stage_plan(self.run["tier"], "verify").documents
        return Request(
            address=self.address,
            source=self.source,
            task=self.trial.task,
            stage=stage,
            seed=self.trial.seed,
            recipe=self.recipe.at(mlp_ratio=hidden / d_model),
            match=None,  # the width of the MLP is known
            split="confirmation" if stage == "confirm" else "validation",
            documents=documents,
            device=self.run["identity"].get("device", "cpu"),
            mixers=self.mixers,
        )


def choose(archive: Archive, given: str, tier: Tier, campaign: str | None = None) -> Chosen:
    """What is named `given`: a shipped baseline, a campaign (its winner), a candidate's name, address or its beginning.

    Raises `EvidenceError` where nothing or too much has that name, and for what was never scored at the tier.
    """
    row = _candidate(archive, given, tier)
    found = archive.rows(_TRIALS, row["address"], tier, campaign)
    trials = [(trial, r) for r in found if (trial := archive.trial(r["key"])) and trial.stage in STAGES]
    if not trials:
        raise EvidenceError(_unscored(archive, row, tier, campaign))
    trial, stored = min(((t, r) for t, r in trials if r["run"] == trials[-1][1]["run"]), key=lambda one: _rank(one[0]))
    run = archive.run(stored["run"])
    assert run is not None, "a trial's run is kept"
    recipe = TrialRecipe(**load_cell(stored["recipe"])).filled_by(row["source"])
    mixers = _mixers(archive, recipe, run["identity"])
    return Chosen(row["address"], row["name"], row["source"], row["motivation"], trial, recipe, run, mixers)


def _mixers(archive: Archive, recipe: TrialRecipe, identity: Row) -> dict[str, str]:
    """The sources of the mixers beside the candidate in a pattern, as the run had them."""
    found = {name: archive.candidate(identity["mixers"][name]) for name in mixers_of(recipe.layers)}
    return {name: row["source"] for name, row in found.items() if row}


def _rank(trial: Trial) -> tuple[Any, ...]:
    stage, task = STAGES.index(trial.stage), get_task(trial.task)
    reads = task.kind == "text" and not task.trains_on_answers  # and so writes text, too
    return -stage, not reads, -trial.steps, trial.task, trial.seed


def _candidate(archive: Archive, given: str, tier: Tier) -> Row:
    address = content_address(baseline_source(given)) if given in PANEL_NAMES else _winner(archive, given, tier)
    found = archive.rows(
        "SELECT * FROM candidates WHERE address = ?1 OR "
        "(?1 IS NULL AND ?2 != '' AND (substr(address, 1, length(?2)) = ?2 OR name = ?2))",
        address, given,
    )  # fmt: skip
    if len(found) == 1:
        return found[0]
    if address:
        raise EvidenceError(_never(given, tier))
    if found:
        shown = ", ".join(f"{row['address']} ({row['name']})" for row in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise EvidenceError(f"{len(found)} candidates are called {given!r}: {shown}{more}; give more of the address")
    names = {row["name"] for row in archive.rows("SELECT DISTINCT name FROM candidates LIMIT 1000")}
    campaigns = {row["campaign"] for row in archive.runs(tier=tier) if "spec" in row["identity"]}
    close = nearest(given, names | campaigns | set(PANEL_NAMES))
    hint = f" Did you mean {close!r}?" if close else ""
    winners = ", ".join(sorted(campaigns)) or f"none was run at tier {tier}"
    raise EvidenceError(
        f"unknown candidate {given!r}.{hint} Valid: a campaign, for its winner ({winners}); a baseline "
        f"({', '.join(PANEL_NAMES)}); a candidate's name or the beginning of its address, which asiarc show "
        "CAMPAIGN lists"
    )


def _winner(archive: Archive, campaign: str, tier: Tier) -> str | None:
    """The address of a campaign's winner; None where there is no campaign of that name."""
    runs = [row for row in archive.runs(campaign, tier) if "spec" in row["identity"]]
    return CampaignResult.load(archive, runs[-1]["run"]).winner.address if runs else None


def _never(name: str, tier: Tier) -> str:
    return (
        f"the baseline {name} has no trial in this archive; train it first: "
        f"asiarc baselines --baselines {name} --tasks text --tier {tier}"
    )


def _unscored(archive: Archive, row: Row, tier: Tier, campaign: str | None) -> str:
    """Why a candidate cannot be exported, and where else it could be, or what to do."""
    where = f"at tier {tier}" + (f" in {campaign}" if campaign else "")
    others = archive.rows(_ELSEWHERE, row["address"])
    if others:
        told = ", ".join(f"--tier {other['tier']} (in {other['campaign']})" for other in others)
        return f"{row['name']} {row['address']} was not scored {where}; it was {told}: say that instead"
    if row["name"] in PANEL_NAMES:
        return _never(row["name"], tier)
    ended = archive.rows(_ENDED, row["address"])
    reason = f": {ended[0]['outcome']} {ended[0]['gate']} {ended[0]['reason']}".rstrip() if ended else ""
    return f"{row['name']} {row['address']} was never scored{reason}; only what was trained can be exported"
