"""A report that was changed and made whole again: checksums right, documents and figures drawn from what was changed.

Whoever does so knows the formats and has the code. What is left to find it by are the rows that lie beside the report,
and, where those were changed as well, what rows say of one another.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from asiarc.core.errors import AsiarcError
from asiarc.evidence.effects import paired_effect
from asiarc.report import document, examine, render, verify, write_again
from asiarc.report.document import EXTRACT, text_of

pytestmark = pytest.mark.usefixtures("drawn_once")


@pytest.fixture
def copy(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "copy"))


# --- report.json ------------------------------------------------------------------------------------------------------


def campaign(report):
    return report["campaigns"][0]


def stage(report, name="confirm"):
    return next(stage for stage in campaign(report)["stages"] if stage["stage"] == name)


def gain(report, baseline="delta_net"):
    return next(gain for gain in campaign(report)["gains"] if gain["baseline"] == baseline)


def again(report, gain, count):
    """A gain's effect anew from the values of its stage, widened for another number of comparisons."""
    rows = {row["name"]: row["tasks"][gain["task"]]["values"] for row in stage(report, gain["stage"])["rows"]}
    sides = rows[campaign(report)["winner"]["name"]], rows[gain["baseline"]]
    gain["effect"] = paired_effect(*sides, higher_is_better=False, num_comparisons=count).as_dict()


def moved_mean(report):
    gain(report)["effect"]["mean"] += 0.1


def narrow_interval(report):
    gain(report)["effect"]["low"] += 0.001


def more_seeds_said(report):
    gain(report)["effect"]["n"] = 50


def no_correction(report):
    again(report, gain(report), 1)


def entrants_and_correction(report):
    stage(report)["entrants"] = 2
    for row in campaign(report)["gains"]:
        if row["stage"] == "confirm":
            again(report, row, 6)


def bad_seed_dropped(report):
    for row in stage(report)["rows"]:
        row["tasks"]["text"]["values"].pop("0/confirm/0")
    again(report, gain(report), 3)


def better_value(report):
    values = stage(report)["rows"][0]["tasks"]["text"]["values"]
    values[next(iter(values))] -= 0.01


def decision_flipped(report):
    next(g for g in campaign(report)["gains"] if g["decision"] == "cannot tell")["decision"] = "better"


def fresh_said(report):
    stage(report, "verify")["fresh"] = True


def open_claim_deleted(report):
    report["claims"]["open"].pop()


def decided_claim_deleted(report):
    report["claims"]["decided"].pop()
    report["claims"]["counts"] = {}


def all_claims_deleted(report):
    report["claims"] = {"decided": [], "open": [], "counts": {}}


def verdict_swapped(report):
    report["claims"]["decided"][0]["verdict"]["verdict"] = "contradicted"


def verdict_embellished(report):
    report["claims"]["decided"][0]["verdict"]["our_value"] = "+9 bits a byte"


def verdicts_effect(report):
    report["claims"]["decided"][0]["verdict"]["effect"] = 5.0


def verdict_of_a_larger_tier(report):
    report["claims"]["decided"][0]["verdict"]["tier"] = "paper"


def claim_reworded(report):
    report["claims"]["open"][3]["statement"] = "Something that nobody ever claimed."


def register_eased(report):
    report["claims"]["decided"][0]["register"]["full_tier"] = "quick"


def claim_invented(report):
    report["claims"]["open"].append(report["claims"]["open"][0] | {"id": "C99"})


def open_claim_decided(report):
    claim = report["claims"]["open"].pop(0)
    verdict = report["claims"]["decided"][0]["verdict"] | {"claim": claim["id"]}
    report["claims"]["decided"].append({"verdict": verdict, "register": claim})


def smaller_model(report):
    stage(report)["rows"][0]["parameters"] //= 2


def smaller_state(report):
    stage(report)["rows"][0]["state_bytes"] = 1


def cheaper_stage(report):
    campaign(report)["ran"]["spend"][0]["cpu_s"] /= 2


def fewer_trials(report):
    report["spend"]["trials"] -= 1


def other_name(report):
    name = campaign(report)["winner"]["name"]
    campaign(report)["winner"]["name"] = "my_own_mixer"
    for row in (row for one in campaign(report)["stages"] for row in one["rows"] if row["name"] == name):
        row["name"] = "my_own_mixer"


def other_source(report):
    campaign(report)["winner"]["source"] += "\nB = 2\n"


def rows_reordered(report):
    stage(report)["rows"].reverse()


def baseline_left_out(report):
    stage(report)["rows"] = [row for row in stage(report)["rows"] if row["name"] != "mamba2"]
    campaign(report)["gains"] = [row for row in campaign(report)["gains"] if row["baseline"] != "mamba2"]


def lost_task_left_out(report):
    verify = stage(report, "verify")
    verify["tasks"] = verify["tasks"][:1]
    for row in verify["rows"]:
        row["tasks"].pop("reset")


def rejections_hidden(report):
    campaign(report)["ran"]["outcomes"]["rejected"] -= 1


def failures_left_out(report):
    campaign(report)["failures"] = []


def rank_correlation_moved(report):
    campaign(report)["transfer"][0]["correlation"]["rho"] = 0.999


def transfer_left_out(report):
    campaign(report)["transfer"].pop()


def insight_rewritten(report):
    campaign(report)["insights"][0]["text"] = "It gains everything."


def origins_recounted(report):
    campaign(report)["origins"][0]["counts"]["original"] += 10


def fewer_seeds_declared(report):
    campaign(report)["spec"]["confirm"]["seeds"] = 2


def identity_changed(report):
    campaign(report)["identity"]["kernels"] = "of another run"


def earlier_runs_hidden(report):
    campaign(report)["earlier_runs"] = 7


def later_than_it_was(report):
    campaign(report)["created_at"] = "2030-01-01T00:00:00+00:00"


def tier_relabelled(report):
    report["tier"] = campaign(report)["tier"] = "full"
    for row in report["claims"]["decided"]:
        row["verdict"]["tier"] = "full"


def baseline_weakened(report):
    report["baselines"]["cells"][0]["mean"] += 0.01


def signature_of_a_paper(report):
    report["signatures"][0]["paper"] = 0.0


def campaign_left_out(report):
    report["campaigns"] = []


def arms_told(report):
    report["arms"].append("delta_text no_cognition: 0 candidates")


def caption_changed(report):
    campaign(report)["figures"][0]["caption"] = "Better than anything."


def question_changed(report):
    campaign(report)["question"] = "Is it the best mixer ever?"


CHANGES = [
    value for name, value in list(globals().items())
    if callable(value) and getattr(value, "__code__", None) and value.__code__.co_varnames[:1] == ("report",)
    and value.__code__.co_argcount == 1 and name not in ("campaign", "text_of")
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_whatever_is_changed_in_the_data_is_found_though_all_is_drawn_and_signed_again(copy, change):
    report = json.loads((copy / "report.json").read_text())
    before = text_of(report)
    change(report)
    assert text_of(report) != before
    (copy / "report.json").write_text(text_of(report))
    render(copy)
    assert verify(copy)


def test_an_untouched_report_tells_what_was_compared_and_what_is_not_proved(written):
    found = examine(written)
    assert found.problems == []
    told, open_ = "\n".join(found.compared), "\n".join(found.unproved)
    assert "104 trials from 312 results" in told and "1 of 1 verdicts" in told and "67 claims" not in told
    assert "not signed" in open_ and "only running them again" in open_


# --- files ------------------------------------------------------------------------------------------------------------


def sign_again(folder):
    """The manifest with the checksums of the files as they are."""
    manifest = json.loads((folder / "manifest.json").read_text())
    names = [path.relative_to(folder).as_posix() for path in document.signed_files(folder)]
    manifest["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def replaced(folder, name, old, new):
    text = (folder / name).read_text()
    assert old in text, name
    (folder / name).write_text(text.replace(old, new, 1))


def markdown_edited(folder):
    replaced(folder, "report.md", "# ", "# Verified: ")


def page_edited(folder):
    replaced(folder, "report.html", "</h1>", ", verified by all</h1>")


def script_added(folder):
    replaced(folder, "report.html", "</body>", "<script>1</script></body>")


def figure_replaced(folder):
    shutil.copy(folder / "figures/delta_text-curves.svg", folder / "figures/delta_text-effects.svg")


def point_of_a_table_moved(folder):
    path = folder / "figures/delta_text-population.csv"
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace("scored", "crashed")
    path.write_text("\n".join(lines) + "\n")
    render(folder)


def row_of_a_table_deleted(folder):
    path = folder / "figures/delta_text-transfer.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:1] + lines[2:]) + "\n")
    render(folder)


def file_added(folder):
    (folder / "figures" / "more.svg").write_text("<svg/>")


def manifest_of_another_machine(folder):
    replaced(folder, "manifest.json", '"tier": "quick"', '"tier": "full"')


def key_twice(folder):
    replaced(folder, "report.json", '"tier": "quick"', '"tier": "paper",\n "tier": "quick"')
    render(folder)


def extract_removed(folder):
    (folder / EXTRACT).unlink()


def extract_and_format_removed(folder):
    (folder / EXTRACT).unlink()
    report = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(text_of(report | {"format": 1}))
    render(folder)


def extract_of_nothing(folder):
    (folder / EXTRACT).write_bytes(gzip.compress(b""))


@pytest.mark.parametrize(
    "change",
    [
        markdown_edited, page_edited, script_added, figure_replaced, point_of_a_table_moved, row_of_a_table_deleted,
        file_added, manifest_of_another_machine, key_twice, extract_removed, extract_and_format_removed,
        extract_of_nothing,
    ],
    ids=lambda change: change.__name__,
)  # fmt: skip
def test_whatever_is_changed_in_a_file_is_found_though_the_manifest_lists_it(copy, change):
    change(copy)
    sign_again(copy)
    assert verify(copy)


def test_without_a_new_manifest_the_file_is_named(copy):
    (copy / "figures" / "delta_text-curves.svg").unlink()
    with (copy / "report.html").open("a") as file:
        file.write(" ")
    (copy / "note.txt").write_text("mine")
    problems = "\n".join(verify(copy))
    assert "delta_text-curves.svg: in the manifest, but missing" in problems
    assert "report.html: SHA-256 is" in problems and "note.txt: not in the manifest" in problems


def test_where_a_document_parts_from_its_data_is_told(copy):
    page_edited(copy)
    sign_again(copy)
    (problem,) = verify(copy)
    assert problem.startswith("report.html: line ") and "verified by all" in problem


# --- the rows themselves ----------------------------------------------------------------------------------------------


def lines_of(folder):
    return [json.loads(line) for line in gzip.decompress((folder / EXTRACT).read_bytes()).splitlines()]


def rows_of(lines, table):
    return [line[1] for line in lines[1:] if line[0] == table]


def trial_of(lines, seed="0/confirm/0"):
    winner = json.loads(next(row["result"] for row in rows_of(lines, "stages") if row["stage"] == "verify"))["winner"]
    return next(row for row in rows_of(lines, "trials") if row["address"] == winner and row["seed"] == seed)


def result_of(lines, stage, **changes):
    row = next(row for row in rows_of(lines, "stages") if row["stage"] == stage)
    row["result"] = json.dumps(json.loads(row["result"]) | changes)


def value_without_items(lines):
    trial_of(lines)["value"] -= 0.05


def items_without_value(lines):
    key = trial_of(lines)["key"]
    next(row for row in rows_of(lines, "items") if row["trial"] == key)["logs"][0] += 500


def one_item_dropped(lines):
    key = trial_of(lines)["key"]
    next(row for row in rows_of(lines, "items") if row["trial"] == key)["logs"].pop()


def items_dropped(lines):
    key = trial_of(lines)["key"]
    lines[:] = [
        line for line in lines if not (isinstance(line, list) and line[1].get("trial") == key and line[0] == "items")
    ]


def trial_dropped(lines):
    key = trial_of(lines)["key"]
    lines[:] = [
        line for line in lines if not (isinstance(line, list) and key in (line[1].get("trial"), line[1].get("key")))
    ]


def seed_dropped_for_all(lines):
    keys = {row["key"] for row in rows_of(lines, "trials") if row["seed"] == "0/confirm/0"}
    lines[:] = [
        line for line in lines if not (isinstance(line, list) and keys & {line[1].get("trial"), line[1].get("key")})
    ]


def trial_failed(lines):
    trial_of(lines, "0/explore/0")["outcome"] = "crashed"


def source_of_the_winner(lines):
    address = trial_of(lines)["address"]
    next(row for row in rows_of(lines, "candidates") if row["address"] == address)["source"] += "B = 2\n"


def other_winner(lines):
    result_of(lines, "verify", winner=json.loads(rows_of(lines, "stages")[0]["result"])["entrants"][1])


def gains_of_a_stage(lines):
    row = next(row for row in rows_of(lines, "stages") if row["stage"] == "verify")
    result_of(lines, "verify", gains={a: gain + 0.1 for a, gain in json.loads(row["result"])["gains"].items()})


def one_entrant_said(lines):
    result_of(lines, "verify", entrants=json.loads(rows_of(lines, "stages")[0]["result"])["entrants"][:1])


def gain_of_a_proposal(lines):
    next(row for row in rows_of(lines, "results") if row["gain"] is not None)["gain"] += 0.2


def rejected_proposal_dropped(lines):
    number = next(row["number"] for row in rows_of(lines, "results") if row["outcome"] == "rejected")
    lines[:] = [
        line for line in lines
        if not (isinstance(line, list) and line[0] in ("proposals", "results") and line[1]["number"] == number)
    ]  # fmt: skip


def fewer_seeds_in_the_declaration(lines):
    (row,) = rows_of(lines, "runs")
    row["identity"] = row["identity"].replace('"seeds": 5', '"seeds": 2')


def tier_of_the_run(lines):
    rows_of(lines, "runs")[0]["tier"] = lines[0]["tier"] = "full"
    rows_of(lines, "verdicts")[0]["tier"] = "full"


def sizes_of_one_trial(lines):
    trial_of(lines)["parameters"] //= 2


def verdict_of_the_archive(lines):
    (row,) = rows_of(lines, "verdicts")
    row["verdict"] = json.dumps(json.loads(row["verdict"]) | {"verdict": "inconclusive"})


def verdict_out_of_nothing(lines):
    (row,) = rows_of(lines, "verdicts")
    verdict = json.loads(row["verdict"]) | {"claim": "C16a"}
    lines.append(["verdicts", row | {"claim": "C16a", "verdict": json.dumps(verdict)}])


ROWS = [
    value_without_items, items_without_value, one_item_dropped, items_dropped, trial_dropped, seed_dropped_for_all,
    trial_failed, source_of_the_winner, other_winner, gains_of_a_stage, one_entrant_said, gain_of_a_proposal,
    rejected_proposal_dropped, fewer_seeds_in_the_declaration, tier_of_the_run, sizes_of_one_trial,
    verdict_out_of_nothing,
]  # fmt: skip


def put_lines(copy, lines):
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    (copy / EXTRACT).write_bytes(gzip.compress(text.encode(), mtime=0))


def test_a_verdict_changed_in_the_rows_is_found_and_writing_again_puts_it_right(written, copy, monkeypatch):
    """Also where somebody writes the report from it without asking the deciders."""
    lines = lines_of(copy)
    verdict_of_the_archive(lines)
    put_lines(copy, lines)
    with monkeypatch.context() as forger:
        forger.setattr(document, "_decide_again", lambda report, folder: None)
        write_again(copy)
    assert [problem for problem in verify(copy) if "inconclusive" in problem]
    write_again(copy)
    assert verify(copy) == []
    assert (copy / "report.json").read_bytes() == (written / "report.json").read_bytes()


@pytest.mark.parametrize("change", ROWS, ids=lambda change: change.__name__)
def test_whatever_is_changed_in_the_rows_is_found_though_the_report_is_written_from_them(copy, change):
    lines = lines_of(copy)
    change(lines)
    put_lines(copy, lines)
    try:
        write_again(copy)
    except AsiarcError:  # the rows give no report: whoever changed them keeps the one that was there
        sign_again(copy)
    assert verify(copy)


def test_a_report_is_written_again_from_its_rows_byte_by_byte(written, copy):
    for path in [*copy.rglob("*.svg"), *copy.rglob("*.csv"), copy / "report.html", copy / "report.md"]:
        path.unlink()
    write_again(copy)
    kept = {path.relative_to(written): path.read_bytes() for path in written.rglob("*") if path.is_file()}
    assert {path.relative_to(copy): path.read_bytes() for path in copy.rglob("*") if path.is_file()} == kept
