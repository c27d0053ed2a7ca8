"""From the command line to a client: where a run's models are asked, and what was recorded before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from asiarc.llm.address import key_from
from asiarc.llm.client import Asked, Client, Mode
from asiarc.llm.endpoint import OPENAI, Endpoint
from asiarc.llm.folder import Folder, folder_of
from asiarc.llm.ledger import Ledger
from asiarc.llm.tape import ArchiveTape, load_cassette
from asiarc.loop.progress import Say

if TYPE_CHECKING:
    from asiarc.archive.annex import Annex
    from asiarc.campaign.declaration import Models


def connect(
    mode: Mode, base_url: str | None, cassette: Path, say: Say, annex: Annex, run: str, ledger: Ledger, models: Models
) -> Client:
    """The client of one run; in replay it has no endpoint, so that nothing can be asked or spent. `say` is told what is
    learned of the server."""
    tape = ArchiveTape(annex, run, load_cassette(cassette))
    endpoint = None if mode == "replay" else _endpoint(base_url or OPENAI, models)
    return Client(
        tape, ledger, mode, endpoint,
        repairs=models.repairs, frequency_penalty=models.frequency_penalty, say=say,
    )  # fmt: skip


def _endpoint(base_url: str, models: Models) -> Asked:
    """What is asked at an address: a server, or a folder that stands for one."""
    folder = folder_of(base_url)
    if folder is not None:
        return Folder(folder)
    return Endpoint(base_url, key_from(), silence_of=models.silence_s, longest_of=models.longest_s)
