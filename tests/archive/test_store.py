"""The archive: what is written is read back, one process writes, and whatever happens to it the file stays readable."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asiarc.archive import store
from asiarc.archive.store import SCHEMA_VERSION, Archive, Trial, set_aside
from asiarc.core.bought import Bought
from asiarc.core.errors import ArchiveError
from asiarc.core.outcome import KINDS, SCORED, Outcome

HERE = Path(__file__).parent

# --- what may be stored -----------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
names = texts.filter(bool)
numbers = st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
rows = st.dictionaries(texts, plain, max_size=4)
failures = st.builds(
    Outcome, st.sampled_from([k for k in KINDS if k not in ("scored", "rejected")]), names
) | st.builds(Outcome, st.just("rejected"), names, names)
optional = st.none() | numbers
wholes = st.integers(0, 2**60)
pairs = st.tuples(optional, optional)


@st.composite
def trials(draw) -> Trial:
    outcome = draw(st.just(SCORED) | failures)
    scored = outcome == SCORED
    return Trial(
        key=draw(st.text("0123456789abcdef", min_size=16, max_size=16)),
        address="a" * 16,
        task=draw(names),
        stage=draw(names),
        seed=draw(names),
        steps=draw(st.integers(0, 2**40)),
        learning_rate=draw(numbers),
        outcome=outcome,
        metric=draw(names) if scored else None,
        value=draw(numbers) if scored else None,
        parameters=draw(st.none() | st.integers(0, 2**60)),
        state_bytes=draw(st.none() | st.integers(0, 2**60)),
        flops_per_token=draw(optional),
        curve=draw(st.lists(st.lists(numbers, max_size=3), max_size=3)),
        details=draw(rows),
        wall_s=draw(numbers),
        cpu_s=draw(numbers),
        bought=Bought(draw(wholes), draw(optional), draw(wholes), draw(st.none() | wholes), *draw(pairs)),
    )


def trial(**changes) -> Trial:
    fields = dict(
        key="k" * 16, address="a" * 16, task="text", stage="explore", seed="0/explore/0", steps=60, learning_rate=0.01,
        outcome=SCORED, metric="bits_per_byte", value=2.5, parameters=1, state_bytes=1, flops_per_token=1.0,
        curve=[[1, 2.0]], details={}, wall_s=1.0, cpu_s=1.0,
    )  # fmt: skip
    return Trial(**fields | changes)


def keep(archive: Archive, trial: Trial) -> None:
    archive.add_trial(trial, {"steps": trial.steps}, layers=["rlimits"])


@pytest.fixture
def archive(tmp_path):
    """An archive with one run and one candidate."""
    with Archive(tmp_path / "store") as archive:
        archive.add_run("run", "question", "smoke", 0, {"spec": {}}, {"cores": 2})
        archive.add_candidate("a" * 16, "net", "source", "because", {"memory": "delta"})
        yield archive


any_tmp_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def test_a_genome_is_added_to_a_source_that_another_kept_without(archive):
    genomes = []
    for genome in (None, {"memory": "gla"}, {"memory": "other"}, None):
        archive.add_candidate("b" * 16, "first", "source", "because", genome)
        genomes.append(archive.candidate("b" * 16)["genome"])
    assert genomes == [None, *[{"memory": "gla"}] * 3]


# --- round trips ------------------------------------------------------------------------------------------------------


@any_tmp_path
@given(trials())
def test_a_trial_comes_back_as_it_was(archive, trial):
    keep(archive, trial)
    assert archive.trial(trial.key) == trial
    archive.add_use("run", "explore", trial.key)
    assert trial in archive.trials("run") and trial in archive.trials("run", "explore")
    assert trial not in archive.trials("run", "verify")


@any_tmp_path
@given(identity=rows, provenance=rows, campaign=names, seed=st.integers(0, 2**63 - 1), run=names)
def test_a_run_comes_back(archive, identity, provenance, campaign, seed, run):
    run = f"drawn {run}"
    first = archive.run(run)
    archive.add_run(run, campaign, "quick", seed, identity, provenance)
    stored = archive.run(run)
    if first is not None:
        assert stored == first, "the first record stays"
        return
    assert (stored["identity"], stored["provenance"]) == (identity, provenance)
    assert (stored["campaign"], stored["tier"], stored["seed"]) == (campaign, "quick", seed)
    assert archive.runs(campaign, "quick")[-1] == stored and stored not in archive.runs(campaign, "smoke")


@any_tmp_path
@given(name=names, source=texts, motivation=texts, genome=st.none() | rows, origins=st.lists(rows, max_size=2))
def test_candidates_and_proposals_come_back(archive, name, source, motivation, genome, origins):
    address, number = f"address {name}", len(archive.proposals("run"))
    known = archive.candidate(address)
    archive.add_candidate(address, name, source, motivation, genome)
    expected = known or {
        "address": address, "name": name, "source": source, "motivation": motivation, "genome": None,
    }  # fmt: skip
    if expected["genome"] is None:
        expected["genome"] = genome
    assert archive.candidate(address) == expected
    proposal = dict(address=address, name=name, motivation=motivation, parents=["p"], origins=origins, predicted="up")
    archive.add_proposal("run", number, 3, proposal)
    stored = archive.proposals("run")[number]
    assert stored.items() >= (proposal | {"number": number, "generation": 3}).items()
    assert (stored["source"], stored["genome"]) == (expected["source"], expected["genome"])


@any_tmp_path
@given(outcome=st.just(SCORED) | failures, scores=rows, findings=st.lists(rows, max_size=2), gain=numbers)
def test_results_and_admissions_come_back(archive, outcome, scores, findings, gain):
    gain = gain if outcome == SCORED else None
    archive.add_result("run", 0, "a" * 16, outcome, rung=1, gain=gain, scores=scores)
    (result,) = archive.results("run")
    assert (result["outcome"], result["gain"], result["scores"], result["rung"]) == (outcome, gain, scores, 1)
    archive.add_admission("key", "a" * 16, outcome, findings, scores or None, 1.5)
    stored = archive.admission("key")
    assert (stored["outcome"], stored["findings"], stored["measures"]) == (outcome, findings, scores or None)


@any_tmp_path
@given(rows, rows)
def test_stages_insights_and_verdicts_come_back_and_the_latest_counts(archive, first, second):
    for value in (first, second):
        archive.finish_stage("run", "explore", value)
        archive.add_insight("run", 0, 0, "a" * 16, value)
        archive.add_verdict("C01", "smoke", "item", value)
    assert archive.stage_result("run", "explore") == second
    assert [row["insight"] for row in archive.insights("run")] == [second]
    assert archive.verdicts("smoke") == [second] and archive.verdicts("quick") == []


@any_tmp_path
@given(st.lists(rows, max_size=5), st.text("0123456789abcdef", min_size=16, max_size=16))
def test_items_come_back_and_lie_there_whole(archive, items, key):
    archive.add_items(key, items)
    assert archive.items(key) == items
    assert not list(archive.folder.rglob("*.part"))


def test_items_that_cannot_be_written_leave_nothing(archive):
    with pytest.raises(TypeError):
        archive.add_items("f" * 16, [{"a": 1}, {"b": object()}])
    assert archive.items("f" * 16) == [] and not list(archive.folder.glob("items/*/*"))


def test_only_a_rename_gives_items_their_name(archive, monkeypatch):
    """Whatever is written under the final name itself is cut short here, as by a kill."""
    write = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda p, data: write(p, data if p.suffix == ".part" else data[:20]))
    archive.add_items("e" * 16, [{"doc_id": 0}])
    assert archive.items("e" * 16) == [{"doc_id": 0}]


# --- invariants -------------------------------------------------------------------------------------------------------


def test_the_endings_are_a_closed_set():
    assert KINDS == ("scored", "rejected", "crashed", "timed_out", "out_of_memory", "unscored")
    assert [
        kind for kind in KINDS if not Outcome(kind, "why" * (kind != "scored"), "g" * (kind == "rejected")).is_final
    ] == ["unscored"]


@pytest.mark.parametrize(
    ("kind", "reason", "gate"),
    [("scored", "why", ""), ("scored", "", "gate"), ("crashed", "", ""), ("crashed", "why", "gate"),
     ("rejected", "why", ""), ("rejected", "", "gate"), ("unscored", "", ""), ("diverged", "why", "")],
)  # fmt: skip
def test_an_impossible_ending_cannot_be_made(kind, reason, gate):
    with pytest.raises(AssertionError):
        Outcome(kind, reason, gate)


@given(st.just(SCORED) | failures)
def test_an_ending_reads_as_what_it_is(outcome):
    assert str(outcome).startswith(outcome.kind) and outcome.reason in str(outcome) and outcome.gate in str(outcome)
    assert Outcome(**outcome.as_dict()) == outcome


@pytest.mark.parametrize(
    "changes",
    [
        dict(value=None, metric=None),
        dict(outcome=Outcome("crashed", "why")),
        dict(value=float("nan")),
        dict(value=float("inf")),
    ],
)
def test_a_number_comes_with_scored_trials_only_and_is_one(archive, changes):
    with pytest.raises(AssertionError):
        keep(archive, trial(**changes))
    assert archive.trial("k" * 16) is None


@pytest.mark.parametrize(("outcome", "gain"), [(SCORED, None), (Outcome("crashed", "why"), 0.0)])
def test_a_gain_comes_with_scored_candidates_only(archive, outcome, gain):
    with pytest.raises(AssertionError):
        archive.add_result("run", 0, "a" * 16, outcome, rung=0, gain=gain, scores={})


def test_a_retried_trial_replaces_its_failure_and_keeps_its_uses(archive):
    keep(archive, trial(outcome=Outcome("unscored", "a worker went away"), value=None, metric=None))
    archive.add_use("run", "explore", "k" * 16)
    keep(archive, trial())
    assert archive.trials("run", "explore") == [trial()]


@pytest.mark.parametrize(
    "write",
    [
        lambda a: a.add_candidate("b" * 16, None, "source", "because"),
        lambda a: a.add_proposal(
            "run", 0, 0, dict(address="nowhere", name="n", motivation="", parents=[], origins=[], predicted="")
        ),
        lambda a: a.add_use("run", "explore", "nowhere"),
        lambda a: a.add_use("no run", "explore", "k" * 16),
        lambda a: a.finish_stage("no run", "explore", {}),
        lambda a: a.add_run("other", "question", "smoke", "zero", {}, {}),
    ],
    ids=["null", "unknown_candidate", "unknown_trial", "unknown_run", "stage_of_no_run", "wrong_type"],
)
def test_what_does_not_fit_is_refused_aloud(archive, write):
    with pytest.raises(sqlite3.IntegrityError):
        write(archive)


def test_a_transaction_is_all_or_nothing(archive):
    with pytest.raises(ZeroDivisionError), archive.transaction():
        archive.add_candidate("b" * 16, "other", "source", "because")
        keep(archive, trial(address="b" * 16))
        1 / 0  # noqa: B018
    assert archive.candidate("b" * 16) is None and archive.trial("k" * 16) is None
    with archive.transaction():
        archive.add_candidate("b" * 16, "other", "source", "because")
    assert archive.candidate("b" * 16)["name"] == "other"


def test_the_run_that_was_asked_for_last_is_the_latest(archive):
    """Who goes back to an earlier declaration is answered from that one, whose record and trials stay."""
    keep(archive, trial())
    archive.add_use("run", "explore", "k" * 16)
    first = archive.run("run")
    archive.add_run("other", "question", "smoke", 1, {"spec": {"seed": 1}}, {})
    assert [row["run"] for row in archive.runs("question", "smoke")] == ["run", "other"]
    archive.add_run("run", "question", "smoke", 0, {"spec": {}}, {"cores": 64})
    assert [row["run"] for row in archive.runs("question", "smoke")] == ["other", "run"]
    assert archive.run("run") == first and archive.trials("run", "explore") == [trial()]


# --- one writer, many readers -----------------------------------------------------------------------------------------


def test_a_second_writer_is_told_who_the_first_is(tmp_path):
    with Archive(tmp_path):
        with pytest.raises(ArchiveError, match=rf"process {os.getpid()} is writing .*--store"):
            Archive(tmp_path)
        with pytest.raises(ArchiveError, match=f"process {os.getpid()} is writing"):
            set_aside(tmp_path)
    Archive(tmp_path).close()


def test_a_reader_sees_what_is_committed_while_a_writer_works(archive):
    with Archive(archive.folder, write=False) as reader:
        archive.add_candidate("b" * 16, "other", "source", "because")
        assert reader.candidate("b" * 16)["name"] == "other"
        with archive.transaction():
            archive.add_candidate("c" * 16, "third", "source", "because")
            assert reader.candidate("c" * 16) is None
        assert reader.candidate("c" * 16)["name"] == "third"


def test_a_reader_takes_no_lock_and_changes_nothing(archive):
    with Archive(archive.folder, write=False), Archive(archive.folder, write=False) as reader:
        with pytest.raises(ArchiveError, match="readonly"):
            reader.add_candidate("b" * 16, "other", "source", "because")
        archive.add_candidate("b" * 16, "other", "source", "because")


def test_reading_where_nothing_was_written(tmp_path):
    with pytest.raises(ArchiveError, match=r"no archive in .*run a campaign first"):
        Archive(tmp_path / "nowhere", write=False)
    assert not (tmp_path / "nowhere").exists()


def test_an_archive_whose_making_was_cut_short(tmp_path):
    """A writer makes it good, a reader finds nothing yet."""
    (tmp_path / "archive.db").touch()
    with pytest.raises(ArchiveError, match="no archive in"):
        Archive(tmp_path, write=False)
    with Archive(tmp_path) as archive:
        assert archive.runs() == []


@pytest.mark.parametrize("write", [True, False])
def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path, write):
    content = b"this is not a database, though it has the name of one" * 20
    (tmp_path / "archive.db").write_bytes(content)
    with pytest.raises(ArchiveError, match=r"cannot be used: file is not a database.*left as it is"):
        Archive(tmp_path, write=write)
    assert (tmp_path / "archive.db").read_bytes() == content


@pytest.mark.parametrize("write", [True, False])
def test_an_archive_of_another_format_is_refused_and_released(tmp_path, write):
    Archive(tmp_path).close()
    with sqlite3.connect(tmp_path / "archive.db") as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    for _ in range(2):  # the first refusal holds no lock
        with pytest.raises(ArchiveError, match=rf"format {SCHEMA_VERSION + 1}.*--store"):
            Archive(tmp_path, write=write)


def as_format_1(folder: Path) -> sqlite3.Connection:
    """An archive as the first format had it."""
    folder.mkdir(exist_ok=True)
    db = sqlite3.connect(folder / "archive.db", isolation_level=None)
    db.executescript((HERE / "format_1.sql").read_text())
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA user_version = 1")
    db.execute("INSERT INTO runs VALUES ('run', 'question', 'smoke', 0, '{\"spec\": {}}', '{}', 'then')")
    db.execute("INSERT INTO candidates VALUES ('a', 'net', 'source', 'because', NULL)")
    db.execute("INSERT INTO results VALUES ('run', 3, 'a', 'scored', '', '', 1, 0.25, '{}')")
    return db


def test_an_archive_of_an_earlier_format_is_brought_up_to_date_with_all_that_is_in_it(tmp_path):
    as_format_1(tmp_path).close()
    with Archive(tmp_path, write=False) as reader:  # which changes nothing, and reads it all the same
        assert [row["gain"] for row in reader.results("run")] == [0.25]
        assert reader.rows("PRAGMA user_version")[0]["user_version"] == 1
    for _ in range(2):
        with Archive(tmp_path) as archive:
            assert archive.rows("PRAGMA user_version")[0]["user_version"] == SCHEMA_VERSION
            assert [row["gain"] for row in archive.results("run")] == [0.25]
            assert archive.leading("run", 5) == [dict(address="a", number=3, gain=0.25, rung=1, holds=True)]
            assert archive.candidate("a")["source"] == "source" and archive.run("run")["created_at"] == "then"
    with Archive(tmp_path / "new") as new, Archive(tmp_path, write=False) as old:
        of = "SELECT name, (SELECT group_concat(name) FROM pragma_table_info(m.name)) AS columns FROM sqlite_master m"
        assert old.rows(of + " ORDER BY name") == new.rows(of + " ORDER BY name")


def test_a_trial_of_the_format_before_bought_nothing_that_is_known(tmp_path):
    with Archive(tmp_path) as archive:
        archive.add_candidate("a" * 16, "net", "source", "because")
        keep(archive, trial(bought=Bought(4096, 2.0, 1 << 20, None, 5.0, 1e11)))
    with sqlite3.connect(tmp_path / "archive.db") as db:
        for column in ("train_s", "gpu_memory_bytes", "energy_j", "peak_flops_per_s"):
            db.execute(f"ALTER TABLE trials DROP COLUMN {column}")
        db.execute("ALTER TABLE proposals DROP COLUMN author")
        db.execute("PRAGMA user_version = 5")
    db.close()
    for write in (False, True, False):  # as it is, brought up to date, and afterwards
        with Archive(tmp_path, write=write) as archive:
            assert archive.trial("k" * 16) == trial(bought=Bought(4096, peak_memory_bytes=1 << 20))


def test_an_update_that_is_cut_short_changes_nothing(tmp_path, monkeypatch):
    as_format_1(tmp_path).close()
    with monkeypatch.context() as patch:
        patch.setitem(store._MIGRATIONS, 1, store._MIGRATIONS[1] + " NO SQL AT ALL;")
        with pytest.raises(ArchiveError, match="syntax error"):
            Archive(tmp_path)
    db = sqlite3.connect(tmp_path / "archive.db")
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert "holds" not in [row[1] for row in db.execute("PRAGMA table_info(results)")]
    db.close()
    with Archive(tmp_path) as archive:
        assert archive.leading("run", 1)


# --- what a disk may do -----------------------------------------------------------------------------------------------


def test_a_full_disk_is_said_and_loses_nothing(archive):
    """`max_page_count` is how SQLite meets a disk without room."""
    keep(archive, trial())
    (pages,) = archive.rows("PRAGMA page_count")[0].values()
    archive.rows(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(ArchiveError, match=r"disk is full.*Free the disk.*same command again"):
        for number in range(1000):
            archive.add_candidate(f"{number}", "net", "source" * 1000, "because")
    with pytest.raises(ArchiveError, match="disk is full"), archive.transaction():
        for number in range(1000, 2000):
            archive.add_candidate(f"{number}", "net", "source" * 1000, "because")
    assert archive.trial("k" * 16) == trial() and archive.candidate("1000") is None
    archive.rows("PRAGMA max_page_count = 1000000")
    with archive.transaction():  # the failed one is over
        archive.add_candidate("again", "net", "source", "because")
    assert archive.candidate("again")


ON_A_SMALL_DISK = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from asiarc.archive.store import Archive, Trial
from asiarc.core.errors import ArchiveError
from asiarc.core.outcome import SCORED
disk = Path(sys.argv[1])
(disk / "ballast").write_bytes(bytes(500_000))
said, full = [], 0
def write(archive, number):
    key = f"{number:016d}"
    trial = Trial(key, "a", "text", "explore", "0", 60, 0.01, SCORED, "bits", 1.5, 1, 1, 1.0, [], {}, 1.0, 1.0)
    with archive.transaction():
        archive.add_trial(trial, {}, layers=[])
        archive.add_items(key, [{"value": (number * i) % 997} for i in range(300)])
    said.append(key)
with Archive(disk / "store") as archive:
    archive.add_candidate("a", "net", "source", "because")
    for number in range(100_000):
        try:
            write(archive, number)
        except ArchiveError as error:
            assert "Free the disk" in str(error), error
            full += 1
            if full == 20:
                break
    assert full == 20, "the disk never was full"
    (disk / "ballast").unlink()
    write(archive, 100_001)
with Archive(disk / "store") as archive:
    for key in said:
        assert archive.trial(key).value == 1.5
        assert [item["value"] for item in archive.items(key)] == [int(key) * i % 997 for i in range(300)]
    assert [row["integrity_check"] for row in archive.rows("PRAGMA integrity_check")] == ["ok"]
    assert len(said) == archive.rows("SELECT count(*) AS n FROM trials")[0]["n"] > 10
print("whole")
"""


def test_a_disk_that_runs_full_for_real(tmp_path):
    """On a tmpfs of 2 MB, with room made in the end: all that was said to be stored is there."""
    (tmp_path / "disk").mkdir()
    mounted = f'mount -t tmpfs -o size=2m none {tmp_path / "disk"} && exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", mounted, "sh"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    writer = [sys.executable, "-c", ON_A_SMALL_DISK, str(tmp_path / "disk"), str(HERE)]
    done = subprocess.run([*command, *writer], capture_output=True, text=True, check=False)
    assert done.stdout == "whole\n", done.stderr


def filled(folder: Path) -> Path:
    with Archive(folder) as archive:
        archive.add_run("run", "question", "smoke", 0, {"spec": {}}, {})
        with archive.transaction():
            for number in range(300):
                archive.add_candidate(f"{number:016d}", "net", f"{number}" * 300, "because")
                keep(archive, trial(key=f"{number:016d}", address=f"{number:016d}"))
    return folder / "archive.db"


def test_a_damaged_file_is_said_and_left_as_it_is(tmp_path):
    """Its header is whole, so it opens; the pages behind it are not."""
    file = filled(tmp_path)
    content = bytearray(file.read_bytes())
    content[2 * 4096 :] = bytes(byte ^ 0x5A for byte in content[2 * 4096 :])
    file.write_bytes(content)
    with (
        Archive(tmp_path, write=False) as archive,
        pytest.raises(ArchiveError, match=r"malformed.*damaged: keep a copy.*--store"),
    ):
        for number in range(300):
            archive.trial(f"{number:016d}")
    assert file.read_bytes() == content


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_that_was_cut_off_is_said(tmp_path, share):
    file = filled(tmp_path)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(ArchiveError, match=r"cannot be used.*--store"), Archive(tmp_path) as archive:
        archive.rows("SELECT * FROM trials")
        archive.rows("SELECT * FROM candidates")
        archive.rows("SELECT source FROM candidates WHERE address > '0'")


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[: len(data) // 2], lambda _: b"", lambda data: b"x" + data[1:]],
    ids=["half", "empty", "changed"],
)
def test_damaged_items_are_said(archive, damage):
    archive.add_items("d" * 16, [{"value": i} for i in range(100)])
    (path,) = archive.folder.glob("items/*/*")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ArchiveError, match=r"cannot be used"):
        archive.items("d" * 16)


def test_what_a_killed_writer_was_writing_is_swept_away(tmp_path):
    with Archive(tmp_path) as archive:
        archive.add_items("a" * 16, [{"value": 1}])
    (tmp_path / "partial").mkdir(exist_ok=True)
    (tmp_path / "partial" / ("b" * 16 + ".part")).write_bytes(b"half")
    with Archive(tmp_path, write=False) as reader:
        assert reader.items("b" * 16) == []
    with Archive(tmp_path) as archive:
        assert not list(tmp_path.rglob("*.part"))
        assert archive.items("a" * 16) == [{"value": 1}]


def test_a_clock_that_jumps_back_changes_no_order(tmp_path, monkeypatch):
    with Archive(tmp_path) as archive:
        for run, now in (("first", "2031-01-01"), ("second", "1970-01-01"), ("third", "2026-05-05")):
            monkeypatch.setattr(store, "_now", lambda now=now: now)
            archive.add_run(run, "question", "smoke", 0, {}, {})
        assert [row["run"] for row in archive.runs()] == ["first", "second", "third"]
        archive.add_run("first", "question", "smoke", 0, {}, {})
        assert [row["run"] for row in archive.runs()] == ["second", "third", "first"]


# --- what a proposal asks, by index -----------------------------------------------------------------------------------


@any_tmp_path
@given(
    st.lists(
        st.tuples(st.sampled_from(["scored", "scored", "rejected", "crashed"]), st.integers(0, 2),
                  st.sampled_from([-1.5, 0.0, 0.25, 3.0]), st.booleans()),
        max_size=12,
    ),
    st.integers(1, 6),
)  # fmt: skip
def test_the_leading_and_the_rejected_are_those_that_sorting_finds(tmp_path_factory, endings, count):
    with Archive(tmp_path_factory.mktemp("leading")) as archive:
        archive.add_run("run", "question", "smoke", 0, {}, {})
        archive.add_run("other", "question", "smoke", 1, {}, {})
        members, failed = [], []
        for number, (kind, rung, gain, holds) in enumerate(endings):
            scored, address = kind == "scored", f"address {number}"
            outcome = SCORED if scored else Outcome(kind, "why", "gate" * (kind == "rejected"))
            archive.add_candidate(address, "net", address, "because")
            proposal = dict(address=address, name="n", motivation="", parents=[], origins=[], predicted="")
            archive.add_proposal("run", number, 0, proposal)
            for run in ("run", "other"):
                archive.add_result(
                    run, number, address, outcome, rung=rung, gain=gain if scored else None, scores={}, holds=holds
                )
            if scored:
                members.append(dict(address=address, number=number, gain=gain, rung=rung, holds=holds))
            else:
                failed.append(address)
        best_first = sorted(members, key=lambda m: (not m["holds"], -m["rung"], -m["gain"], m["number"]))
        assert archive.leading("run", count) == best_first[:count]
        assert archive.leading_numbers("run", count) == sorted(m["number"] for m in best_first[:count])
        assert [row["number"] for row in archive.population("run", 9, count)] == [
            m["number"] for m in members if m["number"] <= 9
        ][-count:]
        assert [row["address"] for row in archive.last_failed("run", 9, count)] == [
            address for address in failed if int(address.split()[1]) < 9
        ][-count:]


def test_what_is_known_is_found_by_address(archive):
    proposal = dict(address="a" * 16, name="n", motivation="", parents=[], origins=[], predicted="")
    archive.add_proposal("run", 0, 0, proposal)
    assert archive.is_proposed("run", "a" * 16)
    assert not archive.is_proposed("other", "a" * 16) and not archive.is_proposed("run", "b" * 16)
    archive.add_insight("run", 0, 0, "a" * 16, {"text": "why"})
    assert archive.insight("run", "a" * 16) == {"text": "why"} and archive.insight("run", "b" * 16) is None


# Numbers on a grid finer than a cell, so that neighbours, edges of cells and exact distances are all drawn.
behaviours = st.lists(st.integers(-60, 60).map(lambda n: n / 2048), min_size=3, max_size=3)


@any_tmp_path
@given(st.lists(behaviours, max_size=12), behaviours, st.sampled_from([0.0, 1 / 2048, 5 / 1024, 0.01]))
def test_who_behaves_alike_is_whom_a_comparison_with_everybody_finds(tmp_path_factory, kept, asked, within):
    with Archive(tmp_path_factory.mktemp("behaviours")) as archive:
        for number, numbers in enumerate(kept):
            archive.add_behaviour("probes", f"{number:02}", numbers)
        archive.add_behaviour("other probes", "stranger", asked)
        archive.add_behaviour("probes", "nothing", [])
        expected = [
            f"{number:02}"
            for number, numbers in enumerate(kept)
            if max(abs(a - b) for a, b in zip(numbers, asked, strict=True)) <= within
        ]
        assert archive.behaving_as("probes", asked, within) == expected
        assert archive.behaviour("probes", "nothing") == [] and archive.behaviour("probes", "nobody") is None
        assert all(archive.behaviour("probes", f"{n:02}") == numbers for n, numbers in enumerate(kept))


@pytest.mark.parametrize(
    "question",
    ["leading('run', 9)", "leading_numbers('run', 9)",
     "last_failed('run', 9, 9)", "population('run', 9, 9)", "scored('run', 'a')",
     "is_proposed('run', 'a')", "is_proposed('run', 'a', 9)", "addresses('run', 2, 5)", "proposal('run', 3)",
     "result('run', 3)", "behaviour('p', 'a')", "behaving_as('p', [0.1, 0.2], 0.001)", "insight('run', 'a')",
     "insights('run', 3)",
     "candidate('a')", "trial('k')", "admission('k')", "stage_result('run', 'explore')"],
)  # fmt: skip
def test_no_question_of_a_proposal_reads_a_whole_table(archive, question):
    """Each is answered from an index alone: no scan, and no sorting."""
    asked, db = [], archive._db
    db.set_trace_callback(asked.append)
    eval(f"archive.{question}")
    db.set_trace_callback(None)
    for sql in asked:
        plan = " ".join(row["detail"] for row in archive.rows("EXPLAIN QUERY PLAN " + sql))
        assert "SEARCH" in plan and "SCAN" not in plan and "TEMP B-TREE" not in plan, plan


def test_a_place_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArchiveError, match=r"cannot be used.*--store"):
        Archive(tmp_path / "file" / "store")


AS_NOBODY = """
import os, sys
from pathlib import Path
from asiarc.archive.store import Archive
from asiarc.core.errors import ArchiveError
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    Archive(Path(sys.argv[1]), write=sys.argv[2] == "write")
except ArchiveError as error:
    print(error)
"""


@pytest.mark.parametrize("existing", [True, False])
def test_a_read_only_folder(tmp_path_factory, existing):
    """Whoever may not write there is told so; root would be let in, so the child becomes nobody."""
    folder = tmp_path_factory.mktemp("read_only")
    for parent in [folder, *folder.parents][:3]:
        parent.chmod(0o755)
    if existing:
        Archive(folder).close()
    folder.chmod(0o555)
    command = [sys.executable, "-c", AS_NOBODY, str(folder), "write"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    folder.chmod(0o755)
    assert "cannot be used" in said and "permissions" in said and "--store" in said


def test_an_archive_is_set_aside_whole_and_under_the_next_free_name(tmp_path):
    (tmp_path / "store-2").mkdir()  # somebody else's
    for name in ("store-1", "store-3", "store-4"):
        with Archive(tmp_path / "store") as archive:
            archive.add_candidate(name, "net", "source", "because")
        assert set_aside(tmp_path / "store") == tmp_path / name
        with Archive(tmp_path / name, write=False) as archive:
            assert archive.candidate(name)
    assert not (tmp_path / "store").exists() and not list((tmp_path / "store-2").iterdir())


# --- kill -9 ----------------------------------------------------------------------------------------------------------


@contextmanager
def writing_to(folder):
    """A process that writes to an archive until it is killed."""
    command = [sys.executable, str(HERE / "writer.py"), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize("moment", range(12))
def test_a_killed_writer_leaves_a_readable_archive_of_complete_rows(tmp_path, moment):
    """The child says each number after its commit; it is killed while it works on the next ones."""
    with writing_to(tmp_path) as child:
        said = [int(child.stdout.readline()) for _ in range(1 + 7 * moment)]
        child.send_signal(signal.SIGKILL)
        said += [int(line) for line in child.stdout]
    assert child.returncode == -signal.SIGKILL
    with Archive(tmp_path) as archive:  # the dead writer's lock is gone
        assert [row["integrity_check"] for row in archive.rows("PRAGMA integrity_check")] == ["ok"]
        assert archive.rows("PRAGMA foreign_key_check") == []
        kept = {int(row["key"]) for row in archive.rows("SELECT key FROM trials")}
        assert set(said) <= kept <= {*said, len(said)}, "what was said to be committed is there, whole"
        for number in kept:
            key = f"{number:016d}"
            stored = archive.trial(key)
            assert stored.value == number / 7 and stored.curve == [[number, number / 7]] * 50
            assert archive.items(key) == [{"doc_id": i, "value": number} for i in range(50)]
            assert archive.candidate(stored.address)["source"] == f"SOURCE = {number}"
        candidates = archive.rows("SELECT COUNT(*) AS n FROM candidates")[0]["n"]
        assert candidates == len(kept), "a candidate is committed with its trial"
        archive.add_candidate("next", "net", "source", "because")


def test_items_are_never_seen_half_written(tmp_path):
    """Whatever lies under an items name is whole, also while its writer is at work."""
    with writing_to(tmp_path) as child:
        assert child.stdout.readline()
        with Archive(tmp_path, write=False) as archive:
            for _ in range(20):
                newest = max(tmp_path.glob("items/*/*.gz"))
                assert len(archive.items(newest.name.partition(".")[0])) == 50


def test_the_store_is_plain_sqlite_in_wal_mode(archive):
    db = sqlite3.connect(archive.folder / "archive.db")
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert json.loads(db.execute("SELECT identity FROM runs").fetchone()[0]) == {"spec": {}}
    db.close()


# --- cells of another form --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["", "{", "[" * 100_000, "nan,", "\x00"], ids=["empty", "cut", "deep", "none", "nul"])
def test_a_cell_that_is_no_json_is_told(tmp_path, cell):
    with Archive(tmp_path) as archive:
        archive.add_run("r", "question", "quick", 0, {}, {})
        archive.finish_stage("r", "explore", {})
    with closing(sqlite3.connect(tmp_path / "archive.db")) as database, database:
        database.execute("UPDATE runs SET identity = ?", (cell,))
        database.execute("UPDATE stages SET result = ?", (cell,))
    with Archive(tmp_path, write=False) as archive:
        for ask in (archive.runs, lambda: archive.run("r"), lambda: archive.stage_result("r", "explore")):
            with pytest.raises(ArchiveError, match="where JSON is due"):
                ask()


def test_text_that_is_no_text_is_told(tmp_path):
    with Archive(tmp_path) as archive:
        archive.add_run("r", "question", "quick", 0, {}, {})
    with closing(sqlite3.connect(tmp_path / "archive.db")) as database, database:
        database.execute("UPDATE runs SET campaign = CAST(x'ff9a' AS TEXT)")
    with Archive(tmp_path, write=False) as archive, pytest.raises(ArchiveError, match="cannot be used"):
        archive.runs()


@pytest.mark.parametrize("settled", [True, False])
def test_what_only_reads_reads_where_nothing_can_be_written(tmp_path, monkeypatch, settled):
    """Read-only media: SQLite may make no file beside the archive; what lies in the log only is read all the same."""
    folder = tmp_path / "a store? #1 [x]%"
    writer = Archive(folder)
    writer.add_candidate("a" * 16, "name", "source", "why")
    if settled:
        writer.close()
    before = {file: file.read_bytes() for file in folder.iterdir() if file.suffix != ".db-shm"}
    assert (folder / "archive.db-wal").exists() != settled
    monkeypatch.setattr(os, "access", lambda *_: False)
    with Archive(folder, write=False) as archive:
        assert archive.candidate("a" * 16)["name"] == "name"
    assert {file: file.read_bytes() for file in folder.iterdir() if file.suffix != ".db-shm"} == before
    writer.close()
