"""The door for kernels: a file that defines one of our operators, refereed against the one that is shipped.

It is judged as any submitted file is (accuracy, properties, the red team's checks) and may use no more than `LEAN`
times the operators and the memory of the present kernel; what nothing is found against is timed, the two in turn, in
processes of their own. The hidden cases are drawn by the file's own address. One that is ahead or behind is measured
again with fresh processes, and what the second time does not repeat cannot be told apart.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from asiarc.archive.kernels import KernelProposals, Row
from asiarc.archive.store import Archive
from asiarc.campaign.code import kernel
from asiarc.core.errors import KernelError, unknown_name
from asiarc.core.seeds import seed_of
from asiarc.domains.kernel import address_of, motivation
from asiarc.kernels.kernel_operators import KERNELS
from asiarc.llm.reading import LONGEST_CODE
from asiarc.speed import NotMeasuredError
from asiarc.speed.contest import Compared
from asiarc.speed.lean import counted
from asiarc.speed.paired import Ratio
from asiarc.speed.race import against_ours
from asiarc.speed.verdict import functions_of, submitted

LEAN = 2.0
WORDS = {"ahead": 0, "not told apart": 3, "behind": 4, "rejected": 5, "admitted": 6}
"""What is said of a kernel and the exit status that says it: those of a campaign's door; "admitted" was not timed."""


def propose(
    archive: Archive, operator: str, source: str, *, name: str, author: str, idea: str = "", timed: bool = True
) -> Row:
    """Referee a kernel's source and keep it; one that was refereed against today's kernel is told what it got.

    Raises `KernelError` where there is no such operator or the source is none for it, `SpeedError` beside parallel
    test workers.
    """
    if operator not in KERNELS:
        raise KernelError(unknown_name("operator", operator, KERNELS))
    if len(source) > LONGEST_CODE or "\0" in source:
        raise KernelError(f"a kernel is text of at most {LONGEST_CODE:,} characters without NUL; write it anew")
    kept, address, against = KernelProposals(archive), address_of(source), kernel(operator, "chunk")
    earlier = kept.of(operator)
    same = next((row for row in earlier if (row["address"], row["against"]) == (address, against)), None)
    if same and (same["word"] != "admitted" or not timed):
        return same
    word, told = refereed(source, operator, seed_of("kernel proposal", address) % 2**31, timed=timed)
    row = same or {
        "operator": operator, "number": len(earlier), "address": address, "against": against, "name": name,
        "author": author, "idea": idea or motivation(source), "source": source,
    }  # fmt: skip
    row |= {"word": word, "told": told}
    kept.put(row)
    return row


def standings(archive: Archive, operator: str) -> list[Row]:
    """The proposals for an operator, the best first: by their word, then by their time over the present kernel's."""
    if operator not in KERNELS:
        raise KernelError(unknown_name("operator", operator, KERNELS))
    found = KernelProposals(archive).of(operator)
    return sorted(found, key=lambda row: (WORDS[row["word"]], row["told"]["ratio"] or math.inf, row["number"]))


def refereed(source: str, operator: str, seed: int, *, timed: bool) -> tuple[str, Row]:
    """The word on a source, and what was found: findings by check, notes, and the ratio of times with its bounds."""
    if operator not in functions_of(source):
        return "rejected", said({"imports": [f"it defines no function {operator}, or is not Python"]})
    present = counted(operator, KERNELS[operator])
    most = {"operators": int(LEAN * present["operators"]), "bytes": int(LEAN * present["peak_bytes"])}
    with laid_down(source, operator) as file:
        found = submitted(file, operator, seed, most)
        if found.findings:
            return "rejected", said(found.findings)
        if not timed:
            return "admitted", said(notes=["not timed"])
        try:
            return raced(lambda: against_ours(file, operator))
        except NotMeasuredError as error:
            return "admitted", said(notes=[f"{error}"])


def measured(source: str, operator: str) -> Compared:
    """One measurement of a source against the shipped kernel, by fresh processes. Raises as `against_ours` does."""
    with laid_down(source, operator) as file:
        return against_ours(file, operator)


@contextmanager
def laid_down(source: str, operator: str) -> Iterator[Path]:
    """A source as a file, for as long as it is asked about."""
    with tempfile.TemporaryDirectory(prefix="asiarc-proposed-") as folder:
        file = Path(folder, f"{operator}.py")
        file.write_text(source, encoding="utf-8")
        yield file


def raced(measure: Callable[[], Compared]) -> tuple[str, Row]:
    """The word on times, of two measurements where the first one decides; what is wrong when timed is rejected."""
    told = [measure()]
    if not told[0].red and word_of(told[0]) in ("ahead", "behind"):
        told.append(measure())
    if red := told[-1].red:
        return "rejected", said({"speed": [red]})
    words = {word_of(one) for one in told}
    word = words.pop() if len(words) == 1 else "not told apart"
    return word, said(ratio=told[-1].ratio, notes=[line(one) for one in told])


def word_of(compared: Compared) -> str:
    """The whole interval of the ratio decides; a machine that was not quiet decides nothing."""
    ratio = compared.ratio
    if math.isnan(ratio.ratio):
        return "admitted"
    if ratio.low <= 1 <= ratio.high:
        return "not told apart"
    return "ahead" if ratio.high < 1 else "behind"


def line(compared: Compared) -> str:
    """One measurement in words."""
    is_none = math.isnan(compared.ratio.ratio)
    return f"not measured: {compared.ratio.reason}" if is_none else compared.told().replace(", at most 1 ", " ")


def said(findings: dict[str, list[str]] | None = None, *, notes: Sequence[str] = (), ratio: Ratio | None = None) -> Row:
    """What is told of a proposal, JSON-able; the ratio is its time over the present kernel's."""
    bounds = ratio.as_dict() if ratio else {}
    numbers = {name: bounds.get(name) for name in ("ratio", "low", "high", "pairs")}
    return {"findings": findings or {}, "notes": [*notes], **numbers}
