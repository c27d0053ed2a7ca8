"""The cognition base: what the literature answers to an observed weakness, with identifiers to check.

`entries/*.toml` hold it, `entry` reads and validates them, `base` finds them again (BM25), `check` keeps
them honest and measures retrieval on `labelled.toml` (``python -m asiarc.cognition``), `verbs` is what the
command line calls.
"""

from asiarc.cognition.base import Base, Hit, hits
from asiarc.cognition.entry import CognitionError, Entry, Paper

__all__ = ["Base", "CognitionError", "Entry", "Hit", "Paper", "hits"]
