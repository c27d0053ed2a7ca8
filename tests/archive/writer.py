"""Writes to the archive in the given folder until it is killed; says each number once it is committed."""

import sys
from pathlib import Path

from asiarc.archive.store import Archive, Trial
from asiarc.core.outcome import SCORED

with Archive(Path(sys.argv[1])) as archive:
    for number in range(100_000):
        key, address = f"{number:016d}", f"address {number}"
        trial = Trial(
            key, address, "text", "explore", "0/explore/0", 60, 0.01, SCORED, "bits_per_byte", number / 7, 1, 1, 1.0,
            [[number, number / 7]] * 50, {}, 1.0, 1.0,
        )  # fmt: skip
        with archive.transaction():
            archive.add_candidate(address, "net", f"SOURCE = {number}", "because")
            archive.add_items(key, [{"doc_id": i, "value": number} for i in range(50)])
            archive.add_trial(trial, {}, layers=[])
        print(number, flush=True)  # noqa: T201
