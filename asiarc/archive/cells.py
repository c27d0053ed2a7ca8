"""The cells of an archive that hold data as JSON text."""

from __future__ import annotations

import json
from typing import Any

from asiarc.core.errors import ArchiveError


def load_cell(text: str | None) -> Any:
    """The data of a cell; `ArchiveError` where it is no JSON."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise ArchiveError(
            f"the archive holds {str(text)[:40]!r} where JSON is due ({error}): it is damaged; keep a copy, and go on "
            "with another folder (--store)"
        ) from error
