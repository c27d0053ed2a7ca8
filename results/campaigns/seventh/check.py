"""Does this report say what its rows give? Made again by Python's standard library alone; nothing of asiarc is used.
``python check.py [FOLDER]`` makes what report.json says again from extract.jsonl.gz (one JSON line a row), and prints
where the two part (exit status 1) and what it leaves out. Whether trials ran as told, no file shows: run some again."""

import gzip, hashlib, json, math, re, sys, zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

Row = dict[str, Any]
GAIN = r"NAME over NAME(?: on ([\w:]+))? (NUMBER) \[(NUMBER), NUMBER\]".replace("NUMBER", r"[+-][\d.e-]+")
GAIN = GAIN.replace("NAME", r"([\w.:-]+(?:, [a-z ]+)?)")
PICKED = r", picked from [\d,]+, against (\S+), .*?gain "
BROKEN = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError, EOFError, zlib.error)
LEFT = "who became a finalist, ranks and their transfer, memory's share, probes, arms' own gains, m-values"

def close(a: Any, b: Any, apart: float = 1e-12) -> bool:
    numbers = all(isinstance(x, (int, float)) for x in (a, b))
    return math.isclose(a, b, rel_tol=1e-8, abs_tol=apart) if numbers else bool(a == b)

def both_tails(t: float, v: int) -> float:
    """P(|T| > t) of Student's t with v whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle, odd = math.atan2(t, math.sqrt(v)), v % 2
    term, total = math.sin(angle) * (math.cos(angle) if odd else 1), 0.0
    for k in range(v // 2):
        total, term = total + term, term * math.cos(angle) ** 2 * (2 * k + 1 + odd) / (2 * k + 2 + odd)
    return 1 - (2 / math.pi * (angle + total) if odd else total)

def quantile(alpha: float, v: int) -> float:
    """The t that |T| exceeds with probability alpha, by bisection of its angle."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if both_tails(math.tan(middle), v) > alpha else (low, middle)
    return math.tan(low)

def summary(values: Sequence[float], metric: str = "", alpha: float = 0.05) -> Row:
    """Mean and interval: Student's t; of accuracies Wilson's, of as many answers as their spread stands for."""
    n, mean = len(values), fmean(values) if values else None
    if n < 2 or mean is None:
        return {"n": n, "mean": mean, "low": None, "high": None}
    sd, t = stdev(values), quantile(alpha, n - 1)
    low, high = mean - t * sd / math.sqrt(n), mean + t * sd / math.sqrt(n)
    if metric == "accuracy":
        z = t * t / (n * mean * (1 - mean) / sd**2 if sd > 1e-12 else n * 64)
        half = math.sqrt(mean * (1 - mean) * z + z * z / 4)
        low, high = (min(1.0, max(0.0, (mean + z / 2 + side * half) / (1 + z))) for side in (-1, 1))
    return {"n": n, "mean": mean, "low": min(low, mean), "high": max(high, mean)}

def gain(sides: Sequence[Row], higher: bool, comparisons: float = 1) -> Row:
    """The paired gain over common seeds, its interval 95 % for all comparisons (Bonferroni)."""
    apart = [(sides[0][s] - sides[1][s]) * (1 if higher else -1) for s in sorted(sides[0].keys() & sides[1].keys())]
    found, sd, n = summary(apart, "", 0.05 / comparisons), stdev(apart), len(apart)
    if sd > 1e-12 * max(map(abs, apart)):
        return found | {"sd": sd, "p_value": both_tails(abs(found["mean"]) * math.sqrt(n) / sd, n - 1)}
    p = 2.0 ** (1 - n) if found["mean"] else 1.0  # no spread: the sign test
    low, high = sorted((found["mean"], found["mean"] if p < 0.05 / comparisons else 0.0))
    return found | {"low": low, "high": high, "sd": sd, "p_value": p}

class Run:
    def __init__(self, folder: Path) -> None:
        self.folder, self.seen, self.left = folder, Counter[str](), [LEFT]
        self.report, self.manifest = (json.loads((folder / f).read_bytes()) for f in ("report.json", "manifest.json"))
        self.rows: dict[str, list[Row]] = defaultdict(list)
        for line in gzip.decompress((folder / "extract.jsonl.gz").read_bytes()).splitlines()[1:]:
            self.rows[json.loads(line)[0]].append(json.loads(line)[1])
        self.runs: Row = {row["run"]: json.loads(row["identity"]) for row in self.rows["runs"]}
        self.stages = {(row["run"], row["stage"]): json.loads(row["result"]) for row in self.rows["stages"]}
        self.trials: dict[str, Row] = {t["key"]: t for t in self.rows["trials"]}
        self.rungs: dict[Any, Any] = defaultdict(lambda: defaultdict(dict))  # run, stage, task; steps; address, seed
        for use, t in ((use, self.trials[use["trial"]]) for use in self.rows["uses"]):
            if "tuning" not in t["seed"]:
                self.rungs[use["run"], use["stage"], t["task"]][t["steps"]][t["address"], t["seed"]] = t["value"]
        self.tables: list[Any] = [(s, "confirm", s, s["mixers"]) for s in self.report["studies"]]
        self.tables += [(c, s["stage"], s, s["rows"]) for c in self.report["campaigns"] for s in c["stages"]]
        self.tasks: Row = {cell["task"]: cell for cell in self.report["baselines"]["cells"]}
        self.tasks |= {task["name"]: task for *_, part, _ in self.tables for task in part["tasks"]}
    def scores(self, run: str, stage: str, task: str, address: str) -> Row:
        last: dict[Any, Any] = max(self.rungs[run, stage, task].items(), default=(0, {}))[1]  # the rung that judges
        return {seed: value for (a, seed), value in last.items() if a == address and value is not None}
    def differ(self, kind: str, what: str, said: Row, due: Row) -> list[str]:
        self.seen[kind] += 1
        return [f"{what}: {k} is {said.get(k)!r}, due is {v!r}" for k, v in due.items() if not close(said.get(k), v)]
    def files(self) -> Iterator[str]:
        """Every file, and every field of every row in order, by the hashes of the manifest."""
        found = [p for p in self.folder.rglob("*") if p.is_file() and not p.name.startswith("manifest.json")]
        here = {p.relative_to(self.folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}
        yield from self.differ("lists of files", "files", here, dict.fromkeys(here) | self.manifest["files"])
        for table in sorted(self.manifest["rows"].keys() | self.rows.keys()):
            each = (hashlib.sha256(json.dumps(r, sort_keys=True).encode()).digest() for r in self.rows[table])
            said = {"count": len(self.rows[table]), "sha256": hashlib.sha256(b"".join(each)).hexdigest()}
            yield from self.differ("tables of rows", table, said, self.manifest["rows"].get(table, {"count": 0}))
    def items(self) -> Iterator[str]:
        """Each score from its items: a mean, or bits a byte of log-probabilities, kept in tenths of a nat."""
        lengths = [row["bytes"] for row in self.rows["items"] if "bytes" in row]
        for row in self.rows["items"]:
            size = 10 * math.log(2) * sum(lengths[row["lengths"]]) if "logs" in row else -len(row["values"])
            due, said = -math.fsum(row.get("logs") or row["values"]) / size, self.trials[row["trial"]]["value"]
            due = said if close(said, due, max(0.5 / size, 1e-12)) else due
            yield from self.differ("trials", row["trial"], {"score": said}, {"score": due})
        has = {row["trial"] for row in self.rows["items"]}
        told = {key: (t["outcome"] == "scored", t["value"] is not None) for key, t in self.trials.items()}
        yield from self.differ("trials", "scored, valued", told, {key: (key in has, key in has) for key in self.trials})
    def cells(self) -> Iterator[str]:
        """The values in tables of stages, studies and baselines from the trials, and their means with intervals."""
        for one, stage, _, rows in self.tables:
            for row, task in ((row, task) for row in rows for task in row["tasks"]):
                values = self.scores(one["run"], stage, task, row["address"])
                due = {"values": values} | summary(list(values.values()), self.tasks[task]["metric"])
                yield from self.differ("cells", f"{one['name']} {stage}, {row['name']}", row["tasks"][task], due)
        names = {row["address"]: row["name"] for row in self.rows["candidates"]}
        kept = {(names[t["address"]], t["task"], t["steps"], t["seed"], t["value"]) for t in self.trials.values()}
        for c in self.report["baselines"]["cells"]:
            lost = [v for v in c["values"].items() if (c["baseline"], c["task"], c["steps"], *v) not in kept]
            due = summary(list(c["values"].values()), c["metric"]) | {"of no trial": []}
            yield from self.differ("cells", f"{c['baseline']} on {c['task']}", c | {"of no trial": lost}, due)
    def gains(self) -> Iterator[str]:
        """Of baselines, studies, searches and winners, widened for all that were made or that entered the stage."""
        base, own = self.report["baselines"], list[Any]()
        own += [(r, {c["baseline"]: c for c in base["cells"] if c["task"] == r["task"]}, 1) for r in base["signatures"]]
        for s, row in ((s, row) for s in self.report["searches"] for row in s["effects"]):
            own.append((row | {"task": ""}, {arm["arm"]: arm["gain"] for arm in s["arms"]}, len(s["effects"])))
        for one, stage, part, rows in self.tables:
            count = len(one.get("effects", ())) / max(1, len(part["tasks"]))
            if "gains" in one:  # a campaign's: entrants, baselines and tasks
                tasks = [t for t in part["tasks"] if t["decides"] or t.get("at_chance")] or part["tasks"]
                entrants = self.stages.get((one["run"], stage), {}).get("entrants", ())
                count = max(1, len(entrants)) * len(one["spec"]["baselines"]) * len(tasks)
            for row in (row for row in one.get("gains", one.get("effects")) if row.get("stage", stage) == stage):
                sides = {"ahead": one["winner"]["name"], "behind": row["baseline"]} if "baseline" in row else {}
                own.append((row | sides, {m["name"]: m["tasks"][row["task"]] for m in rows}, count))
        for row, mixers, count in (told for told in own if told[0]["effect"]):
            values = [mixers[row[side]]["values"] for side in ("ahead", "behind")]
            due = gain(values, not row["task"] or self.tasks[row["task"]]["higher_is_better"], count)
            better = "better" if row.get("stage") == "confirm" and due["low"] > 0 else "cannot tell"
            due |= {"decision": "worse" if due["high"] < 0 else better} if "decision" in row else {}
            what = f"{row.get('stage', '')} {row['ahead']} over {row['behind']} on {row['task']}"
            yield from self.differ("gains", what, row["effect"] | {"decision": row.get("decision")}, due)
    def kernels(self) -> Iterator[str]:
        """The values of kernels in each stage from their timings, and the gains over what the search began with."""
        timed: dict[Any, Row] = defaultdict(dict)
        for t in self.rows["kernel_timings"]:
            timed[t["run"], t["stage"], t["address"]][str(t["number"])] = t["log_ratio"]
        for k, row in ((k, row) for k in self.report.get("kernels", ()) for row in k["rows"]):
            both = (timed[k["run"], row["stage"], a] for a in (row["address"], k["identity"]["start"]))
            mine, start = ({} if None in one.values() else {n: -log for n, log in one.items()} for one in both)
            what = f"{k['name']} {row['stage']}, {row['name']}"
            yield from self.differ("cells", what, row, {"values": mine} | summary(list(mine.values())))
            yield from self.differ("gains", what, row["effect"], gain([mine, start], True)) if row["effect"] else ()
    def winners(self) -> Iterator[str]:
        """Whom verify's mean gain over the start puts first, of those that held and whose trials all scored."""
        for c in (c for c in self.report["campaigns"] if "verify" in c["stages_finished"]):
            kept, start = self.stages[c["run"], "verify"], self.runs[c["run"]]["baselines"][c["spec"]["start_from"]]
            tasks = next(s["tasks"] for s in c["stages"] if s["stage"] == "verify")
            tasks, due = [t for t in tasks if t["decides"]] or tasks, dict[str, float]()
            for a in kept["entrants"]:
                both = [[self.scores(c["run"], "verify", t["name"], one) for one in (a, start)] for t in tasks]
                if all(mine.keys() == theirs.keys() for mine, theirs in both):
                    due[a] = fmean(gain(two, t["higher_is_better"])["mean"] for two, t in zip(both, tasks))
            best = max([a for a in kept.get("holds", []) if a in due] or due, key=lambda a: (due[a], a), default=None)
            yield from self.differ("winners", c["name"], c["winner"] or {"address": None}, {"address": best})
    def claims(self) -> Iterator[str]:
        """The gains that a verdict states of mixers trained in its run, and that its word is no stronger than they."""
        for v in (row["verdict"] for row in self.report["claims"]["decided"]):
            run, said = v["evidence_path"].removeprefix("run "), re.sub(PICKED, r" over \1 ", v["statement"])
            known, pairs = self.runs.get(run, {}), re.findall(GAIN, said)
            names = {row["name"]: row["address"] for row in self.rows["proposals"] if row["run"] == run}
            names |= known.get("study", {}).get("mixers", {}) | known.get("baselines", {})
            if "paired t" not in v["test"] or not pairs or any(name not in names for p in pairs for name in p[:2]):
                self.left += [f"{v['claim']} ({v['verdict']})"] if v["verdict"] != "not testable here" else []
                continue
            count = int((re.search(r"widened for (\d+)", f"{v['test']} {said}") or "11")[1])
            first = (re.search(r"(?:^| on )([\w:]+?)(?: of)?: ", said) or ("", "text"))[1]
            sides = [(on or first, [self.scores(run, stage, on or first, names[name]) for name in (ahead, behind)])
                     for ahead, behind, on, *_ in pairs for stage in ("confirm", "verify", "explore")]  # fmt: skip
            found = [gain(two, self.tasks[task]["higher_is_better"], count) for task, two in sides
                     if len(two[0].keys() & two[1].keys()) > 1]  # fmt: skip
            told = [any(close(g["mean"], float(x), 6e-4) and close(g["low"], float(y), 6e-4) for g in found)
                    for *_, x, y in pairs]  # fmt: skip
            own = any(close(g["mean"], v["effect"]) and close(g["low"], v["low"]) for g in found)
            may = {"reproduced": v["low"] > 0, "contradicted": v["high"] < 0.02}.get(v["verdict"].split()[0], True)
            held = {"gains": all(told), "effect": own, "word": may}
            yield from self.differ("claims", v["claim"], held, dict.fromkeys(held, True))

def main(folder: Path) -> list[str]:
    problems: list[str] = []
    try:
        run = Run(folder)
        for ask in (run.files, run.items, run.cells, run.gains, run.kernels, run.winners, run.claims):
            problems += ask()
        print("recomputed:", ", ".join(f"{n} {what}" for what, n in run.seen.items()))
        print("not recomputed:", "; ".join(run.left))
    except BROKEN as error:
        problems.append(f"the rest cannot be made of these rows: {error!r}")
    print(*(f"differs: {line}" for line in problems), f"differences: {len(problems)}", sep="\n")
    return problems
if __name__ == "__main__":
    sys.exit(bool(main(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).resolve().parent)))
