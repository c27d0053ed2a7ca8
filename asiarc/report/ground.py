"""The rows of an extract against one another: what a row says that other rows give is derived from them.

A run's name is the hash of its declaration and so of its seeds, tasks and sizes; with those, a finished stage has a
trial of every entrant and every baseline on every task and seed. A candidate's address is the hash of its source. A
trial's value is what its items give. Gains, winners, records of studies and searches are what the trials give, and of
kernels what the timings do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from asiarc.archive.extract import Extract
from asiarc.archive.results import CampaignResult, Row, Values, address_in, mean_gain, values_of
from asiarc.archive.secret import Secret, opened
from asiarc.archive.store import Archive, Trial
from asiarc.core.candidate import address_of
from asiarc.core.digest import digest
from asiarc.core.recipe import STAGES, StageName
from asiarc.domains import kernel
from asiarc.evidence.effects import decide
from asiarc.report import studies
from asiarc.report.compare import close
from asiarc.studies.arms import first_rung_gains
from asiarc.tasks import deciding, get_task

if TYPE_CHECKING:
    from asiarc.loop.kernels import Times

COMPARED = (
    "runs with the hash of what they declare, candidates with the hash of their source",
    "trials with the seeds, tasks and entrants that each finished stage and study declares",
    "gains of proposals and of stages, and winners, from the values of trials",
)


def problems(extract: Extract) -> Iterator[str]:
    """Whatever a row of an extract says that its other rows do not give."""
    archive = extract.archive
    yield from [*_values(extract), *_sizes(archive), *_addresses(archive)]
    told = {row["run"] for row in archive.rows("SELECT DISTINCT run FROM uses")}
    for row in archive.runs():
        where = f"{row['campaign']} at {row['tier']}, run {row['run']}"
        if digest(row["identity"]) != row["run"]:
            yield f"{where}: what it declares has the name {digest(row['identity'])}"
        for key in ("tier", "seed", "campaign"):
            if key in row["identity"] and not str(row[key]).startswith(str(row["identity"][key])):
                yield f"{where}: {key} is {row[key]!r}, it declares {row['identity'][key]!r}"
        if row["run"] in told and "spec" in row["identity"]:
            yield from (f"{where}: {line}" for line in _campaign(archive, row))
        elif row["run"] in told and "study" in row["identity"]:
            yield from (f"{where}: {line}" for line in _study(archive, row))
        elif "arms" in row["identity"]:
            yield from (f"{where}: {line}" for line in _search(archive, row))
        elif "start" in row["identity"] and archive.addresses(row["run"], 0, 1):
            yield from (f"{where}: {line}" for line in _timed(archive, row))


def unsealed(archive: Archive, secret: Secret) -> Iterator[str]:
    """Whatever runs that name a commitment were not drawn from a secret: the commitment itself, and each seed."""
    for row in archive.runs():
        where, seal = f"{row['campaign']} at {row['tier']}, run {row['run']}", row["provenance"].get("seal")
        if seal is None:
            continue
        if seal != secret.commitment:
            yield f"{where}: it committed to {seal}, the secret is that of {secret.commitment}"
        for trial in archive.trials(row["run"]):
            if trial.stage != "explore" and trial.seed != secret.sealed(opened(trial.seed)):
                yield f"{where}: the seed {trial.seed} does not come from the secret"


def _values(extract: Extract) -> Iterator[str]:
    trials = extract.archive.rows("SELECT key, address, task, seed, steps, outcome, value FROM trials")
    for row in trials:
        where = f"trial {row['key']} ({row['address']} on {row['task']}, seed {row['seed']}, {row['steps']} steps)"
        if (row["outcome"] == "scored") != (row["value"] is not None):
            yield f"{where}: {row['outcome']} with the value {row['value']}"
        elif row["value"] is None:
            continue
        elif row["key"] not in extract.values:
            yield f"{where}: scored without a result of any item"
        else:
            value, apart = extract.values[row["key"]]
            if not close(row["value"], value, apart):
                yield f"{where}: its value is {row['value']!r}, its items give {value!r}"
    if lost := extract.values.keys() - {row["key"] for row in trials}:
        yield f"items of trials that are not there: {', '.join(sorted(lost))}"


def _addresses(archive: Archive) -> Iterator[str]:
    of_kernels = set(_kernels(archive))
    for row in archive.rows("SELECT address, name, source FROM candidates"):
        due = kernel.address_of(row["source"]) if row["address"] in of_kernels else address_of(row["source"])
        if due != row["address"]:
            yield f"candidate {row['name']}: its source has address {due}, not {row['address']}"


def _sizes(archive: Archive) -> Iterator[str]:
    """One size of a candidate on one recipe in one run."""
    for key in ("parameters", "state_bytes", "flops_per_token"):
        for row in archive.rows(
            f"SELECT u.run, t.address, COUNT(DISTINCT t.{key}) AS sizes FROM uses u JOIN trials t ON t.key = u.trial "
            "GROUP BY u.run, t.address, t.task, t.recipe HAVING sizes > 1"
        ):
            yield f"run {row['run']}: {row['address']} has {row['sizes']} different {key} on one recipe"


# --- campaigns --------------------------------------------------------------------------------------------------------


def _campaign(archive: Archive, row: Row) -> Iterator[str]:
    reading = CampaignResult.load(archive, row["run"])
    yield from _proposals(reading, row["identity"])
    explore = archive.stage_result(row["run"], "explore")
    if explore is not None:
        yield from _explored(reading, explore, row["identity"])
    verify = archive.stage_result(row["run"], "verify")
    if verify is not None and explore is not None:
        yield from _verified(reading, verify, explore, row["identity"])
    confirm = archive.stage_result(row["run"], "confirm")
    if confirm is not None and verify is not None:
        winner = [verify["winner"]] if verify["winner"] else []
        if confirm["entrants"] != winner or confirm["winner"] != verify["winner"]:
            yield f"confirm: {confirm['entrants']} entered, verify picked {verify['winner']}"
        if winner:
            yield from _complete(reading, "confirm", winner, row["identity"])


def _proposals(reading: CampaignResult, identity: Row) -> Iterator[str]:
    """Numbers without a gap, and the gain of each that was scored from the trials on its rung."""
    archive, run = reading.archive, reading.run
    numbers = [row["number"] for row in archive.rows("SELECT number FROM proposals WHERE run = ? ORDER BY number", run)]
    if numbers != list(range(len(numbers))):
        yield f"{len(numbers)} proposals, numbered up to {numbers[-1]}"
    trials, rungs = archive.trials(run, "explore"), identity["plans"]["explore"]["rungs"]
    start, by_address = reading.start or "", _by_address(trials)
    for row in archive.rows("SELECT number, address, outcome, rung, gain FROM results WHERE run = ?", run):
        where = f"proposal {row['number']} ({row['address']})"
        if (row["outcome"] == "scored") != (row["gain"] is not None):
            yield f"{where}: {row['outcome']} with the gain {row['gain']}"
        elif row["gain"] is not None:
            steps = rungs[row["rung"]] if 0 <= row["rung"] < len(rungs) else None
            mine, theirs = (_on_rung(by_address.get(a, []), steps) for a in (row["address"], start))
            gain = _gain(reading, "explore", mine, theirs)
            if not _close(row["gain"], gain):
                yield f"{where}: its gain is {row['gain']!r}, its trials give {gain!r}"


def _by_address(trials: list[Trial]) -> dict[str, list[Trial]]:
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        found.setdefault(trial.address, []).append(trial)
    return found


def _on_rung(trials: list[Trial], steps: int | None) -> dict[str, Values]:
    """Values by task and seed: on text those of a rung, on other tasks all."""
    found: dict[str, Values] = {}
    for trial in trials:
        if trial.value is not None and (trial.steps == steps or get_task(trial.task).kind != "text"):
            found.setdefault(trial.task, {})[trial.seed] = trial.value
    return found


def _gain(
    reading: CampaignResult, stage: StageName, mine: Mapping[str, Values], theirs: Mapping[str, Values]
) -> float | None:
    """The mean gain over the deciding tasks of a stage; None where one is missing."""
    gains = [
        mean_gain(mine.get(task, {}), theirs.get(task, {}), higher_is_better=get_task(task).higher_is_better)
        for task in reading.ranking_tasks(stage)
    ]
    known = [gain for gain in gains if gain is not None]
    return sum(known) / len(known) if len(known) == len(gains) else None


def _explored(reading: CampaignResult, explore: Row, identity: Row) -> Iterator[str]:
    """Who may go on are those that were scored, and no more were proposed than said."""
    archive, run = reading.archive, reading.run
    scored = {
        row["address"] for row in archive.rows("SELECT address FROM results WHERE run = ? AND outcome = 'scored'", run)
    }
    if set(explore["entrants"]) != scored or not set(explore["finalists"]) <= scored:
        told = f"{len(explore['entrants'])} entrants, {len(explore['finalists'])} finalists"
        yield f"explore: {told} of {len(scored)} that were scored"
    declared = identity["spec"]["candidates"]
    if identity["spec"]["researcher"] == "open":  # as many as have come, and no more than declared
        declared = min(declared, reading.proposed)
    if not reading.proposed == explore["candidates"] == declared:
        yield f"explore: {explore['candidates']} candidates, {reading.proposed} proposals, {declared} declared"


def _verified(reading: CampaignResult, verify: Row, explore: Row, identity: Row) -> Iterator[str]:
    spec, plan = identity["spec"], identity["plans"]["verify"]
    due = explore["finalists"][: min(spec["verify"]["top"] or 4, plan["most_entrants"])]
    if verify["entrants"] != due:
        yield f"verify: {verify['entrants']} entered, explore's finalists are {due}"
    yield from _complete(reading, "verify", due, identity)
    trials = _decisive(reading.archive.trials(reading.run, "verify"))
    failed = {trial.address for trial in trials if trial.value is None}
    scores = {a: {t: values_of(trials, a, t) for t in spec["verify"]["tasks"]} for a in [*due, reading.start or ""]}
    gains = {a: None if a in failed else _gain(reading, "verify", scores[a], scores[reading.start or ""]) for a in due}
    for address, gain in gains.items():
        if not _close(verify["gains"].get(address), gain):
            yield f"verify: {address} gains {verify['gains'].get(address)!r}, its trials give {gain!r}"
    scored = [address for address in due if gains[address] is not None]
    among = [address for address in verify.get("holds", []) if address in scored] or scored
    winner = max(among, key=lambda address: (gains[address], address), default=None)
    if verify["winner"] != winner:
        yield f"verify: the winner is {verify['winner']}, its trials give {winner}"


def _complete(reading: CampaignResult, stage: StageName, entrants: list[str], identity: Row) -> Iterator[str]:
    """A trial of every entrant and baseline on every task and seed that a stage declares, of every control on those
    that decide, and no other."""
    declared = identity["spec"][stage] or identity["spec"]["verify"]
    count = min(declared["seeds"], identity["plans"][stage]["most_seeds"])
    seeds = {f"{identity['seed']}/{stage}/{number}" for number in range(count)}
    is_sealed = "seal" in (reading.archive.run(reading.run) or {"provenance": {}})["provenance"]
    found: dict[tuple[str, str], set[str]] = {}
    for trial in _decisive(reading.archive.trials(reading.run, stage)):
        found.setdefault((trial.address, trial.task), set()).add(opened(trial.seed) if is_sealed else trial.seed)
    addresses = dict.fromkeys([*entrants, *identity["baselines"].values()])
    due = {(address, task) for address in addresses for task in declared["tasks"]}
    controls = identity.get("controls", {}).values()  # runs before 2026-12 have none
    due |= {(address, task) for address in controls for task in deciding(declared["tasks"])}
    for address, task in sorted(due | found.keys()):
        if (seen := found.get((address, task), set())) != (seeds if (address, task) in due else set()):
            told = f"declared are {len(seeds)} of {len(addresses)} mixers"
            yield f"{stage}: {address} has {len(seen)} seeds on {task}, {told}"


def _decisive(trials: list[Trial]) -> list[Trial]:
    """Without those that chose a learning rate."""
    return [trial for trial in trials if "tuning" not in trial.seed]


def _close(stored: Any, due: float | None) -> bool:
    if due is None or stored is None:
        return stored is due
    return close(stored, due)


# --- kernels ----------------------------------------------------------------------------------------------------------


def _kernels(archive: Archive) -> Iterator[str]:
    """The addresses of what campaigns of kernels proposed and began with."""
    for row in archive.runs():
        if "start" in row["identity"]:
            yield row["identity"]["start"]
            yield from (proposal["address"] for proposal in archive.proposals(row["run"]))


def _timed(archive: Archive, row: Row) -> Iterator[str]:
    """As many timings of each kernel as a stage declares; from those the gains, the winner and what is said of it."""
    from asiarc.loop.kernels import Times  # which brings torch

    run, spec, times = row["run"], row["identity"]["kernels"], Times.of(archive, row["run"])
    for kept in archive.rows("SELECT number, address, outcome, gain FROM results WHERE run = ?", run):
        gain = times.gain("explore", kept["address"]) if kept["outcome"] == "scored" else None
        if not _close(kept["gain"], gain):
            yield f"proposal {kept['number']}: its gain is {kept['gain']!r}, its timings give {gain!r}"
    explore, verify, confirm = (archive.stage_result(run, stage) for stage in STAGES)
    timed: dict[StageName, list[str]] = {
        "explore": explore["finalists"] if explore else [],
        "verify": verify["entrants"] if verify else [],
        "confirm": confirm["entrants"] if confirm else [],
    }
    for stage, entrants in timed.items():
        for address in [times.start, *entrants] if entrants else []:
            if (count := len(times.logs(stage, address))) != spec[stage]:
                yield f"{stage}: {address} has {count} timings, {spec[stage]} are declared"
    if explore and verify:
        yield from _fastest(times, verify, explore["finalists"][: spec["top"]])
    if verify and confirm:
        yield from _confirmed(times, confirm, verify["winner"])


def _fastest(times: Times, verify: Row, due: list[str]) -> Iterator[str]:
    """Who entered verify, how far each was ahead there, and who was furthest."""
    if verify["entrants"] != due:
        yield f"verify: {verify['entrants']} entered, explore's finalists are {due}"
    gains = {address: times.gain("verify", address) for address in verify["entrants"]}
    if gains.keys() != verify["gains"].keys() or not all(_close(verify["gains"][a], gains[a]) for a in gains):
        yield f"verify: the gains are {verify['gains']}, the timings give {gains}"
    _, winner = max(((gain, a) for a, gain in gains.items() if gain is not None), default=(0.0, None))
    if verify["winner"] != winner:
        yield f"verify: the winner is {verify['winner']}, its timings give {winner}"


def _confirmed(times: Times, confirm: Row, winner: str | None) -> Iterator[str]:
    """What confirm says of verify's winner."""
    if confirm["winner"] != winner:
        yield f"confirm: {confirm['winner']} entered, verify picked {winner}"
    effect = times.effect("confirm", confirm["winner"]) if confirm["winner"] else None
    told, word = confirm.get("effect") or {}, effect and decide(effect, fresh_seeds=True, fresh_items=True)
    given: Row = effect.as_dict() if effect else {}
    if confirm.get("decision") != word or not all(_close(told.get(k), given.get(k)) for k in ("mean", "low", "high")):
        yield f"confirm: it says {confirm.get('decision')}, {told}; the timings give {word}, {given}"


# --- studies and searches ---------------------------------------------------------------------------------------------


def _study(archive: Archive, row: Row) -> Iterator[str]:
    """Of a finished study, every mixer that the gates admitted on every task and seed."""
    record, declared = archive.stage_result(row["run"], "study"), row["identity"]["study"]
    if record is None:
        return
    found: dict[tuple[str, str], int] = {}
    for trial in _decisive(archive.trials(row["run"])):
        found[trial.address, trial.task] = found.get((trial.address, trial.task), 0) + 1
    for name, address in declared["mixers"].items():
        is_trained = not declared["gated"] or record["outcomes"][name]["kind"] == "scored"
        for task in declared["tasks"]:
            counts = {declared["seeds"], declared.get("signature_seeds", declared["seeds"])} if is_trained else {0}
            if found.get((address, task), 0) not in counts:
                yield f"{name} has {found.get((address, task), 0)} trials on {task}, declared are {max(counts)} seeds"


def _search(archive: Archive, row: Row) -> Iterator[str]:
    """Of a finished search, its record: winners' gains on fresh seeds, first gains in order, CPU-seconds."""
    record, declared = archive.stage_result(row["run"], "arms"), row["identity"]["arms"]
    measured = studies.latest(archive, row["tier"], studies.STUDY).get(row["campaign"])
    if record is None or measured is None:
        return
    trials = _decisive(archive.trials(measured["run"]))
    any_run = next(run for runs in row["identity"]["runs"].values() for run in runs)
    task = studies.searched_on(declared)
    start = values_of(trials, address_in(archive, any_run, declared["start_from"]), task)
    for arm, runs in row["identity"]["runs"].items():
        for repeat, run in enumerate(runs):
            first = first_rung_gains(archive, run, declared["start_from"])
            due = [first.get(proposal["address"]) for proposal in archive.proposals(run)]
            if not all(map(_close, record["first_rung"][arm][str(repeat)], due)):
                yield f"{arm}, repeat {repeat}: its first gains are not what its trials give"
            winner = next(iter((archive.stage_result(run, "explore") or {"finalists": []})["finalists"]), None)
            gain = mean_gain(values_of(trials, winner, task), start, higher_is_better=False) if winner else None
            if not _close(told := record["gains"][arm][str(repeat)], gain or 0.0):
                yield f"{arm}, repeat {repeat}: its winner gains {told!r}, its trials give {gain!r}"
        spent = [sum(trial.cpu_s for trial in archive.trials(run, "explore")) for run in runs]
        if not all(map(_close, record["cpu_s"][arm], spent)):
            yield f"{arm}: its CPU-seconds are not the sum of its trials'"
