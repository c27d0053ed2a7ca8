"""The researcher: proposes candidates.

`protocol` says what it is given and answers. `genome`, `render` and `grammar` are the offline researcher,
which writes candidates from typed mechanisms; `designs` names the baselines and the paper's five headline
architectures in them. Nothing here imports torch.
"""

from asiarc.core.proposal import (
    CognitionHit,
    Context,
    Failure,
    Insight,
    Origin,
    Proposal,
    Relative,
    Researcher,
    as_json,
    from_json,
)

__all__ = [
    "CognitionHit",
    "Context",
    "Failure",
    "Insight",
    "Origin",
    "Proposal",
    "Relative",
    "Researcher",
    "as_json",
    "from_json",
]
