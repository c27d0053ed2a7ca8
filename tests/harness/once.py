"""What a text is called and whether it is a pattern, found once a process: pure functions of the text that a test
which runs the same sources a hundred times would else spend half its time in."""

from __future__ import annotations

from functools import cache

import pytest

from asiarc.core import candidate, recipe


@pytest.fixture(scope="module")
def sources_read_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidate, "content_address", cache(candidate.content_address))
        patch.setattr(recipe, "pattern_of", cache(recipe.pattern_of))
        yield
