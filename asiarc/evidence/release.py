"""The authors' released data, as a table of its numbers or from the folder that its user brings, and what it says of
the search.

`tree.json` holds every recorded experiment (index, parent, fitness), `106.json` the discoveries with their
340M losses and scores, and, in its full form, their programs; `106.numbers.json` is the same without programs
and texts. Part of this project are numbers alone (`reproductions/data/released.csv`: no name, program or text), so that
no claim waits for a download. Fitness is the sum of three terms, 0 to 3, as stored.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any, TypeVar

from asiarc.core.errors import EvidenceError
from asiarc.evidence.effects import Effect, paired_effect
from asiarc.evidence.paper import Paper, find_paper
from asiarc.evidence.transfer import Correlation, rank_correlation

Statistic = TypeVar("Statistic")
POOL, REFRESH, ELITE = 50, 50, 10
"""The paper's pool: its size, the experiments between two refreshes, and the ranks that parents come from."""

SCORED_TASKS = ("arc_challenge", "arc_easy", "boolq", "hellaswag", "piqa", "social_iqa", "winogrande")
"""The seven tasks of Table 2's score at 340M."""

COLUMNS = ("index", "parent", "same_name_as", "fitness", "parameters_m", "loss_340m", "losses_not_a_number",
           *SCORED_TASKS)  # fmt: skip
"""Of the shipped table; `same_name_as` is the first experiment of that internal name, where another has it."""

COMPONENTS: dict[str, str] = {
    "delta rule": r"delta_rule",
    "causal convolution": r"conv1d|ShortConvolution|fir",
    "softmax router": r"softmax",
    "sigmoid gate": r"sigmoid",
    "temperature": r"temperature|temp|tau",
    "floor": r"floor",
    "entropy": r"entropy",
    "statistics in the gate": r"\.(std|var)\(",
    "decay or retention": r"decay|retention|forget",
    "residual path": r"residual",
}
"""Component -> pattern in a program's code (comments and docstrings taken out, any case)."""


@dataclass(frozen=True, slots=True)
class Node:
    """One recorded experiment; the root has no parent."""

    index: int
    parent: int | None
    name: str
    fitness: float


@dataclass(frozen=True, slots=True)
class Member:
    """A discovery at 340M: training losses at the logged steps, accuracies (shares) by task, parameters in millions."""

    index: int
    name: str
    losses: tuple[float, ...]
    accuracy: dict[str, float]
    parameters_m: float
    program: str | None

    @property
    def score(self) -> float:
        """Mean accuracy over Table 2's seven tasks, percent."""
        return 100 * fmean(self.accuracy[task] for task in SCORED_TASKS)


@dataclass(frozen=True, slots=True)
class Release:
    """Both files: nodes by index in order of their index, and the discoveries."""

    nodes: dict[int, Node]
    gallery: tuple[Member, ...]

    @property
    def root(self) -> Node:
        """The one node without a parent."""
        return next(node for node in self.nodes.values() if node.parent is None)


@dataclass(frozen=True, slots=True)
class TreeFindings:
    """The tree as it lies: size, naming, depth, and how few nodes everything descends from."""

    nodes: int
    last_index: int
    root_score: float
    deepest: int
    parents: int
    reused_names: int
    above_root: int
    busiest: dict[int, int]
    """Node -> descendants, for the non-root nodes with the most."""
    busiest_in_gallery: dict[int, int]
    """The same nodes -> how many discoveries are among their descendants."""


@dataclass(frozen=True, slots=True)
class SearchFindings:
    """How the search went: its pool, its curve, and whether proposals improved."""

    last_child_of_root: int
    first_other_parent: int
    parents_in_elite: float
    """Share of later parents that were in the top 10 at the refresh before their child."""
    parents_in_pool: float
    """The same for the top 50."""
    parents_ever_in_elite: float
    """Share that had been in the top 10 at any time before."""
    top_pool: dict[int, float]
    """Experiments so far -> mean fitness of the top 50, divided by 3."""
    proposals: dict[int, float]
    """First index of a block of 100 -> mean fitness of its proposals."""
    late_slope: float
    """Change of proposals' fitness per 1,000 experiments over the second half, with its 95 % interval."""
    late_slope_low: float
    late_slope_high: float
    children: int
    """Children of parents other than the root."""
    children_above_parent: float
    mean_gain_over_parent: float
    strangers_above_parent: float
    """Share of unrelated proposals of the same time above that same parent: the control for regression to the mean."""
    late_trend: Correlation | None
    """Rank correlation of a proposal's place and its fitness over the second half; None of a tree too small for one."""
    edge: Effect | None
    """How much oftener a child beats its parent than those unrelated proposals do, paired by child."""
    elite_advantage: Effect | None
    """Fitness (0 to 3) of children of the top 10 of their time over other children of the same hundred experiments."""


@dataclass(frozen=True, slots=True)
class GalleryFindings:
    """The discoveries among the candidates, and their own records."""

    members: int
    rank_quartiles: tuple[float, float, float]
    best_rank: int
    worst_rank: int
    in_top_50: int
    uniform_p: float | None
    """P(ranks so unlike a random draw from the promising 1,350), Kolmogorov-Smirnov; None under 5 members."""
    not_a_number: dict[str, int]
    """Discovery -> the number of logged losses that are not a number."""
    parameters_m: tuple[float, float, float]
    """Smallest, median, largest, in millions."""
    outside_2_percent: int
    """Members more than 2 % larger than the smallest, which is about DeltaNet's size at this configuration."""
    component_shares: dict[str, float] | None
    """Share of programs with each component; None where the file has no programs."""


@dataclass(frozen=True, slots=True)
class TaskTrend:
    """Accuracy at 340M in percent: discoveries against Gated DeltaNet, whose `z` is off their trend on loss."""

    task: str
    lowest: float
    mean: float
    highest: float
    baseline: float
    not_above: int
    z: float


@dataclass(frozen=True, slots=True)
class PaperFindings:
    """The release against the paper's printed numbers."""

    rows: int
    rows_that_agree: int
    disagree: tuple[str, ...]
    figure1_points: int
    figure1_exact: int
    score_transfer: Correlation
    loss_transfer: Correlation
    score_pearson: float
    loss_pearson: float
    fitness_to_score: Correlation
    task_trends: tuple[TaskTrend, ...]


@dataclass(frozen=True, slots=True)
class ReleaseFindings:
    """Everything that `analyse_release` found; `paper` is None where there was nothing to hold it against."""

    tree: TreeFindings
    search: SearchFindings
    gallery: GalleryFindings
    paper: PaperFindings | None

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values."""
        return asdict(self)


def analyse_release(path: Path, paper: Paper | None = None) -> ReleaseFindings:
    """Reads a release folder and derives all findings from its numbers.

    `paper` defaults to the printed numbers of the checkout that asiarc runs from, where it runs from one. A
    release that holds hardly any of Table 2's rows is another one, and is not held against the paper.

    Raises:
        EvidenceError: a file is missing or is not what the authors released.
    """
    release = read_release(path)
    paper = find_paper() if paper is None else paper
    members = {member.index for member in release.gallery}
    if paper is not None and sum(row.experiment_index in members for row in paper.table2) < 10:
        paper = None
    try:
        return ReleaseFindings(
            tree_findings(release),
            search_findings(release),
            gallery_findings(release, promising=1_350),
            paper_findings(release, paper) if paper is not None else None,
        )
    except (ArithmeticError, ValueError, LookupError) as error:
        raise EvidenceError(
            f"{path} is not what the authors released: its numbers give no statistics ({error})"
        ) from error


def read_release(path: Path) -> Release:
    """The nodes of `tree.json` and the discoveries of `106.json` or `106.numbers.json`.

    Raises:
        EvidenceError: a file is missing or is not what the authors released.
    """
    gallery_file = next((f for name in ("106.json", "106.numbers.json") if (f := path / name).exists()), None)
    if gallery_file is None or not (path / "tree.json").exists():
        raise EvidenceError(
            f"{path} holds no release: it needs tree.json, and 106.json or 106.numbers.json, from the "
            "`data` folder of the paper's repository"
        )
    return _whole(path / "tree.json", _read(path / "tree.json", _nodes), _read(gallery_file, lambda d: map(_member, d)))


def read_shipped(path: Path) -> Release:
    """The release's numbers from the table that `table_of` makes; experiments go by their index, not by a name.

    Of a discovery's losses the table holds the last and how many are not a number: those stand before it.

    Raises:
        EvidenceError: the file is missing or is not such a table.
    """
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        nodes = [
            Node(int(row["index"]), int(row["parent"]) if row["parent"] else None,
                 f"name of {row['same_name_as'] or row['index']}", _finite(row["fitness"]))
            for row in rows
        ]  # fmt: skip
        gallery = [_shipped_member(row) for row in rows if row["parameters_m"]]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise EvidenceError(f"{path} is not the table of the release's numbers: {error!r}") from error
    return _whole(path, nodes, gallery)


def _shipped_member(row: Mapping[str, str]) -> Member:
    last = float(row["loss_340m"])
    missing = (math.nan,) * (int(row["losses_not_a_number"]) - math.isnan(last))
    accuracy = {task: float(row[task]) for task in SCORED_TASKS}
    name, size = f"experiment {row['index']}", _finite(row["parameters_m"])
    return Member(int(row["index"]), name, (*missing, last), accuracy, size, None)


def table_of(release: Release) -> str:
    """A release's numbers as CSV (`COLUMNS`), an experiment a line in the order of their indices."""
    file, first = io.StringIO(), dict[str, int]()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(COLUMNS)
    members = {member.index: member for member in release.gallery}
    for node in release.nodes.values():
        named = first.setdefault(node.name, node.index)
        row: list[Any] = [node.index, node.parent or "", named if named != node.index else "", f"{node.fitness:.6f}"]
        member = members.get(node.index)
        if member is None:
            rows.writerow([*row, *[""] * (len(COLUMNS) - len(row))])
        else:
            missing = sum(map(math.isnan, member.losses))
            scores = (member.accuracy[task] for task in SCORED_TASKS)
            rows.writerow([*row, f"{member.parameters_m:.2f}", f"{member.losses[-1]:.4f}", missing, *scores])
    return file.getvalue()


def _whole(path: Path, found: Iterable[Node], discoveries: Iterable[Member]) -> Release:
    """Nodes in the order of their indices and discoveries as a release, where every one has its place in one tree."""
    nodes = {node.index: node for node in sorted(found, key=lambda node: node.index)}
    gallery = tuple(discoveries)
    if sum(node.parent is None for node in nodes.values()) != 1:
        raise EvidenceError(f"{path} has not exactly one root")
    orphans = [n.index for n in nodes.values() if n.parent is not None and n.parent not in nodes]
    strangers = [member.index for member in gallery if member.index not in nodes]
    if orphans or strangers:
        raise EvidenceError(f"{path}: nodes {orphans} lack their parent, discoveries {strangers} their node")
    if circling := nodes.keys() - _depths(nodes).keys():
        raise EvidenceError(f"{path}: nodes {sorted(circling)[:5]} descend from themselves")
    return Release(nodes, gallery)


def tree_findings(release: Release) -> TreeFindings:
    """Counts over the tree; `reused_names` is the number of internal names that stand for more than one node."""
    nodes, root = release.nodes, release.root
    depths = _depths(nodes)
    descendants = _summed(nodes, depths, dict.fromkeys(nodes, 1))
    found_below = _summed(nodes, depths, Counter(member.index for member in release.gallery))
    below = {index: descendants[index] - 1 for index in nodes if index != root.index and descendants[index] > 1}
    busiest = dict(Counter(below).most_common(5))
    return TreeFindings(
        nodes=len(nodes),
        last_index=max(nodes),
        root_score=root.fitness,
        deepest=max(depths.values()),
        parents=len({node.parent for node in nodes.values()} - {None}),
        reused_names=sum(count > 1 for count in Counter(node.name for node in nodes.values()).values()),
        above_root=sum(node.fitness > root.fitness for node in nodes.values()),
        busiest=busiest,
        busiest_in_gallery={index: found_below[index] for index in busiest},
    )


def search_findings(release: Release) -> SearchFindings:
    """Pool, curve and progress, rebuilt from the order of indices and the stored fitness."""
    from scipy.stats import linregress, t

    nodes, root = list(release.nodes.values()), release.root
    children = [node for node in nodes if node.parent not in (None, root.index)]
    if not children or len(nodes) < 3:
        raise EvidenceError(f"{len(nodes)} nodes without a second generation: there is no search to analyse")
    elite, pool, ever = _parents_in_pool(nodes, root.index)
    from_elite = {node for node, hit in elite.items() if hit}
    strangers = _strangers_above_parent(nodes, children, release.nodes)
    above = {node.index: float(node.fitness > release.nodes[_parent(node)].fitness) for node in children}
    late = nodes[len(nodes) // 2 :]
    line = linregress([node.index for node in late], [node.fitness for node in late])
    radius = float(line.stderr * t.isf(0.025, len(late) - 2)) if len(late) > 2 else math.inf
    gains = [node.fitness - release.nodes[_parent(node)].fitness for node in children]
    return SearchFindings(
        last_child_of_root=max(node.index for node in nodes if node.parent == root.index),
        first_other_parent=min(node.index for node in children),
        parents_in_elite=fmean(elite.values()),
        parents_in_pool=pool,
        parents_ever_in_elite=ever,
        top_pool=_top_means(nodes),
        proposals=_block_means(nodes, 100),
        late_slope=1_000 * float(line.slope),
        late_slope_low=1_000 * (float(line.slope) - radius),
        late_slope_high=1_000 * (float(line.slope) + radius),
        children=len(children),
        children_above_parent=fmean(gain > 0 for gain in gains),
        mean_gain_over_parent=fmean(gains),
        strangers_above_parent=fmean(strangers.values()) if strangers else math.nan,
        late_trend=_told(lambda: rank_correlation([n.index for n in late], [n.fitness for n in late])),
        edge=_told(lambda: paired_effect({i: above[i] for i in strangers}, strangers, higher_is_better=True)),
        elite_advantage=_told(lambda: _by_hundreds(children, from_elite)),
    )


def gallery_findings(release: Release, promising: int) -> GalleryFindings:
    """Ranks of the discoveries in first-stage fitness (1 is best) and what their own records hold."""
    from scipy.stats import kstest, uniform

    by_fitness = sorted(release.nodes.values(), key=lambda node: -node.fitness)
    rank = {node.index: place for place, node in enumerate(by_fitness, start=1)}
    ranks = sorted(rank[member.index] for member in release.gallery)
    drawn = [place for place in ranks if place <= promising]
    limit = min(promising, len(release.nodes))
    sizes = sorted(member.parameters_m for member in release.gallery)
    programs = [member.program for member in release.gallery if member.program is not None]
    return GalleryFindings(
        members=len(release.gallery),
        rank_quartiles=(_quantile(ranks, 0.25), _quantile(ranks, 0.5), _quantile(ranks, 0.75)),
        best_rank=ranks[0],
        worst_rank=ranks[-1],
        in_top_50=sum(place <= 50 for place in ranks),
        uniform_p=float(kstest(drawn, uniform(0, limit).cdf).pvalue) if len(drawn) >= 5 else None,
        not_a_number={member.name: bad for member in release.gallery if (bad := sum(map(math.isnan, member.losses)))},
        parameters_m=(sizes[0], median(sizes), sizes[-1]),
        outside_2_percent=sum(size > 1.02 * sizes[0] for size in sizes),
        component_shares=component_shares(programs) if programs else None,
    )


def component_shares(programs: Sequence[str]) -> dict[str, float]:
    """Share of programs whose code (not prose) shows each of `COMPONENTS`."""
    codes = [re.sub(r'"""[\s\S]*?"""|#[^\n]*', "", program) for program in programs]
    return {
        component: fmean(bool(re.search(pattern, code, re.IGNORECASE)) for code in codes)
        for component, pattern in COMPONENTS.items()
    }


def paper_findings(release: Release, paper: Paper) -> PaperFindings:
    """Table 2 and Figure 1 against the release, and how one stage predicts the next over the tabulated rows."""
    from statistics import correlation

    members = {member.index: member for member in release.gallery}
    rows = [row for row in paper.table2 if row.experiment_index in members]
    pairs = [(row, members[row.experiment_index]) for row in rows if row.experiment_index is not None]
    differ = [
        row.model
        for row, member in pairs
        # Written so that a loss which is not a number differs.
        if not (abs(member.losses[-1] - row.loss_340m) < 6e-5 and abs(member.score - row.score_340m) < 6e-3)
    ]
    index = sorted(members)
    exact = sum(
        count == sum(i <= REFRESH * (place + 1) for i in index) for place, (_, count) in enumerate(paper.figure1)
    )
    score = [row.score_20m for row in rows], [row.score_340m for row in rows]
    loss = [row.loss_20m for row in rows], [row.loss_340m for row in rows]
    fitness = [release.nodes[member.index].fitness for _, member in pairs]
    return PaperFindings(
        rows=len(rows),
        rows_that_agree=len(rows) - len(differ),
        disagree=tuple(differ),
        figure1_points=len(paper.figure1),
        figure1_exact=exact,
        score_transfer=rank_correlation(*score),
        loss_transfer=rank_correlation(*loss),
        score_pearson=correlation(*score),
        loss_pearson=correlation(*loss),
        fitness_to_score=rank_correlation(fitness, score[1]),
        task_trends=tuple(_task_trends(release, paper)),
    )


def render(findings: ReleaseFindings) -> str:
    """The findings as text, one block a subject."""
    return "\n\n".join("\n".join(lines) for lines in _blocks(findings)) + "\n"


def _blocks(findings: ReleaseFindings) -> Iterator[list[str]]:
    tree, search, gallery, paper = findings.tree, findings.search, findings.gallery, findings.paper
    yield [
        "Tree",
        f"  {tree.nodes:,} nodes, indices to {tree.last_index:,}, {tree.deepest} generations; "
        f"{tree.parents} were ever a parent",
        f"  root fitness {tree.root_score:.7f}; {tree.above_root:,} nodes above it",
        f"  {tree.reused_names} internal names stand for more than one node",
        *(
            f"  {count:,} nodes ({count / tree.nodes:.0%}) and {tree.busiest_in_gallery[index]} of "
            f"{gallery.members} discoveries descend from node {index}"
            for index, count in tree.busiest.items()
        ),
    ]
    yield [
        "Search",
        f"  first child of a node other than the root at {search.first_other_parent}, last of the root at "
        f"{search.last_child_of_root}",
        f"  later parents: {search.parents_in_elite:.0%} in the top {ELITE} at the refresh before, "
        f"{search.parents_ever_in_elite:.0%} ever before, {search.parents_in_pool:.0%} in the top {POOL}",
        "  mean of the top 50, over 3: " + ", ".join(f"{mean:.3f} @{n:,}" for n, mean in search.top_pool.items()),
        "  mean of new proposals by 100: " + " ".join(f"{mean:.2f}" for mean in search.proposals.values()),
        f"  second half: {search.late_slope:+.3f} [{search.late_slope_low:+.3f}, "
        f"{search.late_slope_high:+.3f}] per 1,000 experiments",
        f"  {search.children_above_parent:.1%} of {search.children:,} children beat their parent (mean "
        f"{search.mean_gain_over_parent:+.3f}); of unrelated proposals of the same time "
        f"{search.strangers_above_parent:.1%}",
    ]
    chance = "" if gallery.uniform_p is None else f", like a random draw with p={gallery.uniform_p:.2f}"
    yield [
        "Discoveries",
        f"  ranks in first-stage fitness: {gallery.best_rank} to {gallery.worst_rank:,}, quartiles "
        + ", ".join(f"{rank:,.0f}" for rank in gallery.rank_quartiles)
        + f"; {gallery.in_top_50} of {gallery.members} in the top 50{chance}",
        "  losses that are not a number: "
        + (", ".join(f"{name} ({count})" for name, count in gallery.not_a_number.items()) or "none"),
        "  parameters {:.1f}M to {:.1f}M, median {:.1f}M; ".format(*(gallery.parameters_m[i] for i in (0, 2, 1)))
        + f"{gallery.outside_2_percent} more than 2 % above the smallest",
        *_component_lines(gallery),
    ]
    yield _paper_lines(paper) if paper is not None else ["Against the paper", "  nothing to compare"]


def _component_lines(gallery: GalleryFindings) -> list[str]:
    if gallery.component_shares is None:
        return ["  component shares: this form of the file holds no programs"]
    shares = sorted(gallery.component_shares.items(), key=lambda item: -item[1])
    return ["  programs with " + ", ".join(f"{component} {share:.0%}" for component, share in shares)]


def _paper_lines(paper: PaperFindings) -> list[str]:
    return [
        "Against the paper",
        f"  Table 2: {paper.rows_that_agree} of {paper.rows} rows agree; not: {', '.join(paper.disagree) or 'none'}",
        f"  Figure 1: {paper.figure1_exact} of {paper.figure1_points} points are the order of experiments",
        f"  score, 20M to 340M: {paper.score_transfer.explain()}; Pearson {paper.score_pearson:+.2f}",
        f"  loss, 20M to 340M: {paper.loss_transfer.explain()}; Pearson {paper.loss_pearson:+.2f}",
        f"  fitness to 340M score: {paper.fitness_to_score.explain()}",
        "  task at 340M: discoveries' lowest / mean / highest, Gated DeltaNet, discoveries not above it, "
        "its z off their trend on loss",
        *(
            f"    {task.task:14} {task.lowest:6.2f} / {task.mean:5.2f} / {task.highest:5.2f}  "
            f"{task.baseline:6.2f}  {task.not_above:3}  {task.z:+.1f}"
            for task in paper.task_trends
        ),
    ]


def _read(path: Path, parse: Callable[[Any], Any]) -> list[Any]:
    try:
        return list(parse(json.loads(path.read_text(encoding="utf-8"))))
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
        csv.Error,
    ) as error:
        raise EvidenceError(f"{path} is not the released file: {error!r}") from error


def _nodes(data: Any) -> Iterator[Node]:
    for record in data["results"]:
        parent = None if record["parent"] is None else _index(record["parent"])
        yield Node(_index(record["index"]), parent, str(record["name"]), _finite(record["score"]))


def _index(value: Any) -> int:
    number = int(value)
    if not 0 <= number < 2**31:
        raise ValueError(f"{value!r} where the number of an experiment is due")
    return number


def _finite(value: Any) -> float:
    number = float(value)
    if not abs(number) < 1e9:  # nor where it is none
        raise ValueError(f"{value!r} where a number is due")
    return number


def _member(record: Mapping[str, Any]) -> Member:
    losses = _csv_row(record["result"]["train"])
    accuracy = _csv_row(record["result"]["test"])
    return Member(
        index=_index(record["index"]),
        name=str(record["name_new"]),
        losses=tuple(losses.values()),
        accuracy={task: accuracy[task] for task in SCORED_TASKS},
        parameters_m=_finite(record["parameters"].removesuffix("M")),
        program=None if record.get("program") is None else str(record["program"]),
    )


def _csv_row(text: str) -> dict[str, float]:
    """A header and one row, the first column being the row's name."""
    header, row = list(csv.reader(io.StringIO(text)))[:2]
    return {column: float(value) for column, value in zip(header[1:], row[1:], strict=True)}


def _parent(node: Node) -> int:
    assert node.parent is not None, f"node {node.index} is the root"
    return node.parent


def _depths(nodes: Mapping[int, Node]) -> dict[int, int]:
    """How many ancestors each node has; one that descends from itself is left out."""
    depths: dict[int, int] = {}
    for index in nodes:
        chain: dict[int, None] = {}
        here: int | None = index
        while here is not None and here not in depths and here not in chain:
            chain[here] = None
            here = nodes[here].parent
        if here not in chain:
            above = -1 if here is None else depths.get(here, -1)
            depths |= {one: above + place for place, one in enumerate(reversed(chain), 1)}
    return depths


def _summed(nodes: Mapping[int, Node], depths: Mapping[int, int], own: Mapping[int, int]) -> Counter[int]:
    """The sum of a number over each node and all that descend from it."""
    total = Counter(own)
    for index in sorted(nodes, key=lambda index: -depths[index]):
        if (parent := nodes[index].parent) is not None:
            total[parent] += total[index]
    return total


def _parents_in_pool(nodes: Sequence[Node], root: int) -> tuple[dict[int, bool], float, float]:
    """Which later nodes have a parent in the elite of the last refresh; shares in its pool, and ever in an elite."""
    pool: list[Node] = []
    ever: set[int] = set()
    elite_hits: dict[int, bool] = {}
    pool_hits, ever_hits = [], []
    for place, node in enumerate(nodes):
        if place % REFRESH == 0:
            pool = _leading(pool, nodes[max(0, place - REFRESH) : place])
            ever |= {known.index for known in pool[:ELITE]}
        if node.parent not in (None, root):
            elite_hits[node.index] = node.parent in {known.index for known in pool[:ELITE]}
            pool_hits.append(node.parent in {known.index for known in pool})
            ever_hits.append(node.parent in ever)
    return elite_hits, fmean(pool_hits), fmean(ever_hits)


def _told(statistic: Callable[[], Statistic]) -> Statistic | None:
    """A statistic, or None of a tree that is too small for it."""
    try:
        return statistic()
    except EvidenceError:
        return None


def _by_hundreds(children: Sequence[Node], chosen: Collection[int]) -> Effect:
    """Mean fitness of the chosen over the others', paired by blocks of 100 experiments that have both."""
    sides: dict[bool, dict[int, list[float]]] = {True: {}, False: {}}
    for node in children:
        sides[node.index in chosen].setdefault(node.index // 100, []).append(node.fitness)
    mine, others = ({block: fmean(found) for block, found in side.items()} for side in sides.values())
    return paired_effect(mine, others, higher_is_better=True)


def _leading(pool: Sequence[Node], later: Sequence[Node]) -> list[Node]:
    """The best of a pool and of what came later, the earlier of equal ones first."""
    return sorted((*pool, *later), key=lambda known: -known.fitness)[:POOL]


def _top_means(nodes: Sequence[Node]) -> dict[int, float]:
    """After every 200 experiments and after all, the mean fitness of the pool, divided by 3."""
    pool: list[Node] = []
    means, done = {}, 0
    for count in sorted({*range(200, len(nodes), 200), len(nodes)}):
        pool, done = _leading(pool, nodes[done:count]), count
        means[count] = fmean(sorted((node.fitness for node in pool), reverse=True)) / 3
    return means


def _block_means(nodes: Sequence[Node], width: int) -> dict[int, float]:
    blocks: dict[int, list[float]] = {}
    for node in nodes:
        blocks.setdefault(width * (node.index // width), []).append(node.fitness)
    return {start: fmean(block) for start, block in blocks.items()}


def _strangers_above_parent(
    nodes: Sequence[Node], children: Sequence[Node], by_index: Mapping[int, Node], around: int = 100
) -> dict[int, float]:
    """Child to the share of other families' proposals within ±`around` experiments that beat its parent."""
    order = [node.index for node in nodes]
    shares = {}
    for child in children:
        near = nodes[bisect_left(order, child.index - around) : bisect_left(order, child.index + around + 1)]
        others = [n.fitness for n in near if n.parent not in (None, child.parent) and n.index != child.parent]
        if others:
            parent = by_index[_parent(child)].fitness
            shares[child.index] = fmean(fitness > parent for fitness in others)
    return shares


def _task_trends(release: Release, paper: Paper) -> Iterator[TaskTrend]:
    """Each task regressed on final loss over the discoveries; z of Gated DeltaNet in residual standard deviations."""
    from scipy.stats import linregress

    stage = paper.printed["stage2"]
    loss = paper.table2_baselines["Gated DeltaNet"].loss_340m
    members = [member for member in release.gallery if math.isfinite(member.losses[-1])]
    losses = [member.losses[-1] for member in members]
    for task, baseline in zip(stage["tasks"], stage["gated_delta_net"], strict=True):
        values = [member.accuracy[task] for member in members]
        line = linregress(losses, values)
        residuals = [v - line.intercept - line.slope * x for x, v in zip(losses, values, strict=True)]
        spread = math.sqrt(math.fsum(r * r for r in residuals) / (len(members) - 2))
        yield TaskTrend(
            task, 100 * min(values), 100 * fmean(values), 100 * max(values), 100 * baseline,
            sum(value <= baseline for value in values),
            (baseline - line.intercept - line.slope * loss) / spread,
        )  # fmt: skip


def _quantile(ordered: Sequence[int], share: float) -> float:
    """Linear interpolation between the ordered values."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
