"""A store's secret: mixed into the seeds and items of what decides, so that the code alone does not predict them.

32 random bytes in `secret.key`, which the owner alone may read. Whoever is given it after a run was published can draw
the same again; before, its commitment stands in the run's provenance, so that it could not be chosen afterwards.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from asiarc.archive.store import Archive
from asiarc.core.errors import ArchiveError, EvidenceError

NAME, MARK = "secret.key", "~"
BYTES = 32
_NOTED = "UPDATE runs SET provenance = json_set(provenance, '$.seal', ?) WHERE run = ?"


@dataclass(frozen=True)
class Secret:
    """32 bytes that nobody but the store's owner has."""

    key: bytes

    @property
    def commitment(self) -> str:
        """What may be told before the key is: its BLAKE2b hash, 32 bytes in hexadecimal."""
        return hashlib.blake2b(self.key, digest_size=32, person=b"asiarc seal").hexdigest()

    def sealed(self, text: str) -> str:
        """A seed or an address of items with 64 bits that only the key gives (keyed BLAKE2b): ``0/verify/1~9f...``."""
        return f"{text}{MARK}{hashlib.blake2b(text.encode(), key=self.key, digest_size=8).hexdigest()}"


def opened(text: str) -> str:
    """What was sealed."""
    return text.partition(MARK)[0]


def read_secret(file: Path) -> Secret:
    """The secret in a file. Raises `EvidenceError` where there is none."""
    try:
        key = bytes.fromhex(file.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise EvidenceError(f"{file} holds no secret: {error}; take the {NAME} of the store that was sealed") from error
    if len(key) != BYTES:
        raise EvidenceError(f"{file} holds {len(key)} bytes, a secret has {BYTES}; take the {NAME} of the store")
    return Secret(key)


def secret_of(folder: Path) -> Secret | None:
    """A store's secret; None where it has none, and draws as everybody can. Raises `ArchiveError` where others may
    read it."""
    file = folder / NAME
    if not file.exists():
        return None
    if file.stat().st_mode & 0o077:
        raise ArchiveError(f"{file} can be read by others: what it is mixed into is no secret; chmod 600 {file}, or "
                           "begin with a new store")  # fmt: skip
    return read_secret(file)


def seal(archive: Archive) -> Secret:
    """A store's secret, made where it has none. Raises `EvidenceError` where something was verified without it."""
    found = secret_of(archive.folder)
    if found is not None:
        return found
    if archive.rows("SELECT 1 FROM uses WHERE stage LIKE 'verify%' OR stage = 'confirm' LIMIT 1"):
        raise EvidenceError(
            f"the archive in {archive.folder} has verified with seeds that everybody can tell; a secret comes before "
            "that. Give a store of its own with --store"
        )
    draft = archive.folder / f"{NAME}.part"
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(secrets.token_hex(BYTES))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(archive.folder / NAME)
    return read_secret(archive.folder / NAME)


def note_seal(archive: Archive, run: str, secret: Secret) -> None:
    """Write the commitment beside a run, where its report takes it from."""
    archive._execute(_NOTED, (secret.commitment, run))
