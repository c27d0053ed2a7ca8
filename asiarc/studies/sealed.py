"""A text and seeds that nothing reads until they are opened, once, for the final table; and what was promised before.

`sealed.json`, which is committed before the run, holds hashes: of a secret, of the text, of each campaign as resolved,
and of the files that decide claims. `sealed.bin` is the text under the secret (SHAKE-256 as a stream, the secret used
once), so that no path reads it by accident. Who has the secret's file can read it: a seal shows that text and seeds
were fixed before, and the record of its opening, that they were used once.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asiarc.core.errors import EvidenceError

Row = dict[str, Any]
SEAL, TEXT, OPENED = "sealed.json", "sealed.bin", "opened.json"


@dataclass(frozen=True)
class Seal:
    """What `sealed.json` says: when, how many seeds, and the SHA-256 of the secret, of the text and of each promise."""

    sealed_at: str
    seeds: int
    secret: str
    text: str
    promised: Mapping[str, str]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _under(secret: bytes, content: bytes) -> bytes:
    """A text under a secret, and back."""
    stream = hashlib.shake_256(b"text" + secret).digest(len(content))
    return (int.from_bytes(content, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(content), "big")


def seal(folder: Path, key: Path, text: Path, *, seeds: int, promised: Mapping[str, str]) -> Seal:
    """Seal a text and seeds in `folder`, their secret in `key`; `EvidenceError` where either is there already."""
    for taken in (folder / SEAL, key):
        if taken.exists():
            raise EvidenceError(f"{taken} is there: what was sealed stays as it is; name another folder")
    content, secret = text.read_bytes(), secrets.token_bytes(32)
    found = Seal(_now(), seeds, _sha(secret), _sha(content), dict(sorted(promised.items())))
    for place in (folder, key.parent):
        place.mkdir(parents=True, exist_ok=True)
    key.touch(mode=0o600)
    key.write_text(secret.hex() + "\n", encoding="utf-8")
    (folder / TEXT).write_bytes(_under(secret, content))
    (folder / SEAL).write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")
    return found


def sealed(folder: Path) -> Seal:
    """The seal of a folder; `EvidenceError` where there is none."""
    try:
        return Seal(**json.loads((folder / SEAL).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise EvidenceError(f"no seal in {folder} ({error}); asiarc seal makes one before a run") from error


def open_seal(folder: Path, key: Path, used_for: str, changed: list[str]) -> tuple[bytes, str]:
    """(the text, the salt of the seeds) of a seal, its opening noted before either is given.

    `used_for` is what it is opened for, by hash: the same may go on where it was interrupted. Raises `EvidenceError`
    where it was opened for another or has given its table, or where secret or text are not those that were sealed.
    """
    seal, before = sealed(folder), opening(folder)
    if before is not None and (before["table"] is not None or before["used_for"] != used_for):
        raise EvidenceError(
            f"{folder} was opened at {before['opened_at']}, for the report {before['used_for'][:12]}: a second opening "
            f"is no test. What the first gave is in {folder / OPENED}; before the next run, seal another text"
        )
    try:
        secret = bytes.fromhex(key.read_text(encoding="utf-8"))
        content = _under(secret, (folder / TEXT).read_bytes())
    except (OSError, ValueError) as error:
        raise EvidenceError(f"{folder} cannot be opened ({error}); name the key that was made: --key") from error
    if (_sha(secret), _sha(content)) != (seal.secret, seal.text):
        raise EvidenceError(f"{key} or {folder / TEXT} is not what was sealed at {seal.sealed_at}")
    note(folder, before or {"opened_at": _now(), "used_for": used_for, "changed": changed, "table": None})
    return content, f"sealed-{_sha(b'seeds' + secret)[:32]}"


def opening(folder: Path) -> Row | None:
    """When and for what a seal was opened, and the table that it gave; None where it never was."""
    path = folder / OPENED
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def note(folder: Path, opened: Row) -> None:
    """Keep the record of an opening."""
    (folder / OPENED).write_text(json.dumps(opened, indent=1) + "\n", encoding="utf-8")


def changes(promised: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """What is no longer as it was promised, by name."""
    for name in sorted(promised.keys() | now.keys()):
        if promised.get(name) != now.get(name):
            yield f"{name}: {'changed' if name in promised and name in now else 'new' if name in now else 'gone'}"


def promises(campaigns: Mapping[str, str], reproductions: Path) -> dict[str, str]:
    """What is fixed before a run, by hash: each campaign as resolved, and whatever decides a claim."""
    files = sorted({*reproductions.glob("claim*.py"), *reproductions.glob("claims.toml")})
    return {f"campaign {name}": spec for name, spec in campaigns.items()} | {
        file.name: _sha(file.read_bytes()) for file in files
    }
