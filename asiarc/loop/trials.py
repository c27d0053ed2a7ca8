"""The bench: what one campaign trains at one tier, and how two candidates are compared on it.

Knows the campaign's baselines, tasks, seeds and sizes, so that `asiarc/loop/run.py` need not. A gain is the mean paired
difference against `start_from` over common seeds, positive when the candidate is ahead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from asiarc.archive.results import Values, mean_gain, ranking_tasks, values_of
from asiarc.archive.store import Archive, Trial
from asiarc.campaign.declaration import Campaign
from asiarc.campaign.own import COSTS, Baseline
from asiarc.core.candidate import motivation
from asiarc.core.device import PRECISION, device_type
from asiarc.core.digest import digest
from asiarc.core.errors import CampaignError, ExecutionError
from asiarc.core.outcome import SCORED, Outcome
from asiarc.core.pattern import CANDIDATE, mixers_of
from asiarc.core.recipe import MICRO, OF_TEXT, StageName, StagePlan, Tier, TrialRecipe, steps_said
from asiarc.domains import Part, domain_of
from asiarc.engineer.workshop import Request, Workshop
from asiarc.evidence.shares import are_at_chance
from asiarc.models.sizes import fits, total_parameters
from asiarc.researcher.designs import WRITTEN
from asiarc.researcher.novelty import SAME
from asiarc.search.protocol import Traits
from asiarc.tasks import Task, deciding, get_task

CAPABILITY_SHARE = 0.5  # the share of start_from's distance from chance that a capability check asks for
LEARNT = 0.1  # accuracy above chance below which start_from itself has learnt nothing that could be lost
MEASURED = {"state_bytes": "state_bytes", "flops": "flops_per_token", "parameters": "parameters"}
Said = Callable[[Trial], None]
Place = tuple[str, int, int]  # address, rung, seed: one evaluation of explore


@dataclass(frozen=True)
class Standing:
    """What explore has shown of a candidate on one rung."""

    gain: float
    scores: dict[str, Any]  # by task: gain over start_from (None where there is no pair) and mean value
    holds: bool  # every capability check that was trained there


class Bench:
    """One campaign's trials at one tier, in one archive; `run` is the run that they are noted under."""

    def __init__(
        self, campaign: Campaign, tier: Tier, run: str, archive: Archive, workshop: Workshop, said: Said
    ) -> None:
        self.campaign, self.tier, self.run = campaign, tier, run
        self.archive, self.workshop, self.said = archive, workshop, said
        self.beside, self.domain = campaign.mixers_beside, domain_of(campaign.domain)
        self.baselines = {name: self._keep(campaign.baseline(name)) for name in campaign.baselines}
        for mixer in self.beside.values():
            self.archive.add_candidate(
                mixer.address, mixer.name, mixer.source, motivation(mixer.source), genome_of(mixer.name)
            )
        self.controls = {name: self._keep(campaign.baseline(name)) for name in campaign.controls_at(tier)}
        self.exempt = {address: campaign.baseline(name).exempt for name, address in self.baselines.items()}
        self.start = self.baselines[campaign.start_from]
        self.sizes = admitted_at([self.plan(stage) for stage in campaign.stages])
        self.at_chance: dict[str, tuple[str, ...]] = {}
        self.rates: dict[str, float] = {}  # explore's, of those that were tuned

    def _keep(self, one: Baseline) -> str:
        genome = self.domain.genome(one.source) if self.domain.genome else genome_of(one.name)
        self.archive.add_candidate(one.address, one.name, one.source, motivation(one.source), genome)
        return one.address

    def plan(self, stage: StageName) -> StagePlan:
        """What this tier trains in a stage."""
        return self.campaign.plan(stage, self.tier)

    def deciding(self, stage: StageName) -> tuple[str, ...]:
        """The tasks that a stage's gains are means over: those that decide and that its baselines, once trained, can be
        told from chance on; with none that may, what is left of that rule."""
        return ranking_tasks(self.campaign.stage(stage).tasks, self.at_chance.get(stage, ()))

    def look_for_chance(self, stage: StageName, trials: Sequence[Trial]) -> None:
        """Note the tasks of a stage on which no baseline can be told from chance, from their trials."""
        found = []
        for name in dict.fromkeys(trial.task for trial in trials):
            task = get_task(name)
            values = [values_of(trials, address, name) for address in self.baselines.values()]
            means = [mean(by_seed) for by_seed in values if by_seed]
            if task.chance is not None and are_at_chance(means, task.chance, self._items(stage, task)):
                found.append(name)
        self.at_chance[stage] = tuple(found)

    def _items(self, stage: StageName, task: Task) -> int:
        return min(self.plan(stage).documents, task.held_out or self.plan(stage).documents)

    def tasks(self, stage: StageName, rung: int) -> tuple[str, ...]:
        """What is trained on a rung: what decides, and on the last rung the capability checks too."""
        return self.campaign.stage(stage).tasks if self._is_last(stage, rung) else self.deciding(stage)

    def seeds(self, stage: StageName) -> int:
        """Training seeds of a stage at this tier."""
        return min(self.campaign.stage(stage).seeds, self.plan(stage).most_seeds)

    def source(self, address: str) -> str:
        """A candidate's source from the archive."""
        row = self.archive.candidate(address)
        assert row is not None, address
        return str(row["source"])

    # --- admission ------------------------------------------------------------------------------------------------

    def admit(self, addresses: Sequence[str]) -> dict[str, Outcome]:
        """The gates' outcome of each candidate, and the campaign's own caps on resources (`at_most`), time last."""
        admissions, caps = self._admissions(addresses), self.caps()
        outcomes = {
            address: self._within_caps(admission["measures"], caps)
            if admission["outcome"] == SCORED
            else admission["outcome"]
            for address, admission in admissions.items()
        }
        if "time" in self.campaign.at_most:
            admitted = {a: self.source(a) for a, outcome in outcomes.items() if outcome == SCORED}
            start, allowed = (self.start, self.source(self.start)), self.campaign.at_most["time"]
            outcomes |= self.workshop.within_time(admitted, start, allowed, self.sizes[0])
        return outcomes

    def _admissions(self, addresses: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What the gates found at every size that the campaign trains: the first rejection, or what they measured at
        the first size, explore's."""
        found: dict[str, dict[str, Any]] = {}
        for size in self.sizes:
            left = [a for a in addresses if a not in found or found[a]["outcome"] == SCORED]
            for address, admission in self._examined(left, size).items():
                if address not in found or admission["outcome"] != SCORED:
                    found[address] = admission
        return found

    def _examined(self, addresses: Sequence[str], size: TrialRecipe) -> dict[str, dict[str, Any]]:
        """The admissions at one size: by the gates in the sandbox, or by the domain's own."""
        sources = {address: self.source(address) for address in addresses}
        if self.domain.examine is None:
            exempt = {a: self.exempt[a] for a in sources if a in self.exempt}
            return self.workshop.admit(sources, size, exempt=exempt)
        parts = self._parts(size)
        return {address: self._examined_here(address, source, parts) for address, source in sources.items()}

    def _examined_here(self, address: str, source: str, parts: Mapping[str, Part]) -> dict[str, Any]:
        assert self.domain.examine is not None, "a domain with gates of its own"
        setting = self.campaign.setting
        if self.exempt.get(address):
            setting = replace(setting, quadratic=1.0)
        found = self.domain.examine(source, parts, setting)
        key = digest({"address": address, "setting": asdict(setting), "parts": {n: asdict(parts[n]) for n in parts}})
        if self.archive.admission(key) is None:
            self.archive.add_admission(key, address, found.outcome, [*found.findings], found.measures, 0.0)
        admission = self.archive.admission(key)
        assert admission is not None, "it was kept"
        return admission

    def _parts(self, size: TrialRecipe) -> dict[str, Part]:
        """The mixers beside the candidate as the gates measured them at a size."""
        found = self._examined_beside(size)
        own = {one.address: one.source for one in self.beside.values() if one.given and not one.exempt & COSTS}
        grows = {a for a, alone in self.workshop.admit(own, size).items() if alone["outcome"].gate in COSTS}
        return {
            name: Part(found[name]["measures"], bool(one.exempt & COSTS) or one.address in grows)
            for name, one in self.beside.items()
        }

    def admit_baselines(self) -> None:
        """Baselines pass the same gates (but for the quadratic reference's cost), and can be brought to start_from's
        size; `CampaignError` where one does not, `ExecutionError` where that could not be seen."""
        self._check_lengths()
        self._admit_beside()
        admissions = self._admissions(list(self.baselines.values()))
        for name, address in self.baselines.items():
            outcome, told = admissions[address]["outcome"], self.campaign.baseline(name).told
            if outcome.kind == "rejected":
                raise CampaignError(
                    f"the baseline {told} is not admitted: {outcome}; nothing was trained. Mend it, or leave it out"
                )
            if outcome != SCORED:
                raise ExecutionError(f"the gates could not examine the baseline {told}: {outcome}")
        self._check_sizes()

    def _admit_beside(self) -> None:
        """The other mixers of a pattern pass the same gates, but for those of cost: attention may stand in a hybrid."""
        for size in self.sizes:
            for name, admission in self._examined_beside(size).items():
                if admission["outcome"] != SCORED:
                    told, outcome = self.beside[name].told, admission["outcome"]
                    raise CampaignError(
                        f"the mixer {told} in layers is not admitted: {outcome}; nothing was trained. Mend it, or "
                        "leave it out"
                    )

    def _examined_beside(self, size: TrialRecipe) -> dict[str, dict[str, Any]]:
        """The admissions of the other mixers of a pattern at a size, by name."""
        sources = {one.address: one.source for one in self.beside.values()}
        exempt = {one.address: one.exempt | COSTS for one in self.beside.values()}
        found = self.workshop.admit(sources, size, exempt=exempt)
        return {name: found[one.address] for name, one in self.beside.items()}

    def verdicts(self) -> list[str]:
        """What the gates said of each baseline that is not a shipped one."""
        lines = []
        for name, address in self.baselines.items():
            declared = self.campaign.baseline(name)
            if declared.given:
                findings = self._admissions([address])[address]["findings"]
                told = Counter(finding["verdict"] for finding in findings)
                noted = [f"{f['gate']} {f['verdict']}" for f in findings if f["verdict"] != "passed"]
                lines.append(", ".join([f"{declared.told}: {told['passed']} gates passed", *noted]))
        return lines

    def _check_sizes(self) -> None:
        """Every baseline can be brought to start_from's size, counted from what the gates measured."""
        if "parameters" not in self.campaign.match:
            return
        for stage in self.campaign.stages:
            text = self.plan(stage).text
            size = next((s for s in self.sizes if (s.d_model, s.num_heads) == (text.d_model, text.num_heads)), None)
            if size is None or not text.mlp_ratio:
                continue
            stored = self._examined([*self.baselines.values()], size)
            mixers = {name: stored[address]["measures"]["parameters"] for name, address in self.baselines.items()}
            models = {name: text.filled_by(self.source(address)) for name, address in self.baselines.items()}
            mixing = {name: self.mixing(models[name], size, mixers[name]) for name in mixers}
            first, hidden = self.campaign.start_from, round(text.mlp_ratio * text.d_model)
            start, target = mixers[first], total_parameters(mixing[first], models[first], hidden)
            for name, mixer in mixers.items():
                if not fits(mixing[name], models[name], target):
                    told = self.campaign.baseline(name).told
                    raise CampaignError(
                        f"no width of the MLP brings the baseline {told} ({mixer:,.0f} parameters a mixer) to the size "
                        f"of {self.campaign.start_from} ({start:,.0f}) in {stage}; give a larger mlp_ratio, a smaller "
                        "mixer, or match=()"
                    )

    def mixing(self, recipe: TrialRecipe, size: TrialRecipe, mixer: float) -> int:
        """Parameters of all mixers of a model whose candidate has so many, as measured at a size."""
        sizes = {name: found["measures"]["parameters"] for name, found in self._examined_beside(size).items()}
        sizes[CANDIDATE] = mixer
        return round(sum(sizes[block.mixer] for block in recipe.blocks if block.mixer))

    def _check_lengths(self) -> None:
        """A window of every length that the campaign says is to be had; `TaskError` says how long the text is."""
        for stage in self.campaign.stages:
            wanted = dict(self.plan(stage).said).get("seq_len")
            for name in self.campaign.stage(stage).tasks if wanted else ():
                if get_task(name).kind == "text":
                    task = get_task(name, self.plan(stage).text.tokenizer)
                    task.keep()
                    task.batch("train", 1, "is there", seq_len=wanted)

    def measures(self, address: str) -> dict[str, float]:
        """What the gates measured of an admitted candidate at explore's size."""
        measured: dict[str, float] = self._admissions([address])[address]["measures"]
        return measured

    def caps(self) -> dict[str, float]:
        """The most that a candidate may take of each resource, counted; of time, relative to start_from's."""
        base = self.measures(self.start)
        return {
            resource: factor if resource == "time" else factor * base[MEASURED[resource]]
            for resource, factor in self.campaign.at_most.items()
            if resource in MEASURED or resource == "time"  # others are asked by the domain's gates
        }

    def _within_caps(self, measures: dict[str, float], caps: dict[str, float]) -> Outcome:
        for resource, allowed in caps.items():
            if resource == "time":  # measured, not counted
                continue
            mine = measures[MEASURED[resource]]
            if mine > allowed:
                factor = self.campaign.at_most[resource]
                limit = f"{allowed:,.0f} ({factor:g} x {self.campaign.start_from})"
                return Outcome("rejected", f"{mine:,.0f} {resource}, allowed are {limit}", resource)
        return SCORED

    def traits(self, address: str) -> Traits:
        """What an admitted candidate is: its mechanism, and its cost relative to start_from."""
        mine, base = self.measures(address), self.measures(self.start)
        row = self.archive.candidate(address)
        return Traits(
            mechanism=str(((row and row["genome"]) or {}).get("memory", "")),
            state=mine["state_bytes"] / max(1, base["state_bytes"]),
            flops=mine["flops_per_token"] / max(1, base["flops_per_token"]),
        )

    def alike(self, address: str, source: str = "", among: Sequence[str] = ()) -> list[str]:
        """The baselines first, then every candidate of the archive that computes what this one computes, in order.

        What a candidate computes is known once somebody has asked: of the baselines, and of those `among`, it is here.
        `source` is the candidate's where the archive does not keep it.
        """
        known = {a: self.source(a) for a in (*self.baselines.values(), *among)}
        known[address] = source or self.source(address)
        prints = self.workshop.fingerprints(known, self.sizes[0])
        mine = prints[address]
        if mine is None:
            return []
        found = self.workshop.behaving_as(mine, SAME * max(map(abs, mine)), self.sizes[0])
        first = [a for a in self.baselines.values() if a in found]
        return first + [a for a in found if a not in first and a != address]

    # --- trials ---------------------------------------------------------------------------------------------------

    def train_baselines(self) -> None:
        """Explore's baselines on the last rung, on all of its seeds; start_from's other trials come when gains are
        measured against them."""
        last = len(self.plan("explore").rungs) - 1
        found = self.evaluate(
            [(address, last, seed) for address in self.baselines.values() for seed in range(self.seeds("explore"))]
        )
        trials = self._all_scored([trial for some in found.values() for trial in some])
        self.look_for_chance("explore", trials)

    def start_loss(self) -> float | None:
        """start_from's mean loss on the last rung over what decides; None where any of that is an accuracy."""
        if any(get_task(task).higher_is_better for task in self.deciding("explore")):
            return None
        last = len(self.plan("explore").rungs) - 1
        found = self.evaluate([(self.start, last, seed) for seed in range(self.seeds("explore"))])
        trials = [trial for some in found.values() for trial in some]
        losses = [mean(values_of(trials, self.start, task)) for task in self.deciding("explore")]
        return sum(losses) / len(losses)

    def evaluate(self, wanted: Sequence[Place]) -> dict[Place, list[Trial]]:
        """Explore's trials of each place, and of start_from on the same rungs, by place: on the same seeds, and on
        those of `reference`.

        What decides is trained everywhere; on the first seed of the last rung the capability checks are trained too.
        Text is trained at each mixer's own best rate, where the stage searches a grid.
        """
        theirs = range(self.reference_seeds)
        places = dict.fromkeys(
            place
            for address, rung, seed in wanted
            for place in ((address, rung, seed), *((self.start, rung, one) for one in (seed, *theirs)))
        )
        self.tune_explore([address for address, *_ in places])
        requests = {
            (address, rung, seed): [
                self._request("explore", address, task, seed, rung, rate=self.rates.get(address))
                for task in (self.tasks("explore", rung) if seed == 0 else self.deciding("explore"))
            ]
            for address, rung, seed in places
        }
        trials = iter(self.workshop.train(self.run, [r for some in requests.values() for r in some], self.said))
        found = {place: [next(trials) for _ in some] for place, some in requests.items()}
        for place, some in found.items():
            if place[0] == self.start:
                self._all_scored(some)
        return found

    def standing(self, address: str, rung: int, seeds: int) -> Standing:
        """A candidate's gain on a rung over the seeds that it was trained on there, task by task."""
        found = self.evaluate([(address, rung, seed) for seed in range(seeds)])
        mine, start = (
            [trial for place, some in found.items() if place[0] == whose for trial in some]
            for whose in (address, self.start)
        )
        gains = self.gains(address, mine, start)
        deciding = [gains[task] for task in self.deciding("explore")]
        scores = {
            task: {"gain": gains.get(task), "mean": mean(values_of(mine, address, task))}
            for task in dict.fromkeys(trial.task for trial in mine)
        }
        return Standing(sum(deciding) / len(deciding), scores, self.holds(address, mine, start))

    @property
    def reference_seeds(self) -> int:
        """Seeds of start_from on a rung that the search's gains are measured against."""
        return self.plan("explore").reference_seeds(self.campaign.explore.seeds)

    def reference(self, found: Mapping[Place, Sequence[Trial]], rung: int) -> list[Trial]:
        """start_from's trials on a rung, the same for every candidate and seed."""
        return [trial for seed in range(self.reference_seeds) for trial in found[self.start, rung, seed]]

    def gain(self, trials: Sequence[Trial], reference: Sequence[Trial]) -> float:
        """The gain that one evaluation shows over start_from's mean on its rung: the mean over what decides.

        Not over start_from with the same seed: seeds have little in common between mixers, start_from's own spread is
        larger than a candidate's, and its luck would stand in every gain that is compared (results/LOG.md, 2026-12-02).
        """
        deciding, gains = self.deciding("explore"), []
        for trial in trials:
            if trial.task in deciding:
                assert trial.value is not None, "it was scored"
                sign = 1 if get_task(trial.task).higher_is_better else -1
                gains.append(sign * (trial.value - mean(values_of(reference, self.start, trial.task))))
        return sum(gains) / len(gains)

    def train_stage(self, stage: StageName, entrants: Sequence[str], rates: dict[str, float]) -> list[Trial]:
        """Every entrant and every baseline on all tasks and seeds of verify or confirm; the controls on what decides,
        trained as the recipe says, whose trials are looked at only when the task is."""
        declared = self.campaign.stage(stage)
        addresses = list(dict.fromkeys([*entrants, *self.baselines.values()]))
        requests = [
            self._request(stage, address, task, seed, rate=rates.get(address))
            for address in addresses
            for task in declared.tasks
            for seed in range(self.seeds(stage))
        ]
        beside = [
            self._request(stage, address, task, seed)
            for address in self.controls.values()
            for task in deciding(declared.tasks)
            for seed in range(self.seeds(stage))
        ]
        trials = self.workshop.train(self.run, requests + beside, self.said)[: len(requests)]
        self.look_for_chance(stage, self._all_scored([t for t in trials if t.address in self.baselines.values()]))
        return trials

    def tune(self, stage: StageName, addresses: Sequence[str]) -> dict[str, float]:
        """A stage's best learning rate for each, from the same grid for all, on its first rung and on a seed that is
        used for nothing else; where it names no grid, nothing."""
        rates, task = self.campaign.stage(stage).learning_rates, self._tuned_on(stage)
        return best_rates(
            addresses, rates,
            lambda address, rate: self._request(stage, address, task, 0, 0, rate=rate, purpose=" tuning"),
            lambda requests: self.workshop.train(self.run, requests, self.said),
            higher_is_better=get_task(task).higher_is_better,
        )  # fmt: skip

    def tune_explore(self, addresses: Sequence[str]) -> dict[str, float]:
        """Explore's rates of some mixers, each searched once; one that none of them trains has the recipe's."""
        left = [address for address in dict.fromkeys(addresses) if address not in self.rates]
        self.rates |= self.tune("explore", left)
        return {address: self.rates[address] for address in addresses if address in self.rates}

    def _tuned_on(self, stage: StageName) -> str:
        """The first task that decides, whatever its baselines will show there: rates are searched before they do."""
        return ranking_tasks(self.campaign.stage(stage).tasks, ())[0]

    def _request(
        self,
        stage: StageName,
        address: str,
        task: str,
        seed: int,
        rung: int = -1,
        *,
        rate: float | None = None,
        purpose: str = "",
    ) -> Request:
        plan = self.plan(stage)
        tasks = ranking_tasks(self.campaign.stage(stage).tasks, ())
        if task not in tasks or get_task(task).kind != get_task(tasks[0]).kind:
            rate = None  # what was searched on text is no rate of a synthetic task, nor of one that is told beside it
        is_matched, recipe = "parameters" in self.campaign.match, planned_recipe(task, plan, plan.rungs[rung])
        return trial_request(
            (address, self.source(address)), task, stage + purpose, f"{self.campaign.seed}/{stage}{purpose}/{seed}",
            recipe, match=(self.start, self.source(self.start)) if is_matched else None, documents=plan.documents,
            rate=rate, mixers=self._mixers(recipe, [address, *([self.start] if is_matched else [])]),
        )  # fmt: skip

    def _mixers(self, recipe: TrialRecipe, addresses: Sequence[str]) -> dict[str, str]:
        """The sources of the mixers beside the candidate in some models, by name."""
        names = {name for a in addresses for name in mixers_of(recipe.filled_by(self.source(a)).layers)}
        return {name: self.beside[name].source for name in sorted(names)}

    def _is_last(self, stage: StageName, rung: int) -> bool:
        return rung == len(self.plan(stage).rungs) - 1

    @staticmethod
    def _all_scored(trials: list[Trial]) -> list[Trial]:
        for trial in trials:
            if trial.outcome != SCORED:
                raise ExecutionError(
                    f"a baseline's trial on {trial.task} ended as {trial.outcome}; no gain can be measured"
                )
        return trials

    # --- comparison -----------------------------------------------------------------------------------------------

    def gains(self, address: str, trials: Sequence[Trial], reference: Sequence[Trial]) -> dict[str, float]:
        """A candidate's gain over start_from on each task that both were scored on with equal training."""
        found = {}
        for task in dict.fromkeys(t.task for t in trials if t.address == address):
            steps = {t.steps for t in trials if t.address == address and t.task == task}
            equal = [t for t in reference if t.steps in steps]
            gain = mean_gain(
                values_of(trials, address, task),
                values_of(equal, self.start, task),
                higher_is_better=get_task(task).higher_is_better,
            )
            if gain is not None:
                found[task] = gain
        return found

    def holds(self, address: str, trials: Sequence[Trial], reference: Sequence[Trial]) -> bool:
        """Whether every capability check holds: most of start_from's distance from chance is kept."""
        for name in dict.fromkeys(t.task for t in trials if t.address == address):
            task = get_task(name)
            if task.role != "capability" or task.chance is None:
                continue
            learnt = mean(values_of(reference, self.start, name)) - task.chance
            mine = values_of(trials, address, name)
            if learnt >= LEARNT and (not mine or mean(mine) - task.chance < CAPABILITY_SHARE * learnt):
                return False
        return True


def admitted_at(plans: Sequence[StagePlan]) -> list[TrialRecipe]:
    """The sizes (width and heads) that candidates are examined at: those that are said, in the order of the stages, or
    the micro size where none is."""
    said = [plan.text for plan in plans if dict(plan.said).keys() & {"d_model", "num_heads"}]
    return list({(recipe.d_model, recipe.num_heads): recipe for recipe in reversed(said)}.values())[::-1] or [MICRO]


def trial_request(
    mixer: tuple[str, str],
    task: str,
    stage: str,
    seed: str,
    recipe: TrialRecipe,
    *,
    match: tuple[str, str] | None,
    documents: int,
    rate: float | None = None,
    mixers: Mapping[str, str] | None = None,
) -> Request:
    """One trial of a mixer (address, source); what confirm measures is scored on text that nothing else has seen.

    `rate` replaces the recipe's learning rate; `match` is the mixer (address, source) whose size the model gets,
    `mixers` are the sources of the others in its pattern by name.
    """
    address, source = mixer
    return Request(
        address=address,
        source=source,
        task=task,
        stage=stage,
        seed=seed,
        recipe=recipe.at(
            learning_rate=rate or recipe.learning_rate, precision=recipe.precision or PRECISION[device_type()]
        ),
        match=match,
        split="confirmation" if stage == "confirm" else "validation",
        documents=documents,
        mixers=mixers or {},
    )


def best_rates(
    entrants: Sequence[str],
    rates: Sequence[float],
    request: Callable[[str, float], Request],
    train: Callable[[list[Request]], list[Trial]],
    *,
    higher_is_better: bool,
) -> dict[str, float]:
    """The best learning rate of each entrant, from one grid for all; the higher of equal ones.

    A grid of one is its answer without a trial; an entrant that no rate trains has none.
    """
    if len(rates) < 2:
        return dict.fromkeys(entrants, rates[0]) if rates else {}
    asked = [(entrant, rate) for entrant in entrants for rate in rates]
    trials = train([request(*one) for one in asked])
    sign = 1 if higher_is_better else -1
    scored = [(sign * t.value, *one) for one, t in zip(asked, trials, strict=True) if t.value is not None]
    return {
        entrant: rate for _, entrant, rate in sorted(scored, key=lambda found: (found[0], found[2]))
    }  # the best of each comes last


def trial_recipe(task: str, text: TrialRecipe, steps: int, capability: float) -> TrialRecipe:
    """The recipe of one trial: the stage's on text, a synthetic task's own with its steps times `capability`.

    A text whose rows are longer than the stage's has as many fewer of them: a step has the same tokens, about.
    """
    chosen = get_task(task)
    if chosen.kind == "text":
        length = chosen.row_length(text.seq_len)
        return text.at(steps=steps, seq_len=length, batch_size=max(1, text.batch_size * text.seq_len // length))
    t = chosen.training
    return TrialRecipe(
        name=f"{task} micro",
        d_model=t.d_model,
        num_layers=t.num_layers,
        num_heads=t.num_heads,
        mlp_ratio=t.mlp_ratio,
        seq_len=chosen.seq_len,
        batch_size=t.batch_size,
        steps=max(4, round(t.steps * capability)),
        learning_rate=t.learning_rate,
    )


def planned_recipe(task: str, plan: StagePlan, steps: int) -> TrialRecipe:
    """The recipe of a stage's trial on a rung of `steps`: what a campaign says holds for its synthetic tasks too, but
    for `seq_len` and `tokenizer`: how long they are is their level's, and their tokens are bytes."""
    found = trial_recipe(task, plan.text, steps, plan.capability)
    if get_task(task).kind == "text" or not plan.said:
        return found
    said = dict(plan.said)
    found = found.at(**{n: v for n, v in said.items() if n not in OF_TEXT})
    last = steps_said(said, found)
    return found.at(steps=max(1, round(last * steps / plan.rungs[-1]))) if last else found


def genome_of(baseline: str) -> dict[str, Any] | None:
    """A baseline as the grammar writes it, where it can."""
    return WRITTEN[baseline].model_dump() if baseline in WRITTEN else None


def mean(values: Values) -> float:
    """The mean over seeds of values that are not empty."""
    return sum(values.values()) / len(values)
