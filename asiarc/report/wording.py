"""Numbers and names as a reader wants them, in HTML and in Markdown: the filters of the templates."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup, escape

from asiarc.tasks import get_task

Row = Mapping[str, Any]

_HEAD, _ROW = re.compile(r"<th[ >].*?</th>", re.DOTALL), re.compile(r"<tr.*?</tr>", re.DOTALL)
_CELL = re.compile(r"<td\b([ >])")
_TAG, _WORDS = re.compile(r"<[^>]*>"), re.compile(r"\s+")
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
    """``[low, high]`` as gains, or in another form; nothing where there is none."""
    form = form or signed
    return "" if row.get("low") is None or row.get("high") is None else f"[{form(row['low'])}, {form(row['high'])}]"


def effect(row: Row | None) -> str:
    """``+0.0123 [+0.0100, +0.0146], n = 5``."""
    return "–" if row is None else f"{signed(row['mean'])} {interval(row)}, n = {row['n']}"


def score(row: Row | None, metric: str) -> str:
    """``2.3123 [2.3010, 2.3236]``; without an interval where one seed gives none."""
    if row is None or row["mean"] is None:
        return "–"
    within = interval(possible(row, metric), lambda v: fixed(v, metric))
    return f"{fixed(row['mean'], metric)} {within}".strip()


def score_html(row: Row | None, metric: str) -> Markup:
    """A score whose interval may stand on a line of its own."""
    mean, _, within = score(row, metric).partition(" ")
    return Markup("{} <span class=\"interval\">{}</span>").format(mean, within) if within else Markup(mean)


def possible(row: Row, metric: str) -> Row:
    """The row with an accuracy's interval cut at 0 and 1, beyond which no mean lies whatever a t distribution says."""
    if metric != "accuracy" or row.get("low") is None:
        return row
    return {**row, "low": max(0.0, row["low"]), "high": min(1.0, row["high"])}


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
    tasks = [task for task in spec["explore"]["tasks"] if get_task(task).decides] or spec["explore"]["tasks"]
    matched = f", with {', '.join(spec['match'])} made equal within 2 %" if spec["match"] else ""
    names = {"state_bytes": "state bytes", "flops": "FLOPs a token"}
    caps = [f"at most {factor:g} × its {names.get(name, name)}" for name, factor in spec["at_most"].items()]
    researcher = spec["researcher"]["class"] if isinstance(spec["researcher"], dict) else spec["researcher"]
    finds = "do those who propose" if researcher == "open" else f"does the researcher {researcher}"
    return (
        f"Starting from {spec['start_from']}, {finds} find a mixer that gains over "
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
    decision, low = row["decision"], (row["effect"] or {}).get("low")
    return f"{decision}: it was chosen by this" if decision == "cannot tell" and low and low > 0 else str(decision)


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
    good, bad = ("reproduced", "reproduced at smaller scale", "better"), ("contradicted", "worse")
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
        possible,
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
        score_html,
    )
}
GLOBALS: dict[str, Callable[..., Any]] = {"share": share, "plural": plural, "short": short}
