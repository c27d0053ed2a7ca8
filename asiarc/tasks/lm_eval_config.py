"""Task definitions for lm-eval 0.4.13, from the templates beside this file: ``choice``, ``cloze``,
``rolling``.

A document carries its context, choices and target as fields, so a template names fields and formats nothing:
lm-eval would strip a newline or add a space between context and answer. The scorer's model must open every
context with BOS.
"""

from __future__ import annotations

import glob
import json
import re
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from asiarc.tasks.catalogue import Style


def _read(data_file: str, **_: Any) -> dict[str, Any]:
    from datasets import Dataset  # type: ignore[import-untyped]

    return {"test": Dataset.from_list([json.loads(line) for line in Path(data_file).read_text("utf-8").splitlines()])}


@cache
def template(style: Style) -> str:
    """The text of a style's lm-eval task."""
    return files(__package__).joinpath("templates", f"{style}.yaml").read_text(encoding="utf-8")


def lm_eval_config(name: str, style: Style, identity: str, data_file: str) -> dict[str, Any]:
    """The template of ``style``, named after the task, over the JSON lines in ``data_file`` (an absolute
    path).

    The result goes to lm-eval as one of ``tasks``, or into a YAML file for its command
    line.
    """
    import yaml

    config: dict[str, Any] = yaml.safe_load(template(style))
    config["task"] = "asiarc_" + re.sub(r"\W+", "_", name).strip("_")
    config["dataset_kwargs"] = {"data_files": {"test": data_file}}
    if glob.has_magic(data_file):  # datasets would take it for a pattern, and look for files in folders above
        config["custom_dataset"] = partial(_read, data_file)
    config["metadata"] = {"version": 1, "identity": identity}
    return config
