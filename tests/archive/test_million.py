"""The benchmark of a large archive builds what it says and asks what a proposal asks; how long it takes is no test."""

from asiarc.archive.store import Archive
from tests.rigs.archive import million
from tests.rigs.archive.million import RUN, address_of, build, questions


def test_it_builds_an_archive_that_its_questions_fit(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(million, "REPEATS", 5)
    build(tmp_path, 2500)
    with Archive(tmp_path) as archive:
        (counted,) = archive.rows(
            "SELECT (SELECT count(*) FROM candidates) AS candidates, (SELECT count(*) FROM behaviours) AS prints, "
            "(SELECT count(*) FROM proposals) AS proposals, (SELECT count(*) FROM results) AS results, "
            "(SELECT count(*) FROM trials) AS trials, (SELECT count(*) FROM uses) AS uses"
        )
        assert counted == dict(candidates=2500, prints=2500, proposals=2500, results=2500, trials=2250, uses=2250)
        assert len(archive.leading(RUN, 10_000)) == 2250 and len(archive.last_failed(RUN, 2500, 10_000)) == 250
        assert archive.is_proposed(RUN, address_of(2499)) and not archive.is_proposed(RUN, address_of(2500))
        capsys.readouterr()
        questions(archive, 2500)
    said = capsys.readouterr().out
    assert "parent and references" in said and "known by behaviour" in said
