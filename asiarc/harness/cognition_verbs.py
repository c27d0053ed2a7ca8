"""What ``asiarc cognition search | add | promote | check`` calls: text in, text out, nothing printed here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asiarc.cognition.base import Base, Find, Hit, shipped
from asiarc.cognition.check import check, check_entries
from asiarc.cognition.entry import CognitionError, Entry, as_toml, load_file

if TYPE_CHECKING:
    from asiarc.archive.results import CampaignResult


def by_meaning(base: Base, model: str, base_url: str | None, kept: Path) -> Find:
    """A search by an embedding endpoint; vectors are kept in a file by their text, and asked for once."""
    from asiarc.cognition.dense import Dense
    from asiarc.llm import Client, Ledger, Price
    from asiarc.llm.address import key_from
    from asiarc.llm.embedding import Embedder
    from asiarc.llm.endpoint import OPENAI, Endpoint
    from asiarc.llm.tape import FileTape

    endpoint = Endpoint(base_url or OPENAI, key_from())
    client = Client(FileTape(kept), Ledger({model: Price(0, 0)}), "record", endpoint)
    return Dense(base, Embedder(client, model)).search


def render_search(query: str, k: int = 3, extra: Path | None = None, find: Find | None = None) -> str:
    """The k best entries for a weakness, readable; says so when none shares a word with it."""
    found = found_entries(query, k, extra, find)
    if not found:
        return f"none of {len(_base(extra))} entries shares a word with {query!r}; use other words."
    return "\n\n".join(_rendered(hit.entry, hit.score) for hit in found)


def found_entries(query: str, k: int = 3, extra: Path | None = None, find: Find | None = None) -> Sequence[Hit]:
    """The k best entries for a weakness, the best first."""
    return (find or _base(extra).search)(query, k)


def _base(extra: Path | None) -> Base:
    return Base.load(extra) if extra else shipped()


def _rendered(entry: Entry, score: float) -> str:
    paper = entry.paper
    lines = [
        f"{entry.id}  (score {score:.3g})",
        f"paper      {paper.authors} ({paper.year}). {paper.title}. {paper.identifier}",
        f"trigger    {entry.trigger}",
        f"mechanism  {entry.mechanism}",
        f"equation   {entry.equation}",
        f"cost       {entry.cost}",
        f"limits     {entry.limits}",
        f"grammar    {entry.grammar or 'cannot express it'}",
    ]
    return "\n  ".join(lines + ([f"evidence   {entry.evidence}"] if entry.evidence else []))


def add(file: Path, folder: Path) -> tuple[Entry, ...]:
    """Take the entries of a TOML file into a folder of your own, which campaigns name as ``cognition=``.

    Nothing is written unless they are valid and sound beside the shipped entries and those already there.

    Raises:
        CognitionError: the file cannot be read, an entry is invalid, or it collides with one that exists.
    """
    new = load_file(file)
    if not new:
        raise CognitionError(f"{file} has no entry; write [[paper]] and under it [[paper.entry]].")
    return _take(new, folder / file.name, str(file))


def promote(result: CampaignResult, folder: Path) -> Entry:
    """Take what a confirmed campaign's winner has shown into a folder. Raises `CognitionError` or `EvidenceError`."""
    from asiarc.studies.promotion import winners_entry

    if result.tier == "smoke":
        raise CognitionError(
            f"{result.name} ran at smoke, which shows that a campaign runs and not that a mechanism works; promote "
            "what a larger tier has shown: --tier quick"
        )
    entry = winners_entry(result)
    return _take((entry,), folder / f"{entry.id}.toml", f"the insight on {entry.paper.title}")[0]


def _take(new: tuple[Entry, ...], target: Path, what: str) -> tuple[Entry, ...]:
    folder = target.parent
    if target.exists():
        raise CognitionError(f"{target} exists; give {target.name} another name, or edit the one that is there.")
    present = Base.load(folder if folder.exists() else None).entries
    before = set(check_entries(present))
    if problems := [problem for problem in check_entries((*present, *new)) if problem not in before]:
        raise CognitionError(f"{what} was not added:\n" + "\n".join(f"  {problem}" for problem in problems))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.write_text(as_toml(new), encoding="utf-8")
    except OSError as error:
        raise CognitionError(f"{target} cannot be written ({error.strerror}); give another --folder.") from error
    return new


def check_report(extra: Path | None = None) -> tuple[str, bool]:
    """What `check` finds, with counts, and whether all is sound."""
    base = Base.load(extra)
    problems = check(base)
    papers = {entry.paper.identifier for entry in base.entries}
    years = sorted(entry.paper.year for entry in base.entries)
    expressible = {entry.grammar for entry in base.entries if entry.grammar}
    counts = (
        f"{len(base)} entries from {len(papers)} papers, {years[0]} to {years[-1]}; "
        f"{len(expressible)} mechanisms of the grammar are described"
    )
    if problems:
        return "\n".join([counts, *map(str, problems), f"{len(problems)} problems"]), False
    return f"{counts}\nno problems", True
