"""The campaign that a file declares, for commands that are given one; pytest collects campaigns by itself."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from asiarc.campaign.declaration import Campaign, load_toml
from asiarc.core.errors import CampaignError


def declared(file: Path) -> tuple[str, Campaign]:
    """The name and the campaign of a Python or TOML file; `CampaignError` where it does not declare exactly one."""
    if file.suffix == ".toml":
        return file.stem.removeprefix("campaign_"), load_toml(file)
    if file.suffix != ".py":
        raise CampaignError(f"{file} is no campaign file; give a campaign_*.py or campaign_*.toml")
    module_spec = importlib.util.spec_from_file_location(file.stem, file)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[file.stem] = module  # where dataclasses and pickles look for it
    if str(file.resolve().parent) not in sys.path:  # as pytest has it: a campaign may import its neighbours
        sys.path.insert(0, str(file.resolve().parent))
    module_spec.loader.exec_module(module)
    found = declared_in(module)
    if len(found) != 1:
        raise CampaignError(f"{file} declares {len(found)} campaigns; give a file that declares exactly one")
    return found[0]


def declared_in(module: object) -> list[tuple[str, Campaign]]:
    """The campaigns of a module, by name."""
    return [(name, value) for name, value in vars(module).items() if isinstance(value, Campaign)]
