"""Every page of the documentation followed to its end, command by command: ``nox -s docs`` (minutes)."""

from __future__ import annotations

import pytest

from tests.docs.walk import PAGES, ROOT, blocks_of, follow

FOLLOWED = [page for page in PAGES if any(block.is_typed for block in blocks_of(page.read_text()))]


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """One corpus for all pages."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.relative_to(ROOT / "docs").stem)
def test_a_page_can_be_followed(page, tmp_path, cache):
    wrong = follow(page.read_text(), tmp_path, cache)
    assert not wrong, "\n".join(wrong)
