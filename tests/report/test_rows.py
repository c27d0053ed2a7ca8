"""Evidence that needs nothing of ours: rows as tables, and a check in the standard library that sees what is bent."""

from __future__ import annotations

import ast
import gzip
import hashlib
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import Table, parquet
from scipy.stats import t as student

from asiarc.archive import extract
from asiarc.core.errors import EvidenceError
from asiarc.evidence.effects import mean_interval, paired_effect
from asiarc.report import check, render, verify, write_again
from asiarc.report import rows as tables
from asiarc.report.document import CHECK, EXTRACT, sha256
from asiarc.report.facts import WITHOUT_EXTRACT
from asiarc.report.rows import CASES, TRIALS

from ..rigs.cases import keep

PUBLISHED = Path(__file__).parents[2] / "results"


def told(folder, capsys):
    """(the differences that a check finds, what it prints)."""
    problems = check.main(folder)
    return problems, capsys.readouterr().out


def lines_of(folder):
    return [json.loads(line) for line in gzip.decompress((folder / EXTRACT).read_bytes()).splitlines()]


def save(folder, lines):
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    (folder / EXTRACT).write_bytes(gzip.compress(text.encode(), mtime=0))


def sign_again(folder):
    """The manifest made to hold for whatever lies there: what remains are the rows' own words."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = {name: sha256(folder / name) for name in manifest["files"]}
    manifest["rows"] = extract.hashes(folder / EXTRACT)
    path.write_text(json.dumps(manifest))


@pytest.fixture
def copy(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "copy"))


# --- the reference: scipy, our own evidence ---------------------------------------------------------------------------


@given(st.floats(0.01, 40), st.integers(1, 63))
def test_students_t_is_scipys(t, freedom):
    assert check.both_tails(t, freedom) == pytest.approx(2 * student.sf(t, freedom), rel=1e-8, abs=1e-13)


@given(st.floats(1e-5, 0.5), st.integers(1, 63))
def test_its_quantile_is_scipys(alpha, freedom):
    assert check.quantile(alpha, freedom) == pytest.approx(student.isf(alpha / 2, freedom), rel=1e-9)


VALUES = st.lists(st.floats(0, 1), min_size=2, max_size=8)


@given(VALUES, st.sampled_from(["accuracy", "bits_per_byte"]))
def test_a_mean_has_the_interval_that_we_give_it(values, metric):
    due, found = mean_interval(values, is_accuracy=metric == "accuracy"), check.summary(values, metric)
    assert [found[key] for key in ("mean", "low", "high")] == pytest.approx([due.mean, due.low, due.high], abs=1e-9)


@given(VALUES, VALUES, st.integers(1, 40), st.booleans())
def test_a_gain_is_the_one_that_we_give(mine, theirs, count, higher):
    sides = [dict(zip("abcdefgh", values, strict=False)) for values in (mine, theirs)]
    due = paired_effect(*sides, higher_is_better=higher, num_comparisons=count).as_dict()
    found = check.gain(sides, higher, count)
    assert found == pytest.approx({key: due[key] for key in found}, rel=1e-7, abs=1e-9)


# --- what it is -------------------------------------------------------------------------------------------------------


def test_it_is_short_and_imports_nothing_of_ours_or_of_anybody():
    tree = ast.parse(CHECK.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= set(sys.stdlib_module_names) | {"numpy"}
    assert len(CHECK.read_text().splitlines()) <= 200


def test_it_runs_where_there_is_only_python(written, tmp_path):
    place = shutil.copytree(written, tmp_path / "elsewhere")
    done = subprocess.run([sys.executable, "-I", "-S", place / "check.py"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "") and "differences: 0" in done.stdout


def test_a_report_is_what_its_rows_give_and_what_is_left_out_is_named(written, capsys):
    problems, said = told(written, capsys)
    assert problems == [] and "1 winners, 1 claims" in said
    assert "finalist" in said.partition("not recomputed:")[2]


# --- rows as tables ---------------------------------------------------------------------------------------------------


def test_a_row_a_trial_and_it_holds_what_the_extract_holds(written):
    rows = parquet.read_table(written / TRIALS).to_pylist()
    kept = list(extract.each(written / EXTRACT))
    trials = {row["key"]: row for table, row in kept if table == "trials"}
    items = {row["trial"]: row for table, row in kept if table == "items"}
    sources = {row["address"]: row["source"] for table, row in kept if table == "candidates"}
    assert {row["key"] for row in rows} == set(trials) and len(rows) == len(trials)
    for row in rows:
        assert {key: row[key] for key in ("address", "task", "seed", "steps", "value", "cpu_s", "outcome")} == {
            key: trials[row["key"]][key] for key in ("address", "task", "seed", "steps", "value", "cpu_s", "outcome")
        }
        assert row["source"] == sources[row["address"]]
        assert row["source_sha256"] == hashlib.sha256(row["source"].encode()).hexdigest()
        assert row["items"] == pytest.approx(items[row["key"]]["values"], rel=1e-6)
        if row["item_bytes"]:
            assert row["value"] == pytest.approx(-sum(row["items"]) / sum(row["item_bytes"]) / math.log(2), abs=1e-3)
    assert {row["role"] for row in rows} == {"baseline", "candidate"}
    assert {row["looks"] for row in rows if row["stage"] == "confirm"} == {4}  # the winner and three baselines


def test_a_row_a_case_of_what_the_gates_were_asked(written):
    rows = parquet.read_table(written / CASES).to_pylist()
    report = json.loads((written / "report.json").read_text())
    found = [row["found"] for row in rows]
    ran = report["campaigns"][0]["ran"]
    assert len(rows) == ran["proposed"] and found.count("rejected causality") == ran["outcomes"]["rejected"]


GIVEN = {"rate": "cheats caught", "case": "peeks", "expected": "causality", "found": "causality"}


def test_cases_that_a_rig_kept_stand_among_them(copy, tmp_path):
    kept = tmp_path / "kept.jsonl"
    keep(kept, "cheats caught", [("peeks", "causality", "causality"), ("waits", "shapes", "admitted")])
    tables.give(copy, [kept])
    tables.write(copy)
    given = [row for row in parquet.read_table(copy / CASES).to_pylist() if row["rate"] == "cheats caught"]
    assert given == [GIVEN, GIVEN | {"case": "waits", "expected": "shapes", "found": "admitted"}]
    tables.give(copy, [])
    assert not (copy / tables.GIVEN).exists()


def test_a_report_that_is_written_again_takes_cases_and_keeps_them(copy, tmp_path, drawn_once):
    kept = tmp_path / "kept.jsonl"
    keep(kept, "cheats caught", [("peeks", "causality", "causality")])
    for cases in ([kept], []):
        write_again(copy, cases)
        assert GIVEN in parquet.read_table(copy / CASES).to_pylist() and verify(copy) == []


def test_a_report_without_rows_has_no_place_for_cases(copy, tmp_path):
    kept = tmp_path / "kept.jsonl"
    keep(kept, "cheats caught", [("peeks", "causality", "causality")])
    report = json.loads((copy / "report.json").read_text())
    (copy / "report.json").write_text(json.dumps(report | {"format": WITHOUT_EXTRACT}))
    with pytest.raises(EvidenceError, match=r"without rows.*leave out --cases"):
        write_again(copy, [kept])


@pytest.mark.parametrize("line", ["no JSON", "[]", '{"rate": "r"}', "1"])
def test_a_line_that_is_no_case_is_told(tmp_path, line):
    (tmp_path / "kept").write_text(json.dumps(GIVEN) + f"\n{line}\n")
    with pytest.raises(EvidenceError, match="no case"):
        tables.give(tmp_path, [tmp_path / "kept"])


def test_a_table_that_holds_the_same_in_other_bytes_is_kept(copy):
    parquet.write_table(parquet.read_table(copy / TRIALS), copy / TRIALS, compression="none")
    before = sha256(copy / TRIALS)
    tables.write(copy)
    assert sha256(copy / TRIALS) == before


@pytest.mark.parametrize("name", [TRIALS, CASES])
def test_a_row_bent_or_dropped_in_a_table_is_seen(copy, name, capsys):
    rows, before = parquet.read_table(copy / name), sha256(copy / name)
    bent = rows.to_pylist()
    bent[0] |= {"value": 0.5, "found": "scored nothing"}
    for other in (rows.slice(1), Table.from_pylist(bent, rows.schema)):
        parquet.write_table(other, copy / name)
        assert any(name in line for line in told(copy, capsys)[0])
        tables.write(copy)  # which `verify` compares with
        assert sha256(copy / name) == before


def test_a_bent_table_is_seen_by_verify_though_the_manifest_lists_it(copy, drawn_once):
    parquet.write_table(parquet.read_table(copy / TRIALS).slice(1), copy / TRIALS)
    sign_again(copy)
    assert any(line.startswith(f"{TRIALS}:") for line in verify(copy))


# --- what is bent -----------------------------------------------------------------------------------------------------


def bent(value):
    """The same with something else in it."""
    if isinstance(value, bool) or value is None:
        return 1 if value is None else not value
    if isinstance(value, (int, float)):
        return value + 1
    return f"{value} " if isinstance(value, str) else [*value, 0]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_field_of_any_row_bent_and_any_row_dropped_is_seen(written, tmp_path, data):
    lines = lines_of(written)
    number = data.draw(st.integers(1, len(lines) - 1), label="row")
    table, row = lines[number]
    field = data.draw(st.sampled_from([None, *row]), label="field of " + table)
    if field is None:
        del lines[number]
    else:
        row[field] = bent(row[field])
    folder = tmp_path / "bent"
    if not folder.exists():
        shutil.copytree(written, folder)
    save(folder, lines)
    assert check.main(folder)
    assert extract.hashes(folder / EXTRACT) != extract.hashes(written / EXTRACT)


def winner_of(lines):
    return json.loads(next(row["result"] for table, row in lines[1:] if table == "stages" and row["stage"] == "verify"))


def value_bent(lines):
    next(row for table, row in lines[1:] if table == "trials")["value"] += 0.01


def trial_dropped_with_its_items(lines):
    winner = winner_of(lines)["winner"]
    key = next(r["key"] for t, r in lines[1:] if t == "trials" and r["address"] == winner and r["stage"] == "confirm")
    lines[1:] = [one for one in lines[1:] if key not in (one[1].get("key"), one[1].get("trial"))]


def items_dropped(lines):
    del lines[next(i for i, line in enumerate(lines) if i and line[0] == "items")]


def seeds_swapped(lines):
    rows = [r for t, r in lines[1:] if t == "trials" and r["stage"] == "confirm" and r["task"] == "text"]
    rows[0]["address"], rows[-1]["address"] = rows[-1]["address"], rows[0]["address"]


def entrants_hidden(lines):
    row = next(row for table, row in lines[1:] if table == "stages" and row["stage"] == "verify")
    told = json.loads(row["result"])
    row["result"] = json.dumps(told | {"entrants": told["entrants"][:1]})


def outcome_bent(lines):
    next(row for table, row in lines[1:] if table == "trials")["outcome"] = "crashed"


@pytest.mark.parametrize(
    "change",
    [value_bent, trial_dropped_with_its_items, items_dropped, seeds_swapped, entrants_hidden, outcome_bent],
    ids=lambda change: change.__name__,
)
def test_what_matters_is_seen_though_the_manifest_is_made_anew(copy, change, capsys):
    lines = lines_of(copy)
    change(lines)
    save(copy, lines)
    sign_again(copy)
    assert told(copy, capsys)[0]


def winner_said(report):
    campaign = report["campaigns"][0]
    campaign["winner"]["address"] = campaign["stages"][1]["rows"][-1]["address"]


def interval_narrowed(report):
    report["campaigns"][0]["gains"][0]["effect"]["low"] += 0.001


def correction_left_out(report):
    gain = next(g for g in report["campaigns"][0]["gains"] if g["stage"] == "verify")
    rows = {row["name"]: row for s in report["campaigns"][0]["stages"] if s["stage"] == "verify" for row in s["rows"]}
    sides = (rows[name]["tasks"]["text"]["values"] for name in (report["campaigns"][0]["winner"]["name"], "delta_net"))
    gain["effect"] = paired_effect(*sides, higher_is_better=False).as_dict()


def decision_flipped(report):
    report["campaigns"][0]["gains"][-1]["decision"] = "better"


def table_bent(report):
    report["baselines"]["cells"][0]["values"].popitem()


def verdict_bent(report):
    verdict = next(row["verdict"] for row in report["claims"]["decided"] if row["verdict"]["low"] is not None)
    verdict["low"] += 0.001


@pytest.mark.parametrize(
    "change",
    [winner_said, interval_narrowed, correction_left_out, decision_flipped, table_bent, verdict_bent],
    ids=lambda change: change.__name__,
)
def test_what_a_report_says_beyond_its_rows_is_seen(copy, change, capsys):
    report = json.loads((copy / "report.json").read_text())
    change(report)
    (copy / "report.json").write_text(json.dumps(report))
    sign_again(copy)
    assert told(copy, capsys)[0]


# --- reports from before, and the logbook -----------------------------------------------------------------------------


def test_a_published_report_without_rows_gets_them_from_its_extract(tmp_path, capsys, drawn_once):
    folder = Path(shutil.copytree(PUBLISHED / "reproduction" / "quick", tmp_path / "quick"))
    kept = json.loads((folder / "manifest.json").read_text())
    render(folder, with_rows=False)
    assert "rows" not in json.loads((folder / "manifest.json").read_text())
    render(folder)
    assert told(folder, capsys)[0] == []
    assert json.loads((folder / "manifest.json").read_text())["files"].keys() >= kept["files"].keys()


def test_the_logbook_is_a_crate_that_names_every_file_run_and_claim(written):
    crate = json.loads((written / "ro-crate-metadata.json").read_text())
    graph = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(graph) == len(crate["@graph"]), "an @id twice"
    descriptor, root = graph["ro-crate-metadata.json"], graph["./"]
    assert descriptor["about"] == {"@id": "./"} and descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.2"}
    assert {"name", "description", "datePublished", "license"} <= root.keys()
    for entity in crate["@graph"]:  # flat: whatever is referred to stands in it
        for value in entity.values():
            for reference in value if isinstance(value, list) else [value]:
                if isinstance(reference, dict) and entity is not descriptor:
                    assert reference["@id"] in graph, reference
    files = json.loads((written / "manifest.json").read_text())["files"]
    parts = {part["@id"] for part in root["hasPart"]}
    assert parts == set(files) - {"ro-crate-metadata.json"}
    assert all(graph[name]["sha256"] == files[name] for name in parts)
    report = json.loads((written / "report.json").read_text())
    assert f"#run-{report['campaigns'][0]['run']}" in graph
    assert {f"#claim-{row['verdict']['claim']}" for row in report["claims"]["decided"]} <= graph.keys()
