"""``python -m tests.rigs kernels``: the speed gate, its layers, its self-test, its red team, and the benches."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from asiarc.kernels.operators import OPERATORS, SEQUENCE
from asiarc.speed import NotMeasuredError, SpeedError
from tests.rigs.kernels import error as accuracy
from tests.rigs.kernels import goldens, instructions, structure
from tests.rigs.kernels.goldens import Rule, Values

LAYERS: dict[str, ModuleType] = {"structure": structure, "accuracy": accuracy, "instructions": instructions}
CORRECTNESS = [f"tests/kernels/test_{name}.py" for name in ("contract", "recurrences", "filters", "norms", "oracles")]
RED, NOT_MEASURED = 1, 2
OPERATOR = click.option(
    "--operator", "operators", multiple=True, type=click.Choice(list(OPERATORS)), help="Repeatable; default: all."
)


BENCHES = {"bench": "bench", "gpu": "gpu_bench", "binaries": "compile_report"}
"""Commands that are modules of their own; the second needs Triton."""


class Commands(click.Group):
    """Turns a `SpeedError` into its message: exit status 1, or 2 where nothing could be measured."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands here, then the benches."""
        return [*super().list_commands(ctx), *BENCHES]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """A bench is imported when it is asked for."""
        if name not in BENCHES:
            return super().get_command(ctx, name)
        found: click.Command = importlib.import_module(f"tests.rigs.kernels.{BENCHES[name]}").main
        return found

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except SpeedError as error:
            click.echo(f"speed: {error}", err=True)
            ctx.exit(NOT_MEASURED if isinstance(error, NotMeasuredError) else RED)


@click.group(cls=Commands)
def main() -> None:
    """Speed gate of the kernels: are they as lean, as accurate and as fast as they were?

    From exact to noisy: structure counts operators, FLOPs and bytes, accuracy takes errors against float64, and
    instructions are counted under valgrind, all against committed goldens; compare times two commits in turn. Exit
    status: 0 green, 1 red, 2 not measured.
    """


def here(layer: str) -> dict[str, str]:
    """The environment of a layer."""
    return instructions.here() if layer == "instructions" else goldens.environment()


def rule_of(layer: str, case: str) -> Rule:
    """The rule of a layer for a case."""
    rule: Rule = accuracy.rule_for(case) if layer == "accuracy" else LAYERS[layer].rule
    return rule


def check(layer: str, operators: Sequence[str]) -> list[str]:
    """The problems of a layer; raises `NotMeasuredError` where it cannot be measured."""
    golden = goldens.read(layer, here(layer))
    measured: Values = LAYERS[layer].measure(tuple(operators))
    return [
        problem
        for case, values in measured.items()
        for problem in goldens.problems(layer, {case: values}, golden, rule_of(layer, case))
    ]


def checked(layer: str, operators: Sequence[str]) -> bool:
    """Checks a layer and prints what came out; whether it is red."""
    try:
        found = check(layer, operators)
    except NotMeasuredError as error:
        click.echo(f"{layer}: {error}")
        return False
    click.echo(f"{layer}: {'ok' if not found else f'{len(found)} problems'}")
    for problem in found:
        click.echo(f"  {problem}")
    return bool(found)


def layer_command(layer: str) -> Callable[..., None]:
    """The command that checks one layer alone."""

    def command(operators: tuple[str, ...]) -> None:
        sys.exit(RED if checked(layer, operators) else 0)

    command.__doc__ = f"Check the {layer} layer against its goldens."
    return command


for _layer in LAYERS:
    main.command(_layer)(OPERATOR(layer_command(_layer)))


@main.command()
@click.argument("layers", nargs=-1, type=click.Choice(list(LAYERS)))
@OPERATOR
def bless(layers: tuple[str, ...], operators: tuple[str, ...]) -> None:
    """Make what is measured now the goldens of the LAYERS named (default: all that can be measured here)."""
    for layer in layers or LAYERS:
        try:
            environment = here(layer)
        except NotMeasuredError as error:
            click.echo(f"{layer}: {error}")
            continue
        measured = LAYERS[layer].measure(operators)
        kept = goldens.read(layer, environment) if operators else {}
        path = goldens.write(layer, environment, {**kept, **measured})
        click.echo(f"{layer}: {len(measured)} cases -> {path}")


@main.command()
@click.option("--against", help="Commit to compare with; default: the merge base with main, or the commit before.")
@OPERATOR
@click.option("--out", type=click.Path(path_type=Path), help="Write the comparison as JSON.")
def gate(against: str | None, operators: tuple[str, ...], out: Path | None) -> None:
    """All layers: tests, structure, accuracy, instructions; then, if those are green, the clock."""
    tests = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", "-n0", *CORRECTNESS], check=False)
    click.echo(f"correctness: {'ok' if tests.returncode == 0 else 'RED'}")
    red = [layer for layer in LAYERS if checked(layer, operators)]
    if tests.returncode or red:
        click.echo(f"no times are taken while {', '.join(['tests'] * bool(tests.returncode) + red)} is red.")
        sys.exit(RED)
    sys.exit(compared(against, operators, out))


@main.command()
@click.option("--against", help="Commit to compare with; default: the merge base with main, or the commit before.")
@OPERATOR
@click.option("--out", type=click.Path(path_type=Path), help="Write the comparison as JSON.")
def compare(against: str | None, operators: tuple[str, ...], out: Path | None) -> None:
    """The wall-clock layer alone: this tree and another commit in turn; wrong results get no time."""
    sys.exit(compared(against, operators, out))


def compared(against: str | None, operators: Sequence[str], out: Path | None) -> int:
    """Times both trees; the exit status."""
    from asiarc.speed import machine
    from tests.rigs.kernels import trees

    machine.require_own_process()
    root = Path(trees.git("rev-parse", "--show-toplevel", root=Path.cwd()))
    commit = trees.baseline_commit(against, root)
    machine.require_quiet()
    click.echo(f"here against {commit[:12]}: forward and backward, time here over time there")
    found = []
    with trees.worktree(commit, root) as base:
        for case in trees.chosen(operators):
            found.append(trees.compare(base, root, case))
            click.echo(found[-1].line())
    if out:
        out.write_text(json.dumps({"against": commit, "cases": [c.as_dict() for c in found]}, indent=1) + "\n")
    if any(c.failed for c in found):
        return RED
    return NOT_MEASURED if any(c.ratio.verdict == "not measured" for c in found) else 0


@main.command()
@click.option("--simulated", "simulations", default=1000, show_default=True, help="Made experiments a row.")
@click.option("--real", default=0, show_default=True, help="Real experiments a row; wants a quiet machine.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the record as JSON.")
def selftest(simulations: int, real: int, out: Path | None) -> None:
    """Does the gate catch a 5 % slowdown, and keep quiet where there is none?"""
    from asiarc.speed import machine
    from tests.rigs.kernels import selftest, trees

    found, by_median = selftest.simulate(simulations)
    for count in found:
        click.echo(count.line())
    click.echo(f'caught by "median above 5 %, twice, 32 pairs" instead: {"; ".join(by_median)}')
    records: list[dict[str, Any]] = []

    def keep(line: str) -> None:
        click.echo(line)
        if out:
            out.write_text(json.dumps(selftest.record(found, records), indent=1) + "\n")

    if real:
        machine.require_own_process()
        machine.require_quiet()
        root = Path(trees.git("rev-parse", "--show-toplevel", root=Path.cwd()))
        counts = selftest.real(root, real, keep, records)
        found += counts
        for count in counts:
            keep(count.line())
    missed = selftest.shortfalls(found)
    for shortfall in missed:
        click.echo(f"MISSED {shortfall}")
    if out:
        out.write_text(json.dumps(selftest.record(found, records), indent=1) + "\n")
    sys.exit(RED if missed else 0)


@main.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path), default=Path("tests/speed"))
@click.option("--seed", default=0, show_default=True, help="Draws the hidden shapes and values.")
def cheats(folder: Path, seed: int) -> None:
    """The red team: every kernel in FOLDER/cheats must be caught by the check it names, none in FOLDER/honest."""
    from asiarc.speed import judge

    planted, honest = (sorted((folder / name).glob("*.py")) for name in ("cheats", "honest"))
    caught, passed = 0, 0
    click.echo(f"{'hack':48s} {'cheat':30s} {'caught by':15s} and by")
    for path in sorted(planted, key=lambda p: judge.HACKS.index(judge.hack_of(p.read_text()))):
        source = path.read_text()
        named, found = judge.named_check(source), judge.examine(path, seed=seed).findings
        caught += named in found
        others = ", ".join(check for check in found if check != named)
        click.echo(f"{judge.hack_of(source):48s} {path.stem:30s} {named if named in found else 'MISSED':15s} {others}")
    for file in (None, *honest):
        judgement = judge.examine(file, seed=seed)
        passed += judgement.passed
        click.echo(f"{'honest':48s} {judgement.kernel:30s} {'passed' if judgement.passed else judgement.findings}")
    click.echo(f"{caught} of {len(planted)} cheats caught, {passed} of {len(honest) + 1} honest kernels passed")
    sys.exit(RED if caught < len(planted) or passed < len(honest) + 1 else 0)


@main.command()
def yardstick() -> None:
    """Ratios to fixed yardsticks, added to the history under results/benchmarks by pytest-benchmark."""
    from asiarc.speed import machine
    from tests.rigs.kernels import history

    machine.require_own_process()
    machine.require_quiet()
    command = [
        sys.executable, "-m", "pytest", "-q", "-n0", "tests/speed/bench_yardstick.py", "--benchmark-only", "-rs",
        f"--benchmark-storage=file://{history.FOLDER}", "--benchmark-autosave", "--benchmark-columns=median,iqr",
    ]  # fmt: skip
    before = history.files()
    status = subprocess.run(command, check=False).returncode
    measured = sum(history.prune(path) for path in history.files() if path not in before)
    click.echo(f"{measured} of {len(OPERATORS)} operators measured")
    if not status and not measured:
        raise NotMeasuredError("not measured: the machine was busy each time; try later.")
    if measured:
        draw()
    sys.exit(status)


@main.command(name="profile")
@click.option("--operator", type=click.Choice(SEQUENCE), default="gated_delta_rule", show_default=True)
@click.option("--shape", "shapes", multiple=True, default=("1x64x1x16", "32x128x2x16", "8x512x4x64"), show_default=True)
@click.option("--by", "names", multiple=True, default=("ours", "transformers"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the text, too.")
def anatomy_of(operator: str, shapes: tuple[str, ...], names: tuple[str, ...], out: Path | None) -> None:
    """Where time and peak memory of an operator go: by function, by torch operator, tensor by tensor."""
    import torch

    from tests.rigs.kernels import anatomy

    torch.set_num_threads(1)
    lines = []
    for shape in shapes:
        for line in anatomy.report(operator, shape, names):
            click.echo(line)
            lines.append(line)
    if out:
        out.write_text("\n".join(lines) + "\n")


@main.command()
@click.option("--mixer", "mixers", multiple=True, help="Baseline, repeatable; default: all with another operator.")
@click.option("--recipe", default="micro", show_default=True, type=click.Choice(["micro", "small"]))
@click.option("--rounds", default=15, show_default=True, help="Slices of each, in turns.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the record as JSON and, beside it, as text.")
@click.option("--compiled", is_flag=True, help="Ours under torch.compile, too: a minute a mixer.")
def training(mixers: tuple[str, ...], recipe: str, rounds: int, out: Path | None, *, compiled: bool) -> None:
    """Tokens a second of training the backbone: our operators beside others in the same mixers."""
    import torch

    from asiarc.core.errors import unknown_name
    from asiarc.core.recipe import RECIPES
    from tests.rigs.kernels import training

    for mixer in mixers:
        if mixer not in training.MIXERS:
            raise SpeedError(unknown_name("mixer", mixer, training.MIXERS))
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as a trial does
    size = RECIPES[recipe]
    lines = [
        f"{size.name}: d {size.d_model}, {size.num_layers} layers, {size.num_heads} heads, {size.batch_size} x "
        f"{size.seq_len} tokens a step, one thread, CPU time",
        training.HEADER,
    ]
    click.echo("\n".join(lines))
    rows, names = [], (*training.BY, *([training.COMPILED] if compiled else []))
    for mixer in mixers or training.MIXERS:
        rows += training.measure(mixer, size, rounds, names)
        lines += [row.line() for row in rows if row.mixer == mixer]
        click.echo("\n".join(lines[-len(names) :]))
        if out:
            out.write_text(json.dumps(training.record(rows, size), indent=1) + "\n")
            out.with_suffix(".txt").write_text("\n".join(lines) + "\n")


@main.command()
def figure() -> None:
    """Draw the history again: results/benchmarks/history.svg."""
    draw()


def draw() -> None:
    """Writes the figure of all records."""
    from tests.rigs.kernels import history

    found = history.records()
    if not found:
        raise SpeedError(f"no records under {history.FOLDER}; make one: python -m tests.rigs kernels yardstick")
    path = history.FOLDER / "history.svg"
    path.write_text(history.figure(found))
    click.echo(f"{len(found)} records -> {path}")


if __name__ == "__main__":
    main()
