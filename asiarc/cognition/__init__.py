"""The cognition base: what the literature answers to an observed weakness, with identifiers to check.

`entries/*.toml` hold it, `entry` reads and validates them, `base` finds them again (BM25), `dense` by meaning,
`library` reads up for an analyst, `check` keeps them honest.
"""

from asiarc.cognition.base import Base, Hit, hits
from asiarc.cognition.entry import CognitionError, Entry, Publication

__all__ = ["Base", "CognitionError", "Entry", "Hit", "Publication", "hits"]
