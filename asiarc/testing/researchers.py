"""`check_researcher`: proposals to made contexts, held against what the loop takes for granted.

The loop resumes by asking again, replays by the answers and forbids what is known, so a proposal is a pure function of
its context; it reports origins and parents, so these exist.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic import ValidationError

from asiarc.core.candidate import content_address, parse
from asiarc.core.errors import CandidateError
from asiarc.core.proposal import (
    Belief,
    CognitionHit,
    Context,
    Failure,
    Foretold,
    Insight,
    Proposal,
    Relative,
    Researcher,
    Reviser,
    Rival,
    TaskTerms,
    Terms,
    Worth,
    as_json,
    from_json,
)
from asiarc.core.recipe import MICRO
from asiarc.core.seeds import seed_of
from asiarc.models.baselines import baseline_source
from asiarc.researcher.designs import BASELINES
from asiarc.testing.rules import asked, broken, is_text

DRAWS = 6  # proposals in a row, each of which must be new


def contexts() -> Iterator[Context]:
    """Made contexts as the loop gives them: the first of a run, one with everything, and one late in a run."""
    start, *others = map(_relative, ("delta_net", "gated_delta_net", "mamba2", "gla"))
    yield Context(seed=seed_of("testing", 0), generation=0, index=0, parent=start, tasks=("text", "overwrite"))
    rich = Context(
        seed=seed_of("testing", 1),
        generation=2,
        index=1,
        parent=replace(others[0], insight="It forgets late."),
        references=(others[1], start),
        insights=(Insight(text="It forgets late.", weakness="reset", mechanisms=("-rotary=True",)),),
        cognition=(
            CognitionHit(entry="gated-delta-rule", title="Gated Delta Networks", mechanism="memory=gated_delta"),
        ),
        failed=(Failure(address="0" * 16, gate="causality", reason="it looks ahead", name="peeker"),),
        known=frozenset(one.address for one in (start, *others)),
        siblings=(others[2],),
        tasks=("text",),
        queries=("reset",),
        terms=_terms(start, others),
        belief=Belief(worths=tuple(_worth(one, 0.1 * rank) for rank, one in enumerate(others))),
        foretold=(Foretold(name="gla", task="text", predicted="better", size=0.03, happened="same", change=0.004),),
    )
    yield rich
    yield replace(rich, seed=seed_of("testing", 2), generation=9, index=2, cognition=(), insights=())


def check_researcher(make: Callable[[], Researcher]) -> None:
    """Check what `make` makes, anew for each question, by `contexts`. Raises `BrokenRuleError`.

    The rules: it answers with a `Proposal` of plain data; the same context gives the same one, from the same object, a
    new one, and whatever global generators say; the context stays as it is; what is known is not proposed again; the
    source defines a `Mixer` (or `failure` says why there is none); name, motivation and prediction say something;
    parents are among those it was shown; every origin refers to something that it was shown. A researcher with `revise`
    mends alike.
    """
    for context in contexts():
        proposal = _proposed(make(), context)
        _says_something(make(), proposal)
        _can_be_built(make(), proposal)
        _comes_from(make(), proposal, context)
        _is_pure(make, context, proposal)
        _goes_on(make, context)
        if isinstance(mender := make(), Reviser):
            _mends(make, mender, proposal)


def _relative(name: str) -> Relative:
    source = baseline_source(name)
    return Relative(
        address=content_address(source), name=name, source=source, genome=BASELINES[name].model_dump(),
        scores={"gain": 0.0, "text": 0.0}, motivation=f"{name} is published.",
    )  # fmt: skip


def _terms(start: Relative, others: Sequence[Relative]) -> Terms:
    """A campaign that measures text, caps the state and matches sizes."""
    return Terms(
        start_from=start.name,
        recipe=MICRO,
        rungs=(60, 125),
        stakes=("explore: 8 candidates.",),
        tasks=(TaskTerms(name="text", summary="English prose", unit="bits a byte, less is better", role="decides"),),
        caps={"state_bytes": 65_536.0},
        hidden={16_384: 98, 32_768: 13},
        baselines=tuple(Rival(name=one.name, address=one.address, source=one.source) for one in (start, *others)),
    )


def _worth(one: Relative, mean: float) -> Worth:
    return Worth(name=one.name, address=one.address, mean=mean, sd=0.05, chance=0.3)


def _proposed(researcher: Any, context: Context) -> Proposal:
    """An answer, where it is one and the context is as it was."""
    before = as_json(context)
    proposal = researcher.propose(context)
    if as_json(context) != before:
        broken(researcher, "a context is read only", "it was changed while it was read: copy what you want to change")
    return _plain(researcher, proposal)


def _plain(researcher: Any, proposal: Any) -> Proposal:
    if not isinstance(proposal, Proposal):
        broken(researcher, "it answers with a Proposal", f"it answered with a {type(proposal).__name__}")
    try:
        with warnings.catch_warnings(action="error"):  # how pydantic says that a value is not of its field's type
            again = from_json(Proposal, as_json(proposal))
    except (UserWarning, ValidationError, ValueError, TypeError) as error:
        broken(researcher, "a proposal is plain data", f"it cannot be stored: {error}")
    if again != proposal:
        broken(researcher, "a proposal is plain data", "it reads back as another one: use what the fields' types say")
    return proposal


def _says_something(researcher: Any, proposal: Proposal) -> None:
    for name in ("name", "motivation", "predicted"):
        if not is_text(getattr(proposal, name)):
            broken(researcher, "a proposal says what and why", f"{name} is empty: it is what people read in the report")
    if len(proposal.name.splitlines()) > 1:
        broken(researcher, "a proposal says what and why", "name has several lines: one is due")


def _can_be_built(researcher: Any, proposal: Proposal) -> None:
    if proposal.failure is not None:
        return
    rule = "a source defines a mixer"
    try:
        body = parse(proposal.source).body
    except CandidateError as error:
        broken(researcher, rule, f"it is {error}; where nothing came of it, say so by failure=Failure(...)")
    mixers = [node for node in body if isinstance(node, ast.ClassDef) and node.name == "Mixer"]
    if len(mixers) != 1:
        broken(researcher, rule, f"it defines {len(mixers)} classes named Mixer: one is due")
    methods = {node.name for node in mixers[0].body if isinstance(node, ast.FunctionDef)}
    if not {"__init__", "forward"} <= methods:
        broken(
            researcher, rule, "Mixer has no __init__(self, d_model, num_heads, **kwargs) or no forward(self, x, state)"
        )


def _comes_from(researcher: Any, proposal: Proposal, context: Context) -> None:
    shown = [context.parent, *context.references, *context.siblings]
    addresses = {one.address for one in shown}
    if strangers := set(proposal.parents) - addresses:
        broken(researcher, "a parent was shown", f"parents names {sorted(strangers)}, which the context does not hold")
    if len(set(proposal.parents)) < len(proposal.parents):
        broken(researcher, "a parent was shown", f"parents names one twice: {proposal.parents}")
    if not proposal.origins:
        broken(researcher, "every element has an origin", "origins is empty: say at least what is original")
    entries = {hit.entry for hit in context.cognition}
    for origin in proposal.origins:
        allowed = {"cognition": entries, "experience": addresses, "original": {""}}[origin.kind]
        if origin.reference not in allowed:
            broken(
                researcher, "an origin was shown",
                f"{origin.element!r} refers to {origin.reference!r} ({origin.kind}), which the context does not hold",
            )  # fmt: skip


def _is_pure(make: Callable[[], Researcher], context: Context, first: Proposal) -> None:
    same = make()
    for number, researcher in enumerate((same, same, make())):
        if asked(partial(_proposed, researcher, context), number) != first:
            broken(
                researcher, "the same context gives the same proposal",
                "it gave another one: draw from rng_of(context.seed, ...), keep nothing between calls, ask no clock",
            )  # fmt: skip
    other = next(one for one in contexts() if one.index != context.index)
    researcher = make()
    _proposed(researcher, other)
    if _proposed(researcher, context) != first:
        broken(researcher, "the same context gives the same proposal", "it gave another one once it was asked another")


def _goes_on(make: Callable[[], Researcher], context: Context) -> None:
    """A few proposals in a row, each of which is new."""
    known = set(context.known)
    for draw in range(DRAWS):
        researcher = make()
        here = replace(context, index=draw, seed=seed_of("testing", context.seed, draw), known=frozenset(known))
        proposal = _proposed(researcher, here)
        if proposal.failure is not None:
            continue
        address = content_address(proposal.source)
        if address in known:
            broken(
                researcher, "what is known is not proposed again",
                f"proposal {draw + 1} in a row is {address}, which context.known holds: draw again until it is new",
            )  # fmt: skip
        known.add(address)


def _mends(make: Callable[[], Researcher], researcher: Reviser, proposal: Proposal) -> None:
    failure = Failure(address="0" * 16, gate="causality", reason="line 3 looks ahead", name=proposal.name)
    mended = _plain(researcher, researcher.revise(proposal, failure, 3, 1))
    if mended.source == proposal.source:
        broken(researcher, "what is mended is changed", "revise gave the source back as it was turned away")
    again = make()
    assert isinstance(again, Reviser)
    if asked(lambda: again.revise(proposal, failure, 3, 1), 1) != mended:
        broken(researcher, "the same failure gives the same mending", "revise gave another one the second time")
