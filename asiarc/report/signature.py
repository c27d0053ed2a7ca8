"""Who signed a report: the manifest's signature as OpenSSH makes it, in `manifest.json.sig`.

``ssh-keygen -Y sign -f KEY -n asiarc manifest.json`` signs; whose key may sign is said by an allowed-signers file
(``man ssh-keygen``).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from asiarc.core.errors import EvidenceError
from asiarc.report.document import SIGNATURE

HOW = "ssh-keygen -Y sign -f KEY -n asiarc manifest.json"


def signer(folder: Path, signers: Path | None) -> str:
    """Who signed the manifest, in words; whose key it is is asked of `signers`, where that is given.

    Raises `EvidenceError` where the signature does not hold, is not by one of them, or cannot be checked here.
    """
    signature, manifest = folder / SIGNATURE, (folder / "manifest.json")
    if not signature.is_file():
        if signers is not None:
            raise EvidenceError(f"{signature} is missing: nobody signed the report; whoever did can with: {HOW}")
        return ""
    if shutil.which("ssh-keygen") is None:
        raise EvidenceError(f"{signature} cannot be checked: ssh-keygen is not on the path; install OpenSSH's client")
    if signers is None:
        told = _asked(manifest, "check-novalidate", "-s", str(signature))
        return f"{told.partition(' with ')[2] or told} (whose key that is was not asked: --signers FILE)"
    who = _asked(manifest, "find-principals", "-s", str(signature), "-f", str(signers)).splitlines()[0]
    return _asked(manifest, "verify", "-s", str(signature), "-f", str(signers), "-I", who)


def _asked(manifest: Path, what: str, *arguments: str) -> str:
    """What ssh-keygen answers; what it refuses is an `EvidenceError`."""
    command = ["ssh-keygen", "-Y", what, "-n", "asiarc", *arguments]
    done = subprocess.run(command, input=manifest.read_bytes(), capture_output=True, check=False, timeout=30)
    told = (done.stdout.decode(errors="replace") or done.stderr.decode(errors="replace")).strip()
    if done.returncode != 0 or not told:
        raise EvidenceError(f"{manifest.parent / SIGNATURE} does not hold: {told or 'no such signature'}")
    return told
