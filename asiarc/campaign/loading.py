"""The campaign that a file declares, for commands that are given one; pytest collects campaigns by itself."""

from __future__ import annotations

from pathlib import Path

from asiarc.campaign.declaration import Campaign, load_toml
from asiarc.core.errors import CampaignError
from asiarc.core.loading import module_of


def declared(file: Path) -> tuple[str, Campaign]:
    """The name and the campaign of a Python or TOML file; `CampaignError` where it does not declare exactly one."""
    if file.suffix == ".toml":
        return file.stem.removeprefix("campaign_"), load_toml(file)
    if file.suffix != ".py":
        raise CampaignError(f"{file} is no campaign file; give a campaign_*.py or campaign_*.toml")
    found = declared_in(module_of(file))
    if len(found) != 1:
        raise CampaignError(f"{file} declares {len(found)} campaigns; give a file that declares exactly one")
    return found[0]


def declared_in(module: object) -> list[tuple[str, Campaign]]:
    """The campaigns of a module, by name."""
    return [(name, value) for name, value in vars(module).items() if isinstance(value, Campaign)]
