"""An exported model's folder: what lies in it, written without running a candidate's code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from asiarc.campaign.identity import version_of
from asiarc.core.recipe import TrialRecipe
from asiarc.export.jobs import AUTO
from asiarc.export.modelling import modelling_file
from asiarc.tasks import get_task
from asiarc.tasks.tokenizer import tokenizer_of

WEIGHTS = "model.safetensors"


def module_name(name: str) -> str:
    """The name of a candidate's modelling module."""
    return "modeling_" + (re.sub(r"\W+", "_", name).strip("_").lower() or "candidate")


def write_model(
    folder: Path,
    name: str,
    source: str,
    title: str,
    recipe: TrialRecipe,
    hidden: int,
    provenance: dict[str, Any],
    mixers: dict[str, str] | None = None,
) -> bool:
    """Write the modelling file and the configurations: sizes, where the classes are, and where the model comes from.
    `mixers` are the sources of the others in the recipe's pattern, by name.

    Returns whether it needs einops beside torch and transformers.
    """
    tokens = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), tokenizer_of(recipe.tokenizer).bos)
    module, version, modelling = (
        module_name(name),
        version_of("transformers"),
        modelling_file(source, title, mixers=mixers),
    )
    (folder / f"{module}.py").write_text(modelling.text, encoding="utf-8")
    config = {
        "architectures": [modelling.model],
        "auto_map": {"AutoConfig": f"{module}.{modelling.config}", AUTO: f"{module}.{modelling.model}"},
        "model_type": "asiarc",
        "vocab_size": recipe.vocab_size,
        "hidden_size": recipe.d_model,
        "num_hidden_layers": recipe.num_layers,
        "num_attention_heads": recipe.num_heads,
        "intermediate_size": hidden,
        **({"pattern": [*recipe.layers]} if recipe.layers else {}),
        "tie_word_embeddings": True,
        "dtype": "float32",
        **tokens,
        "provenance": provenance,
        "transformers_version": version,
    }
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", {"do_sample": False, **tokens, "transformers_version": version})
    return modelling.needs_einops


def write_tokenizer(folder: Path, name: str = "bytes") -> None:
    """Write what the model was trained with; it pads on the left, from where every row's state can go on."""
    from asiarc.engineer.scoring import for_transformers

    for_transformers(name).save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    _write(file, json.loads(file.read_text(encoding="utf-8")) | {"padding_side": "left"})


def write_task(folder: Path, secret: dict[str, Any]) -> str:
    """Write what the trial was scored on as a task of lm-eval, to be run from inside the folder; returns its name.

    lm-eval gives a text its begin by itself, but not a context: there it is written out.
    """
    import yaml

    from asiarc.engineer.scoring import for_transformers, windows

    tokenizer = secret["recipe"]["tokenizer"]
    task, begin = get_task(secret["task"], tokenizer), for_transformers(tokenizer).bos_token
    documents = task.documents(secret["split"], secret["documents"], secret["items"])
    if tokenizer == "bytes":
        documents = windows(documents, secret["recipe"]["seq_len"])
    lines = [
        document | {"context": begin + document["context"]} if "context" in document else document
        for document in documents
    ]
    config = task.lm_eval_config("task/documents.jsonl")
    (folder / "task").mkdir()
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "task" / "documents.jsonl").write_text(text, encoding="utf-8")
    (folder / "task" / f"{config['task']}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return str(config["task"])


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
