"""The model card: what the model is, what is claimed of it and how surely, where it comes from, and what it is not."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from asiarc.archive.results import CampaignResult
from asiarc.archive.store import Archive
from asiarc.evidence.effects import decide
from asiarc.export.chosen import Chosen
from asiarc.tasks import get_task
from asiarc.tasks.tokenizer import tokenizer_of

Row = dict[str, Any]


def provenance_of(chosen: Chosen) -> Row:
    """Where a model comes from, as plain data."""
    run, trial = chosen.run, chosen.trial
    machine = run["provenance"]
    return {
        "candidate": chosen.name,
        "address": chosen.address,
        "campaign": run["campaign"],
        "run": run["run"],
        "tier": run["tier"],
        "trial": trial.key,
        "stage": trial.stage,
        "task": trial.task,
        "seed": trial.seed,
        "device": run["identity"].get("device", "cpu"),
        "precision": run["identity"].get("precision", "float32"),
        "made_at": run["created_at"],
        "git_commit": machine.get("git_commit", ""),
        "cpu": machine.get("cpu", ""),
        "packages": machine.get("packages", {}),
    }


def claims(archive: Archive, chosen: Chosen) -> list[Row]:
    """The gain over each baseline on each deciding task, where the run has confirmed this candidate; else none."""
    if "spec" not in chosen.run["identity"] or archive.stage_result(chosen.run["run"], "confirm") is None:
        return []
    result = CampaignResult.load(archive, chosen.run["run"])
    mine, found = result.entrant(chosen.address, chosen.name), []
    for task in result.deciding_tasks("confirm"):
        for baseline in result.spec["baselines"]:
            if result.baseline(baseline).address == chosen.address or not mine.values(task, "confirm"):
                continue
            effect = mine.gain_over(baseline, task)
            said = decide(effect, fresh_seeds=True, fresh_items=True)
            found.append({"task": task, "over": baseline, "verdict": said, **effect.as_dict()})
    return found


def card(archive: Archive, chosen: Chosen, found: Row) -> str:
    """The README.md of a model's folder; `found` is what the export measured (`export.Exported`)."""
    title = chosen.motivation.strip().partition("\n")[0]
    parts = [_head(chosen), f"# {chosen.name}", title, *_use(chosen, found), *_evidence(archive, chosen, found)]
    return "\n".join([*parts, *_recipe(chosen), *_provenance(chosen), *_limits(chosen, found)]) + "\n"


def _head(chosen: Chosen) -> str:
    alphabet = "byte-level" if chosen.recipe.tokenizer == "bytes" else "byte-pair-encoding"
    tags = "".join(f"- {tag}\n" for tag in ("asiarc", "custom_code", alphabet))
    return f"---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n{tags}---\n"


def _use(chosen: Chosen, found: Row) -> Iterator[str]:
    name = chosen.recipe.tokenizer
    tokens = "bytes" if name == "bytes" else f"the tokens of {name}"
    yield from (
        "",
        f"A causal language model over {tokens} with {found['parameters']:,} parameters. It needs torch and "
        f"transformers{' and einops' if found['needs_einops'] else ''}; loading it runs `{found['module']}.py`, "
        "which is in this folder to be read first.",
        "",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'folder = "."  # this folder',
        "tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)",
        "model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)",
        'tokens = tokenizer(tokenizer.bos_token + "The function returns", return_tensors="pt")',
        "print(tokenizer.decode(model.generate(**tokens, max_new_tokens=80)[0, 1:]))",
        "```",
        "",
        f"Every text that it was trained on begins with the token {tokenizer_of(name).bos}, which the tokenizer does "
        "not add. Rows of a batch are padded on the left.",
        "",
        "The score below, on the same documents, from inside this folder:",
        "",
        "```",
        "lm_eval --model hf --model_args pretrained=.,trust_remote_code=True --include_path task "
        f"--tasks {found['task']}",
        "```",
    )


def _evidence(archive: Archive, chosen: Chosen, found: Row) -> Iterator[str]:
    trial, unit = chosen.trial, get_task(chosen.trial.task)
    better = "higher" if unit.higher_is_better else "lower"
    yield from ("", "## What was measured", "")
    yield (
        f"{trial.metric} on `{trial.task}`, {better} is better: **{found['stored']:.4f}** when it was first trained, "
        f"{found['score']:.4f} from these files ({found['agreement']})."
    )
    values = _by_seed(archive, chosen)
    if len(values) > 1:
        yield (
            f"Over {len(values)} seeds of {trial.stage}: mean {statistics.fmean(values):.4f}, standard deviation "
            f"{statistics.stdev(values):.4f}. This folder holds the first seed, not the best."
        )
    rows = claims(archive, chosen)
    if not rows:
        yield from ("", "Nothing is claimed of it against other mixers: no stage with fresh seeds has compared it.")
        return
    told = f"Gains at tier {chosen.run['tier']}, on fresh seeds and fresh texts, positive where this model is ahead:"
    yield from ("", told, "")
    yield from ("| task | over | gain | interval | pairs | may be said |", "|---|---|---|---|---|---|")
    for row in rows:
        interval = f"[{row['low']:+.4f}, {row['high']:+.4f}]"
        cells = (row["task"], row["over"], f"{row['mean']:+.4f}", interval, str(row["n"]), row["verdict"])
        yield f"| {' | '.join(cells)} |"
    yield from (
        "",
        f"Intervals hold together at {rows[0]['level']:.0%} for {rows[0]['num_comparisons']} comparisons: all that "
        "entered the stage.",
    )


def _by_seed(archive: Archive, chosen: Chosen) -> list[float]:
    trial = chosen.trial
    every = archive.trials(chosen.run["run"], trial.stage)
    alike = (trial.address, trial.task, trial.steps, trial.stage)
    return [t.value for t in every if (t.address, t.task, t.steps, t.stage) == alike and t.value is not None]


def _recipe(chosen: Chosen) -> Iterator[str]:
    recipe, hidden = chosen.recipe.as_dict(), chosen.trial.details.get("hidden")
    yield from ("", "## How it was trained", "", "| | |", "|---|---|")
    yield f"| tokens | {chosen.recipe.tokens:,} bytes of `{chosen.trial.task}` |"
    yield from (f"| {name} | {value} |" for name, value in recipe.items() if name not in ("evaluations", "mlp_ratio"))
    yield f"| MLP width | {hidden} |"
    yield "| optimiser | AdamW (0.9, 0.95), linear warm-up, cosine; weight decay on matrices |"


def _provenance(chosen: Chosen) -> Iterator[str]:
    yield from ("", "## Where it comes from", "", "| | |", "|---|---|")
    for name, value in provenance_of(chosen).items():
        shown = ", ".join(f"{n} {v}" for n, v in value.items()) if isinstance(value, dict) else value
        yield f"| {name.replace('_', ' ')} | {shown} |"
    yield from ("", "Motivation, as its author wrote it:", "")
    yield from (f"> {line}".rstrip() for line in chosen.motivation.strip().splitlines())


def _limits(chosen: Chosen, found: Row) -> Iterator[str]:
    recipe = chosen.recipe
    yield from (
        "",
        "## Limits",
        "",
        f"- A model of {found['parameters']:,} parameters, trained on {recipe.tokens:,} bytes: it exists to compare "
        "mixers, and its text is of no other use.",
        f"- It was trained and scored on texts of {recipe.seq_len} bytes. What it does beyond is not known.",
        "- The kernels for GPUs are not in the file: on a GPU it computes as on a CPU, slower than asiarc does.",
        "- Padding on the right is read over where no cache goes on from it, and refused where one does.",
        "- Pickled whole (`torch.save(model)`), it is read by a process that has loaded this folder, or has called "
        "`transformers.dynamic_module_utils.init_hf_modules()`; what `save_pretrained` wrote, by any.",
        "- No filter, no alignment, no test of what it says about people.",
    )


def summary_line(found: Row) -> str:
    """What an export ends with, on one line."""
    return (
        f"{found['folder']}: {found['candidate']} {found['address']}, {found['parameters']:,} parameters, "
        f"{found['metric']} {found['score']:.4f} ({found['agreement']})"
    )
