"""Figures as SVG, drawn from CSV rows (text) alone; the same rows give the same bytes.

Text and axes take the reader's own colour (`currentColor`), series use mid tones, the ground is transparent: one file
reads well in light and in dark. Figures are as wide as a phone: names stand above what they name and are not cut, many
lines are drawn a panel each. matplotlib is used without pyplot, so no global state is touched but its settings,
which are put back.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from asiarc.report.tables import number
from asiarc.report.wording import LEAST_PAIRS, decided

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[dict[str, str]]

INK = "#0a0b0c"  # stands for the reader's text colour while matplotlib draws
PALETTE = ("#3b82c4", "#d9822b", "#2f9e77", "#a06cd5", "#d1495b", "#9a8c1f", "#1f9bb0", "#b06a8f", "#7a8a99")
THEME = "<style>:root{color:#1f2328}@media(prefers-color-scheme:dark){:root{color:#d5dbe3}}</style>"
OUTCOME_MARKS = {
    "rejected": "x",
    "crashed": "P",
    "timed_out": "D",
    "out_of_memory": "s",
    "unscored": "1",
    "pending": "2",
}
LABELLED = 28  # nodes up to which the lineage tree carries names
TREE_LEADERS = 24  # leading candidates whose ancestry is drawn when the population is larger than that
WIDTH = 4.2  # inches; a page shows an inch as about 80 pixels on a phone, as a hundred on a desk
LONGEST = 96  # characters of a name that are drawn; those of people's own mixers are shorter
CHOICES = 16  # choices of the grammar whose shares are drawn
LARGEST = 1e100  # matplotlib finds no ticks where the range of an axis comes near that of a float
PAIRS = 6  # pairs of levels in the transfer figure

SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "asiarc",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.6,
    "figure.constrained_layout.use": True,
}


def draw(kind: str, rows: Rows) -> str:
    """The SVG of one figure; `kind` is a key of `FIGURES`, `rows` are what its CSV file holds."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        figure = Figure(figsize=(WIDTH, 2.9))
        FIGURES[kind](figure, rows)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _tidy(drawn.getvalue())


def _tidy(svg: str) -> str:
    """One `<svg>` element of its own size that scales, without prologue and without ids that nothing refers to."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'<g id="[A-Za-z_]+[0-9]*">', "<g>", svg)
    svg = re.sub(r' (width|height)="([0-9.]+)pt"', lambda m: f' {m[1]}="{1.6 * float(m[2]):.0f}"', svg, count=2)
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return svg.replace(INK, "currentColor").replace(">", f">{THEME}", 1)


def inline(svg: str) -> str:
    """A figure for use inside an HTML page, which brings the colours itself."""
    return svg.replace(THEME, "", 1)


def plain(text: str, line: int = LONGEST) -> str:
    """A name that any font can draw, in lines of at most `line` characters that end where its words do."""
    safe = "".join(c if c.isprintable() and c.isascii() else "?" for c in text)[:LONGEST]
    lines = [""]
    for word in re.findall(rf".{{1,{line}}}?(?:[ _-]|$)|.{{1,{line}}}", safe):
        lines = [*lines[:-1], lines[-1] + word] if len(lines[-1] + word) <= line else [*lines, word]
    return "\n".join(lines)


def _numbers(rows: Rows, column: str) -> list[float]:
    found = [value for row in rows if (value := number(row[column])) is not None]
    if any(abs(value) > LARGEST for value in found):
        raise ValueError(f"{column} holds a number beyond {LARGEST:g}, which no axis can show")
    return found


def _groups(rows: Rows, *columns: str) -> dict[tuple[str, ...], list[dict[str, str]]]:
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[column] for column in columns), []).append(row)
    return groups


# --- one function a figure --------------------------------------------------------------------------------------------


def effects(figure: Figure, rows: Rows) -> None:
    """Forest plot: the winner's gain over each baseline; filled on fresh seeds and items, hollow on others."""
    figure.set_size_inches(WIDTH, 0.8 + 0.34 * len(rows))
    axes = figure.subplots()
    left, right = _telling_range(rows)
    for place, row in enumerate(rows):
        low, mean, high = (float(row[key]) for key in ("low", "mean", "high"))
        fresh = row["fresh"] == "True"
        colour = PALETTE[0] if fresh else PALETTE[-1]
        if int(row["n"]) >= LEAST_PAIRS:
            axes.plot([max(low, left), min(high, right)], [place, place], color=colour, solid_capstyle="butt")
        for bound, edge, mark in ((low, left, "<"), (high, right, ">")):
            if int(row["n"]) >= LEAST_PAIRS and min(max(bound, left), right) != bound:
                axes.plot([edge], [place], mark, color=colour, markersize=5, clip_on=False)
        if left <= mean <= right:
            axes.plot([mean], [place], "o", color=colour, markerfacecolor=colour if fresh else "none", markersize=6)
        told = plain(decided({"decision": row["decision"], "fresh": fresh}))
        _above(axes, place, f"{plain(row['stage'])}, over {plain(row['baseline'])} (n={plain(row['n'])}): {told}")
    axes.set_xlim(left, right)
    _without_ticks(axes, len(rows))
    axes.set_xlabel(f"gain on {plain(rows[0]['task'])} in the metric's unit\narrows: the interval goes on")


def _above(axes: Axes, place: int, text: str) -> None:
    """What an interval is of, on a line of its own: beside it there is no room on a phone."""
    axes.annotate(text, (0.0, place - 0.3), xycoords=("axes fraction", "data"), va="center", fontsize=7.5)


def _without_ticks(axes: Axes, count: int) -> None:
    axes.axvline(0, color=INK, linewidth=0.9)
    axes.set_yticks([])
    axes.set_ylim(count - 0.5, -0.7)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)


def forest(figure: Figure, rows: Rows) -> None:
    """Forest plot of a study's paired effects, a panel a task; grey where the interval holds zero."""
    panels = list(_groups(rows, "task").items())
    heights = [0.7 + 0.34 * len(mine) for _, mine in panels]
    figure.set_size_inches(WIDTH, sum(heights))
    drawn = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights).flat
    for axes, ((task,), mine) in zip(drawn, panels, strict=True):
        for place, row in enumerate(mine):
            low, mean, high = (float(row[key]) for key in ("low", "mean", "high"))
            colour = PALETTE[0] if low > 0 else PALETTE[4] if high < 0 else PALETTE[-1]
            if int(row["n"]) >= LEAST_PAIRS:
                axes.plot([low, high], [place, place], color=colour, solid_capstyle="butt")
            axes.plot([mean], [place], "o", color=colour, markersize=5)
            _above(axes, place, f"{plain(row['ahead'])} over {plain(row['behind'])} (n={plain(row['n'])})")
        _without_ticks(axes, len(mine))
        axes.set_xlabel(f"gain on {plain(task)} in the metric's unit", fontsize=8)


def scatter(figure: Figure, rows: Rows) -> None:
    """Bits a byte on text against the mean accuracy on the synthetic tasks; squares are baselines, named."""
    axes = figure.subplots()
    for (role,), some in _groups(rows, "role").items():
        axes.plot(_numbers(some, "text"), _numbers(some, "mean"), "s" if role == "baseline" else "o", label=plain(role),
                  color=PALETTE[1] if role == "baseline" else PALETTE[0], markersize=5, alpha=0.8)  # fmt: skip
    for row in rows:
        if row["role"] == "baseline":
            axes.annotate(plain(row["mixer"]), (float(row["text"]), float(row["mean"])), xytext=(5.0, 3.0),
                          textcoords="offset points", fontsize=7)  # fmt: skip
    axes.invert_xaxis()
    axes.set_xlabel("bits a byte on text (better to the right)")
    axes.set_ylabel("mean accuracy, synthetic tasks")
    axes.set_title(f"{len(rows)} mixers")


def discoveries(figure: Figure, rows: Rows) -> None:
    """Discoveries so far along the proposals: the mean over repeats of each arm, band from lowest to highest."""
    axes = figure.subplots()
    for colour, ((arm,), mine) in zip(cycle(PALETTE), _groups(rows, "arm").items(), strict=False):
        by_number = _groups(mine, "number")
        numbers = [float(place) for (place,) in by_number]
        counts = [_numbers(at, "discoveries") for at in by_number.values()]
        axes.fill_between(numbers, [min(c) for c in counts], [max(c) for c in counts], color=colour, alpha=0.1,
                          linewidth=0)  # fmt: skip
        axes.plot(numbers, [math.fsum(c) / len(c) for c in counts], color=colour, label=plain(arm))
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("proposals of a repeat")
    axes.set_ylabel("discoveries so far\n(mean over repeats)")
    figure.legend(loc="outside lower left", ncols=2)


def _telling_range(rows: Rows) -> tuple[float, float]:
    """Limits that hold zero and every interval of three pairs or more; those of two pairs would dwarf the rest."""
    telling = [row for row in rows if int(row["n"]) >= LEAST_PAIRS] or rows
    ends = [0.0, *_numbers(telling, "low"), *_numbers(telling, "high"), *_numbers(rows, "mean")]
    margin = 0.06 * ((max(ends) - min(ends)) or 1.0)
    return min(ends) - margin, max(ends) + margin


def curves(figure: Figure, rows: Rows) -> None:
    """Loss along training, a panel a mixer: mean over seeds in a band from lowest to highest; the others in grey."""
    groups = list(_groups(rows, "address", "role", "mixer").items())
    courses = [_course(mine) for _, mine in groups]
    columns = 2 if len(groups) <= 8 else 3
    lines = math.ceil(len(groups) / columns)
    figure.set_size_inches(WIDTH, 0.7 + 1.25 * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes, ((_, role, mixer), _), mine in zip(panels.flat, groups, courses, strict=False):
        for steps, means, _, _ in courses:
            axes.plot(steps, means, color=INK, linewidth=0.6, alpha=0.25)
        colour = PALETTE[1] if role == "baseline" else PALETTE[0]
        steps, means, lowest, highest = mine
        axes.fill_between(steps, lowest, highest, color=colour, alpha=0.25, linewidth=0)
        axes.plot(steps, means, "--" if role == "baseline" else "-", color=colour, linewidth=1.8)
        named = plain(mixer, 30 if columns == 2 else 19) + (f"\n({role})" if role in ("winner", "baseline") else "")
        axes.set_title(named, fontsize=7, fontweight="bold" if role == "winner" else "normal")
        axes.tick_params(labelsize=7)
    for axes in list(panels.flat)[len(groups) :]:
        axes.set_visible(False)
    figure.supxlabel(f"training steps ({plain(rows[0]['task'])}, {plain(rows[0]['stage'])})", fontsize=8)
    figure.supylabel("loss (bits a scored token)", fontsize=8)


def _course(rows: Rows) -> tuple[list[float], list[float], list[float], list[float]]:
    """Steps, and at each the mean over seeds, the lowest and the highest."""
    by_step = _groups(rows, "step")
    values = [_numbers(at, "held_out_bits") for at in by_step.values()]
    means = [math.fsum(v) / len(v) for v in values]
    return [float(step) for (step,) in by_step], means, [min(v) for v in values], [max(v) for v in values]


def population(figure: Figure, rows: Rows) -> None:
    """Gain of each proposal in the order of proposing, by the rung it reached; what was not scored along the foot."""
    axes = figure.subplots()
    scored = [row for row in rows if row["outcome"] == "scored"]
    gains = sorted(_numbers(scored, "gain"))
    floor = _lower_edge(gains)
    for (rung,), mine in sorted(_groups(scored, "rung").items()):
        heights = [max(floor, float(row["gain"])) for row in mine]
        axes.plot(
            [float(row["number"]) for row in mine],
            heights,
            "o",
            color=PALETTE[int(rung) % len(PALETTE)],
            markersize=4.5,
            alpha=0.8,
            label=f"scored, rung {int(rung) + 1}",
        )
    deepest = [row for row in scored if row["rung"] == max((r["rung"] for r in scored), key=int)]
    if deepest:
        best, steps = -math.inf, []
        for row in deepest:
            best = max(best, float(row["gain"]))
            steps.append((float(row["number"]), best))
        steps.append((float(rows[-1]["number"]), best))
        axes.step(
            *zip(*steps, strict=True), where="post", color=INK, linewidth=1.0, label="highest on the last rung so far"
        )
    for (outcome,), mine in sorted(_groups([r for r in rows if r["outcome"] != "scored"], "outcome").items()):
        axes.plot(
            [float(row["number"]) for row in mine],
            [0.02] * len(mine),
            OUTCOME_MARKS.get(outcome, "x"),
            color=PALETTE[4],
            markersize=5,
            transform=axes.get_xaxis_transform(),
            label=plain(outcome.replace("_", " ")),
            clip_on=False,
        )
    axes.axhline(0, color=INK, linewidth=0.8, alpha=0.6)
    axes.set_xlabel("proposal number")
    axes.locator_params(axis="x", integer=True)
    axes.set_ylabel("gain over the start" + ("\n(lowest clipped)" if gains and gains[0] < floor else ""))
    figure.legend(loc="outside lower left", ncols=2)


def _lower_edge(gains: Sequence[float]) -> float:
    """Below it a few very bad candidates would squeeze all others into a line."""
    if len(gains) < 8:
        return gains[0] if gains else 0.0
    tenth, top = gains[len(gains) // 10], gains[-1]
    return tenth - 1.5 * (top - tenth)


def search(figure: Figure, rows: Rows) -> None:
    """Three panels: candidates ahead of the start over CPU time, the leading ones' mean gain, the mixers' sizes."""
    figure.set_size_inches(WIDTH, 5.4)
    ahead, pool, sizes = figure.subplots(3, 1)
    ahead.step(_numbers(rows, "cpu_s"), _numbers(rows, "ahead"), where="post", color=PALETTE[0])
    ahead.set_xlabel("CPU-seconds of explore")
    ahead.set_title("candidates ahead of the start")
    known = [row for row in rows if row["pool_gain"]]
    pool.plot(_numbers(known, "number"), _numbers(known, "pool_gain"), color=PALETTE[2])
    pool.set_xlabel("proposal number")
    pool.set_title("mean gain of the leading")
    sized = [row for row in rows if row["mixer_parameters"]]
    sizes.plot(
        _numbers(sized, "number"), _numbers(sized, "mixer_parameters"), "o", color=PALETTE[3], markersize=3.5, alpha=0.8
    )
    sizes.set_xlabel("proposal number")
    sizes.set_title("parameters of the mixer")
    for axes in (ahead, pool, sizes):
        axes.tick_params(labelsize=7)
        axes.locator_params(nbins=4)
        axes.locator_params(axis="x", integer=True)


def components(figure: Figure, rows: Rows) -> None:
    """Share of the leading quarter (filled) and of the rest (hollow) that made each choice."""
    points = [
        (
            plain(row["choice"], 26),
            float(row["leading"]) / float(row["of_leading"]),
            float(row["rest"]) / float(row["of_rest"]),
        )
        for row in rows
    ]
    points = sorted(points, key=lambda point: (-abs(point[1] - point[2]), point[0]))[:CHOICES]
    points.sort(key=lambda point: point[1] - point[2])
    figure.set_size_inches(WIDTH, 1.0 + 0.26 * len(points))
    axes = figure.subplots()
    for place, (_, leading, rest) in enumerate(points):
        axes.plot([leading, rest], [place, place], color=INK, linewidth=0.8, alpha=0.5, zorder=1)
    places = list(range(len(points)))
    axes.plot([p[1] for p in points], places, "o", color=PALETTE[0], label=f"leading {plain(rows[0]['of_leading'])}")
    axes.plot(
        [p[2] for p in points],
        places,
        "o",
        color=PALETTE[1],
        markerfacecolor="none",
        label=f"other {plain(rows[0]['of_rest'])}",
    )
    axes.set_yticks(places, [point[0] for point in points], fontsize=7)
    axes.set_xlabel("share of candidates with the choice")
    axes.set_xlim(-0.03, 1.03)
    figure.legend(loc="outside lower left", ncols=2)


def lineage(figure: Figure, rows: Rows) -> None:
    """The tree of who was made from whom, left to right; colour is the gain, the winner's line is heavy."""
    from matplotlib import colormaps

    nodes = _tree(rows)
    children = _groups(list(nodes.values()), "parent")
    depth, height = _layout(nodes, children)
    leaves = max(height.values()) + 1
    figure.set_size_inches(WIDTH, min(9.0, max(1.8, 0.75 + 0.19 * leaves)))
    axes = figure.subplots()
    for key, row in nodes.items():
        if row["parent"] in nodes:
            heavy = bool(row["role"])
            axes.plot(
                [depth[row["parent"]], depth[key]],
                [height[row["parent"]], height[key]],
                color=PALETTE[0] if heavy else INK,
                linewidth=2.2 if heavy else 0.7,
                alpha=1.0 if heavy else 0.35,
                zorder=1,
            )
    gains = [float(row["gain"]) for row in nodes.values()]
    span = sorted(map(abs, gains))[int(0.9 * (len(gains) - 1))] or 1.0  # one outlier must not wash all others out
    dots = axes.scatter(
        [depth[k] for k in nodes],
        [height[k] for k in nodes],
        c=gains,
        cmap=colormaps["coolwarm_r"].resampled(11),
        vmin=-span,
        vmax=span,
        s=[70 if r["role"] == "winner" else 30 for r in nodes.values()],
        edgecolors=INK,
        linewidths=0.5,
        zorder=2,
    )
    if len(nodes) <= LABELLED:
        for key, row in nodes.items():
            inside = (key,) in children  # there is room for a number only; names by number are in the data
            label = plain(row["name"]) if key == "-1" else f"#{key}" + (" winner" if row["role"] == "winner" else "")
            offset, side = ((0.0, 6.0), "left" if key == "-1" else "center") if inside else ((7.0, -2.5), "left")
            axes.annotate(
                label, (depth[key], height[key]), xytext=offset, textcoords="offset points", fontsize=7, ha=side
            )
    figure.colorbar(dots, ax=axes, label="gain over the start", extend="both", shrink=0.8, aspect=25)
    axes.set_axis_off()
    axes.set_xlim(-0.4, max(depth.values()) + (0.9 if len(nodes) <= LABELLED else 0.3))


def _tree(rows: Rows) -> dict[str, dict[str, str]]:
    """All nodes, or the ancestry of the leading ones where all would be too many."""
    by_number = {row["number"]: row for row in rows}
    if len(rows) <= 3 * TREE_LEADERS:
        return by_number
    leading = sorted(rows, key=lambda row: (row["role"] != "winner", -float(row["gain"])))[:TREE_LEADERS]
    kept: set[str] = {"-1"}
    for row in leading:
        here = row["number"]
        while here and here not in kept:
            kept.add(here)
            here = by_number[here]["parent"]
    return {key: row for key, row in by_number.items() if key in kept}


def _layout(
    nodes: dict[str, dict[str, str]], children: dict[tuple[str, ...], list[dict[str, str]]]
) -> tuple[dict[str, int], dict[str, float]]:
    """(generation of each node, its height): leaves one below the other, a parent midway between its children."""
    depth: dict[str, int] = {}
    for key, row in nodes.items():  # rows come parents first
        depth[key] = depth[row["parent"]] + 1 if row["parent"] in depth else 0
    height: dict[str, float] = {}
    leaves, stack = 0, [("-1", False)]
    while stack:
        key, expanded = stack.pop()
        # A generation further on each time: what goes round in a circle, in a report that somebody changed, ends.
        below = [n for row in children.get((key,), []) if depth[n := row["number"]] == depth[key] + 1]
        if below and not expanded:
            stack += [(key, True), *((child, False) for child in reversed(below))]
        elif below:
            height[key] = (height[below[0]] + height[below[-1]]) / 2
        else:
            height[key], leaves = float(leaves), leaves + 1
    return depth, height


def transfer(figure: Figure, rows: Rows) -> None:
    """Gain at one rung or stage against gain at another, a panel a pair; squares are baselines."""
    pairs = sorted(_groups(rows, "from", "to").items(), key=lambda item: -len(item[1]))[:PAIRS]
    columns = min(2, len(pairs))
    lines = math.ceil(len(pairs) / columns)
    figure.set_size_inches(WIDTH, 2.1 * lines + 0.2)
    panels = figure.subplots(lines, columns, squeeze=False).flat
    for axes, ((first, second), mine) in zip(panels, pairs, strict=False):
        for (role,), some in _groups(mine, "role").items():
            axes.plot(_numbers(some, "gain_from"), _numbers(some, "gain_to"), "s" if role == "baseline" else "o",
                      color=PALETTE[1] if role == "baseline" else PALETTE[0], markersize=5, alpha=0.8)  # fmt: skip
        axes.set_xlabel(f"gain: {plain(first)}", fontsize=7)
        axes.set_ylabel(f"gain: {plain(second)}", fontsize=7)
        axes.set_title(f"n = {len(mine)}", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.locator_params(nbins=4)
    for axes in list(figure.axes)[len(pairs) :]:
        axes.set_axis_off()


def tasks(figure: Figure, rows: Rows) -> None:
    """Baselines by tasks: the number is the mean, the shade its place between the ends of the column."""
    names, columns = list(dict.fromkeys(row["baseline"] for row in rows)), list(_groups(rows, "task"))
    figure.set_size_inches(WIDTH, 1.5 + 0.3 * len(names))
    axes = figure.subplots()
    for x, (task,) in enumerate(columns):
        mine = [row for row in rows if row["task"] == task]
        means = _numbers(mine, "mean")
        low, span = min(means), (max(means) - min(means)) or 1.0
        for row, mean in zip(mine, means, strict=True):
            place = (mean - low) / span
            place = place if row["higher_is_better"] == "True" else 1 - place
            _cell(axes, x, names.index(row["baseline"]), place, f"{mean:.3f}")
    axes.set_xticks(range(len(columns)), [_task_label(rows, task) for (task,) in columns], fontsize=7, rotation=60,
                    ha="left", rotation_mode="anchor")  # fmt: skip
    axes.set_yticks(range(len(names)), [plain(name, 24) for name in names], fontsize=7)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _cell(axes: Axes, x: float, y: float, place: float, text: str) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=PALETTE[0], alpha=0.06 + 0.5 * place, linewidth=0)
    )
    axes.annotate(text, (x, y), ha="center", va="center", fontsize=7)


def _task_label(rows: Rows, task: str) -> str:
    metric = next(row["metric"] for row in rows if row["task"] == task)
    return f"{plain(task)}\n{'bits a byte' if metric == 'bits_per_byte' else plain(metric)}"


FIGURES: dict[str, Callable[[Figure, Rows], None]] = {
    "effects": effects,
    "curves": curves,
    "population": population,
    "search": search,
    "components": components,
    "lineage": lineage,
    "transfer": transfer,
    "tasks": tasks,
    "forest": forest,
    "scatter": scatter,
    "discoveries": discoveries,
}
