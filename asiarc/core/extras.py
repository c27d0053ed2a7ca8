"""What an installation brings: kernel files need little, campaigns need what the extra of that name adds."""

from __future__ import annotations

from importlib import metadata

from asiarc.core.errors import ExtraMissingError

PACKAGE, CAMPAIGNS = "asiarc", "campaigns"
INSTALL = "python -m pip install 'asiarc[campaigns]'"


def missing(extra: str = CAMPAIGNS) -> list[str]:
    """The packages of an extra that are not installed."""
    from packaging.requirements import Requirement

    asked = [Requirement(text) for text in metadata.requires(PACKAGE) or ()]
    own = [one.name for one in asked if one.marker and one.marker.evaluate({"extra": extra})]
    return [name for name in own if not any(metadata.distributions(name=name))]


def require_campaigns() -> None:
    """`ExtraMissingError` where a campaign cannot be run for want of packages."""
    if absent := missing():
        raise extra_missing(", ".join(absent))


def require(extra: str, why: str) -> None:
    """`ExtraMissingError`, beginning with `why`, where the packages of an extra are not installed."""
    if absent := missing(extra):
        raise ExtraMissingError(
            f"{why}; not installed: {', '.join(absent)}. Install: python -m pip install 'asiarc[{extra}]'"
        )


def extra_missing(absent: str) -> ExtraMissingError:
    """The error for packages that are not installed."""
    return ExtraMissingError(
        f"not installed: {absent}. Kernel files need little, campaigns train and score: {INSTALL}"
    )
