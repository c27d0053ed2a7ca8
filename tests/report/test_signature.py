"""Whose word a report is: signatures as OpenSSH makes them, over the manifest."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from asiarc.core.errors import EvidenceError
from asiarc.harness.cli import main
from asiarc.report.document import SIGNATURE
from asiarc.report.signature import signer

openssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="signatures are made and checked by OpenSSH")


def key(folder, name):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    signers = folder / f"{name}_signers"
    signers.write_text(f"{name}@example.org {(folder / f'{name}.pub').read_text()}")
    return folder / name, signers


@pytest.fixture
def signed(tmp_path):
    """A manifest that ann signed; ann's and ben's files of signers."""
    (ann, hers), (_, his) = key(tmp_path, "ann"), key(tmp_path, "ben")
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"files": {}}\n')
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", ann, "-n", "asiarc", folder / "manifest.json"]
    subprocess.run(command, check=True, capture_output=True)
    return folder, hers, his


@openssh
def test_the_signer_is_named_and_asked_for(signed):
    folder, hers, his = signed
    assert "ann@example.org" in signer(folder, hers)
    told = signer(folder, None)
    assert "ED25519" in told and "--signers" in told
    with pytest.raises(EvidenceError, match="No principal matched"):
        signer(folder, his)


@openssh
def test_a_manifest_changed_after_it_was_signed_does_not_hold(signed):
    folder, hers, _ = signed
    (folder / "manifest.json").write_text("{}")
    for signers in (hers, None):
        with pytest.raises(EvidenceError, match="does not hold"):
            signer(folder, signers)


@openssh
@pytest.mark.parametrize("content", [b"", b"-----BEGIN SSH SIGNATURE-----\n", b"\x00\xff" * 100])
def test_what_is_no_signature_does_not_hold(signed, content):
    folder, hers, _ = signed
    (folder / SIGNATURE).write_bytes(content)
    for signers in (hers, None):
        with pytest.raises(EvidenceError, match="does not hold"):
            signer(folder, signers)


def test_unsigned_is_said_and_refused_where_a_signer_is_asked_for(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    assert signer(tmp_path, None) == ""
    with pytest.raises(EvidenceError, match="nobody signed the report"):
        signer(tmp_path, tmp_path / "signers")


def test_without_openssh_that_is_said(tmp_path, monkeypatch):
    (tmp_path / SIGNATURE).write_text("something")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EvidenceError, match="ssh-keygen is not on the path"):
        signer(tmp_path, None)


def test_the_verb_says_what_it_compared_and_what_nothing_proves(written):
    done = CliRunner().invoke(main, ["verify", str(written)])
    assert done.exit_code == 0 and done.output.endswith(f"{written}: verified\n")
    assert "compared: the values of 104 trials" in done.output and "not proved: who answers for it" in done.output
    signers = Path(written).parent / "signers"
    signers.write_text("")
    refused = CliRunner().invoke(main, ["verify", str(written), "--signers", str(signers)])
    assert refused.exit_code == 1 and "wrong: " in refused.output and "nobody signed" in refused.output
