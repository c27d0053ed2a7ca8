"""Numbers and names as a reader wants them, in HTML and in Markdown: the filters of the templates."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from asiarc.tasks import deciding

Row = Mapping[str, Any]

_HEAD, _ROW = re.compile(r"<th[ >].*?</th>", re.DOTALL), re.compile(r"<tr.*?</tr>", re.DOTALL)
_CELL = re.compile(r"<td\b([ >])")
_TAG, _WORDS = re.compile(r"<[^>]*>"), re.compile(r"\s+")
_UNIT = {"text": ["bits a byte"], "overwrite": ["accuracy"], "reset": ["accuracy"]}
LEAST_PAIRS = 3  # under so many an interval says nothing
_MARKDOWN = re.compile(r"([\\`*_\[\]|#~!<>&$])")


def fixed(value: float | None, metric: str = "bits_per_byte") -> str:
    """A score: four decimals for bits a byte, three for an accuracy."""
    return "–" if value is None else f"{value:.{4 if metric == 'bits_per_byte' else 3}f}"


def signed(value: float | None) -> str:
    """A gain, with its sign."""
    return "–" if value is None else f"{value:+.4f}"


def short(value: float | str | None) -> str:
    """A number of unknown unit in three significant digits; text as it is."""
    if value is None:
        return "–"
    return value if isinstance(value, str) else f"{value:.3g}"


def interval(row: Row, form: Callable[..., str] | None = None) -> str:
    """``[low, high]`` as gains, or in another form; nothing where there is none, or too few pairs say nothing."""
    form = form or signed
    if "num_comparisons" in row and row["n"] < LEAST_PAIRS:
        return ""
    return "" if row.get("low") is None or row.get("high") is None else f"[{form(row['low'])}, {form(row['high'])}]"


def effect(row: Row | None) -> str:
    """``+0.0123 [+0.0100, +0.0146], n = 5``."""
    return "–" if row is None else f"{signed(row['mean'])} {interval(row)}".rstrip() + f", n = {row['n']}"


def time_share(row: Row | None) -> str:
    """What share of another's time is taken, of a gain in logarithms: ``0.987 [0.976, 0.997], n = 9``."""
    if row is None or row["mean"] is None:
        return "–"
    taken, *within = (math.exp(-row[key]) for key in ("mean", "high", "low") if row[key] is not None)
    return f"{taken:.3f}" + (f" [{within[0]:.3f}, {within[1]:.3f}]" if within else "") + f", n = {row['n']}"


def score(row: Row | None, metric: str) -> str:
    """``2.3123 [2.3010, 2.3236]``; without an interval where one seed gives none."""
    if row is None or row["mean"] is None:
        return "–"
    within = interval(row, lambda v: fixed(v, metric))
    return f"{fixed(row['mean'], metric)} {within}".strip()


def score_html(row: Row | None, metric: str) -> Markup:
    """A score whose interval may stand on a line of its own."""
    mean, _, within = score(row, metric).partition(" ")
    return Markup('{} <span class="interval">{}</span>').format(mean, within) if within else Markup(mean)


def count(value: float | None) -> str:
    """A whole number with thousands apart."""
    return "–" if value is None else f"{value:,.0f}"


def large(value: float | None) -> str:
    """A large number with its prefix: 1.23 M."""
    return "–" if value is None else _scaled(value, 1000, ("", " k", " M", " G", " T", " P"))


def size(value: float | None) -> str:
    """Bytes: 64 KiB."""
    return "–" if value is None else _scaled(value, 1024, (" B", " KiB", " MiB", " GiB", " TiB"))


def _scaled(value: float, base: int, units: tuple[str, ...]) -> str:
    power = min(len(units) - 1, int(math.log(abs(value), base))) if abs(value) >= base else 0
    scaled = value / base**power
    return f"{scaled:,.0f}{units[power]}" if power == 0 or scaled == int(scaled) else f"{scaled:.3g}{units[power]}"


def duration(seconds: float | None) -> str:
    """``12.3 s``, ``4 min 05 s``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for big, small, one, other in ((3600, 60, "min", "s"), (86400, 3600, "h", "min")):
        if whole < big:
            return f"{whole // small} {one} {whole % small // (small // 60):02d} {other}"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def hours(seconds: float | None) -> str:
    """Hours in three significant digits."""
    return short(None if seconds is None else seconds / 3600)


def percent(value: float | None) -> str:
    """A fraction in per cent: 31.4 %."""
    return "–" if value is None else f"{100 * value:.3g} %"


def energy(joules: float | None) -> str:
    """Joules in kWh, or in joules where they are few."""
    if joules is None:
        return "–"
    return f"{joules / 3.6e6:.3g} kWh" if joules >= 3.6e4 else f"{joules:.3g} J"


def share(part: float, whole: float) -> str:
    """A share in per cent."""
    return "–" if not whole else f"{100 * part / whole:.0f} %"


def asked(spec: Row) -> str:
    """The question of a campaign in one sentence."""
    tasks = deciding(spec["explore"]["tasks"]) or spec["explore"]["tasks"]
    matched = f", with {', '.join(spec['match'])} made equal within 2 %" if spec["match"] else ""
    names = {"state_bytes": "state bytes", "flops": "FLOPs a token"}
    caps = [
        f"at most {share(factor, 1)} of its blocks growing with the text"
        if name == "quadratic"
        else f"at most {factor:g} × its {names.get(name, name)}"
        for name, factor in spec["at_most"].items()
    ]
    researcher = spec["researcher"]["class"] if isinstance(spec["researcher"], dict) else spec["researcher"]
    finds = "do those who propose" if researcher == "open" else f"does the researcher {researcher}"
    return (
        f"Starting from {spec['start_from']}, {finds} find a {spec.get('domain', 'mixer')} that gains over "
        f"{', '.join(spec['baselines'])} on {', '.join(tasks)}{matched}{' and ' + ' and '.join(caps) if caps else ''}?"
    )


def no_winner(campaign: Row) -> str:
    """Why a campaign has no winner."""
    if not campaign["spec"].get("verify"):
        return "this campaign declares explore only, and a winner is picked by verify"
    if "verify" not in campaign["stages_finished"]:
        after = "explore" if "explore" not in campaign["stages_finished"] else "verify"
        return f"{after} is not finished; the same command goes on where it stopped"
    return "no candidate was scored in verify"


def order_found(row: Row) -> str:
    """Whether an interval shows a published order, shows it reversed, or leaves it open."""
    return "yes" if row["low"] > 0 else "reversed" if row["high"] < 0 else "cannot tell"


def decided(row: Row) -> str:
    """A decision in words. What its own seeds or items chose is never better, wherever its interval lies."""
    is_test = row["fresh"] or row["decision"] != "cannot tell"
    return str(row["decision"]) if is_test else "not a test: these seeds chose the winner"


@dataclass(frozen=True)
class Headline:
    """The comparison that a verdict's own effect is of, and the task where that is said."""

    ahead: str
    behind: str
    task: str

    def is_on(self, task: str) -> bool:
        """Whether it is of this task."""
        return task == self.task


def headline_of(verdict: Row) -> Headline | None:
    """Whom a verdict's own effect compares, as its statement says; None where it names no two."""
    before = _before(verdict)
    task = re.match(r"([\w:]+): |.* on ([\w:]+) of:", before)
    pair = re.search(r"(?:^|[:;,] )([\w.:-]+(?:, [a-z ]+)?) over ([\w.:-]+(?:, [a-z ]+)?)(?: on ([\w:]+))? $", before)
    if pair:
        return Headline(pair[1], pair[2], pair[3] or (task and (task[1] or task[2])) or "text")
    pair = re.match(r"(?:([\w:]+): )?([\w.:-]+), picked from [\d,]+, against ([\w.:-]+),", verdict["statement"])
    return Headline(pair[2], pair[3], pair[1] or "text") if pair else None


def _before(verdict: Row) -> str:
    """The statement up to the verdict's own effect; empty where it does not stand there."""
    effect, low = verdict["effect"], verdict["low"]
    if effect is None or low is None:
        return ""
    places = (verdict["statement"].find(f"{effect:+.{near}f} [{low:+.{near}f}") for near in (3, 4))  # as `told` has it
    return str(verdict["statement"])[: max(0, *places)]


def path_share(row: Row) -> str:
    """A claim's m-value: ``0.92 of 192``; why there is none, or a dash where nothing was trained for it."""
    found = row.get("analyses")
    if found and found["share"] is not None:
        return f"{found['share']:.2f} of {found['paths']}"
    is_trained = re.fullmatch(r"run \w+", row["verdict"]["evidence_path"])
    return "not computed" if is_trained and row["verdict"]["effect"] is not None else "–"


def ours(verdict: Row) -> str:
    """A verdict's own value; the weakest of several gains in words: by how much, over or behind whom, of how many."""
    value, effect = verdict["our_value"], verdict["effect"]
    if effect is None or not value.endswith(" at least"):
        return str(value)
    before = _before(verdict)
    other = re.sub(r" on [\w:]+$", "", before.rpartition(" over ")[2].strip()) if " over " in before else ""
    other = "" if ":" in other else other
    units = [unit for unit in ("bits a byte", "accuracy") if unit in before] or _UNIT.get(before.partition(":")[0], [])
    unit = {"bits a byte": " bits a byte", "accuracy": " of accuracy"}[units[0]] if len(units) == 1 else ""
    size = f"{abs(effect):.{3 if abs(effect) >= 0.0005 else 4}f}"
    way = "behind" if effect < 0 else "ahead of" if other else "ahead"
    count = re.search(r"the weakest of (\d+)", verdict["test"])
    return f"{size}{unit} {way} {other}".rstrip() + (f" (weakest of {count[1]} comparisons)" if count else "")


def speaks(claim: Row) -> str:
    """Which tiers may say what of a claim."""
    weakest, full = claim["weakest_tier"], claim["full_tier"]
    if weakest == full:
        return f"The {full} tier can confirm or refute it"
    whole = "the paper's own size" if full == "paper" else f"the {full} tier"
    return f"The {weakest} tier can say something; only {whole} can confirm or refute it"


def measured(verdict: Row) -> str:
    """What stands beside a verdict's own value: the interval, of its effect where that is another number; n; test."""
    value, within = verdict["our_value"], interval(verdict, short)
    is_said = verdict["effect"] is None or (value and not within) or short(verdict["effect"]).lstrip("+-") in value
    told = within if is_said else f"effect {short(verdict['effect'])} {within}".strip()
    n = f"n = {count(verdict['n'])}" if verdict["n"] is not None else ""
    return ", ".join(filter(None, (told, n, verdict["test"])))


def plural(number: float, noun: str) -> str:
    """``1 trial``, ``2 trials``."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def badge(verdict: str) -> str:
    """A CSS class for a verdict or a decision."""
    good = ("reproduced", "reproduced at smaller scale", "better")
    bad = ("contradicted", "contradicted at smaller scale", "worse")
    return (
        "good"
        if verdict in good
        else "bad"
        if verdict in bad
        else "part"
        if verdict in ("partly", "no worse")
        else "open"
    )


# --- HTML -------------------------------------------------------------------------------------------------------------


def command(line: str) -> Markup:
    """A command that breaks at its spaces and between the parts of a path, never inside a word."""
    return Markup(re.sub(r"(/|(?=::)|(?<=[a-z])(?=_))", r"\1<wbr>", str(escape(line))))


def labelled(rows: str) -> Markup:
    """A table's rows (of our own templates) whose cells say their column, for where columns do not fit side by side."""
    top = rows[: rows.find("</thead>") + 1]
    heads = [_WORDS.sub(" ", _TAG.sub(" ", head)).strip() for head in _HEAD.findall(top)]

    def row(found: re.Match[str]) -> str:
        names = iter(heads)
        return _CELL.sub(lambda cell: f'<td data-label="{next(names, "")}"{cell[1]}', found[0])

    return Markup(_ROW.sub(row, rows))


# --- Markdown ---------------------------------------------------------------------------------------------------------


def md(value: Any) -> Markup:
    """Text of any origin on one line of Markdown, every mark of the language escaped."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    return Markup(_MARKDOWN.sub(r"\\\1", line))


def fence(source: str) -> Markup:
    """A code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", source)), default=0)
    marks = "`" * max(3, longest + 1)
    return Markup(f"{marks}python\n{source.rstrip()}\n{marks}")


def reading(row: Row) -> str:
    """What an interval says of a comparison that was declared beforehand."""
    return "ahead" if row["low"] > 0 else "behind" if row["high"] < 0 else "cannot tell"


def remarks(mixer: Row) -> str:
    """Of a study's mixer: what the gates said, which trials failed, at which end its rate is, what probes saw."""
    found = [f"rejected by {mixer['rejected']}"] if mixer["rejected"] else []
    found += ["admitted"] if mixer.get("admitted") and not mixer["tasks"] else []
    found += [f"the grid's {mixer['edge']} rate"] if mixer.get("edge") else []  # older reports lack it
    found += [f"{kind.replace('_', ' ')} {number}" for kind, number in mixer["failed"].items()]
    found += [f"{what} {short(seen['mean'])}" for what, seen in mixer["probes"].items()]
    return ", ".join(found)


FILTERS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        fixed,
        signed,
        short,
        interval,
        effect,
        score,
        count,
        large,
        size,
        duration,
        hours,
        percent,
        energy,
        asked,
        decided,
        no_winner,
        order_found,
        badge,
        md,
        fence,
        reading,
        remarks,
        command,
        labelled,
        measured,
        ours,
        path_share,
        speaks,
        score_html,
        time_share,
    )
}
GLOBALS: dict[str, Callable[..., Any]] = {"share": share, "plural": plural, "short": short}
