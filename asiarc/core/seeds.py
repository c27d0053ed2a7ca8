"""Seeds by address: every generator's seed is a hash of what it is for, never of when it was asked.

The same address gives the same numbers with one worker or eight, after a kill, and under ``-k``.
"""

from __future__ import annotations

import hashlib
import json
import random

Part = str | int | float | bool | None


def seed_of(*address: Part) -> int:
    """A 63-bit seed for an address, e.g. ``seed_of("delta_text", "quick", 0, "explore", "propose", 3)``.

    Stable across processes, machines and Python versions (BLAKE2b of the JSON of the parts).
    """
    assert address, "an empty address would be a global seed"
    digest = hashlib.blake2b(json.dumps(address).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def rng_of(*address: Part) -> random.Random:
    """A private `random.Random` for an address."""
    return random.Random(seed_of(*address))
