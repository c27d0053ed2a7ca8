"""A user's file is read as it stands, whatever bytecode says."""

from __future__ import annotations

import os
import sys

from asiarc.core.loading import module_of


def test_a_number_that_is_changed_within_a_second_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "question_of_this_test.py"
    for text, second in (("N = 1\n", 1), ("N = 2\n", 1)):
        file.write_text(text)
        os.utime(file, (second, second))
        module = module_of(file)
        assert vars(module)["N"] == int(text[4])
    monkeypatch.delitem(sys.modules, file.stem)
    sys.path.remove(str(tmp_path))
