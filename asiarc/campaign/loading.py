"""The campaign that a file declares, for commands that are given one; pytest collects campaigns by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from asiarc.campaign.declaration import Campaign, load_toml
from asiarc.campaign.kernels import AnyCampaign, KernelCampaign
from asiarc.core.errors import CampaignError, unknown_name
from asiarc.core.loading import module_of


def declared(file: Path) -> tuple[str, Campaign]:
    """The name and the campaign of a Python or TOML file; `CampaignError` where it does not declare exactly one, or one
    of kernels."""
    name, campaign = any_declared(file)
    return name, of_models(name, campaign)


def any_declared(file: Path) -> tuple[str, AnyCampaign]:
    """As `declared`, of either kind."""
    found = all_declared(file)
    if len(found) != 1:
        raise CampaignError(f"{file} declares {len(found)} campaigns; give a file that declares exactly one")
    return found[0]


def all_declared(file: Path) -> list[tuple[str, AnyCampaign]]:
    """Every campaign of a Python or TOML file, by name, of either kind; `CampaignError` where there is none."""
    if file.suffix == ".toml":
        return [(file.stem.removeprefix("campaign_"), load_toml(file))]
    if file.suffix != ".py":
        raise CampaignError(f"{file} is no campaign file; give a campaign_*.py or campaign_*.toml")
    if found := declared_in(module_of(file)):
        return found
    raise CampaignError(f"{file} declares no campaign; give a file that declares one: NAME = asiarc.Campaign(...)")


def declared_in(module: object) -> list[tuple[str, AnyCampaign]]:
    """The campaigns of a module, by name."""
    return [(name, value) for name, value in vars(module).items() if isinstance(value, AnyCampaign)]


def of_models(name: str, campaign: AnyCampaign) -> Campaign:
    """A campaign that trains models; `CampaignError` where it is one of kernels."""
    if isinstance(campaign, KernelCampaign):
        raise CampaignError(
            f"{name} is a campaign of kernels, which trains nothing: it runs with pytest, and asiarc brief, tried, "
            "propose, standings and verdict answer for it (in the shell, without a referee)"
        )
    return campaign


def named(
    text: str, roots: Iterable[Path], checked: Callable[[Path], None] = lambda _: None
) -> tuple[str, AnyCampaign, Path]:
    """The name, the campaign and the file that a text means: the path of a campaign's file, or the name of one that is
    declared below a folder ``campaigns`` of the roots. `CampaignError` names those that are. `checked` sees the file
    before it is run, and may raise."""
    if Path(text).suffix in (".py", ".toml"):
        if not Path(text).is_file():
            raise CampaignError(f"no file {text}; give the path of a campaign_*.py or campaign_*.toml, or its name")
        return *any_declared(Path(text)), Path(text)
    files = dict.fromkeys(file for root in roots for file in sorted((root / "campaigns").rglob("campaign_*.*")))
    known = {name: file for file in files for name in _declares(file)}
    if text not in known:
        raise CampaignError(
            unknown_name("campaign", text, known, then="Give the path of its file where it lies elsewhere.")
        )
    file = known[text]
    checked(file)
    found = [any_declared(file)] if file.suffix == ".toml" else declared_in(module_of(file))
    return *next(one for one in found if one[0] == text), file


def _declares(file: Path) -> Iterator[str]:
    """The names of the campaigns that a file declares, as its text says."""
    if file.suffix == ".toml":
        yield file.stem.removeprefix("campaign_")
    elif file.suffix == ".py":
        text = file.read_text(encoding="utf-8", errors="replace")
        yield from re.findall(r"^(\w+)(?:\s*:\s*\w+)?\s*=\s*(?:\w+\.)?(?:Kernel)?Campaign\(", text, re.MULTILINE)
