"""The release reader and its findings on small trees whose answers are known by construction."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from random import Random

import pytest

from asiarc.core.errors import EvidenceError
from asiarc.evidence.paper import find_paper
from asiarc.evidence.release import (
    COLUMNS,
    ELITE,
    POOL,
    SCORED_TASKS,
    analyse_release,
    component_shares,
    gallery_findings,
    read_release,
    read_shipped,
    render,
    search_findings,
    table_of,
    tree_findings,
)

STEPS = ["1", "100", "200"]


def member_record(index, *, parent=1, loss=3.4, accuracy=0.4, parameters="411.83M", program=None, name=None):
    """One entry of 106.json."""
    name = name or f"delta_net_{index}"
    losses = ["11.0", "7.0", "nan" if loss is None else str(loss)]
    record = {
        "index": index,
        "parent": parent,
        "name": name,
        "name_new": f"Net{index}",
        "score": 2.0,
        "parameters": parameters,
        "result": {
            "train": f",{','.join(STEPS)}\n{name},{','.join(losses)}",
            "test": f",{','.join(SCORED_TASKS)},lam_ppl\n{name},{','.join([str(accuracy)] * 7)},nan",
        },
    }
    return record if program is None else record | {"program": program}


def node_record(index, parent, score, name=None):
    """One entry of tree.json."""
    return {
        "index": index,
        "name": name or f"delta_net_{index}",
        "parent": parent,
        "score": score,
        "name_new": f"Net{index}",
    }


@pytest.fixture
def write_release(tmp_path):
    """Writes a release folder; returns its path."""

    def write(nodes, gallery, *, gallery_file="106.json"):
        (tmp_path / "tree.json").write_text(json.dumps({"total_records": len(nodes), "results": nodes}))
        (tmp_path / gallery_file).write_text(json.dumps(gallery))
        return tmp_path

    return write


def faithful_search(experiments=600, *, cold=200, top=10, seed=0, gain=0.0):
    """A search that follows the paper's policy: children are `gain` above the population, whoever their
    parent is."""
    rng = Random(seed)
    nodes = [node_record(1, None, 1.0)]
    pool = []
    for index in range(2, experiments + 1):
        if (index - 1) % 50 == 0:
            pool = sorted(nodes, key=lambda node: -node["score"])[:50]
        parent = 1 if index <= cold + 1 else rng.choice(pool[:top])["index"]
        nodes.append(node_record(index, parent, rng.gauss(2.0, 0.3) + (gain if parent != 1 else 0.0)))
    return nodes


def test_the_shipped_table_gives_what_the_files_give(write_release, tmp_path):
    """A tree with a name that comes twice, and a discovery whose run broke: the same findings, the same table again."""
    nodes = faithful_search(320)
    nodes[7]["name"] = nodes[3]["name"]
    accuracies = {10: 0.41, 20: 0.42, 30: 0.4, 40: 0.39, 50: 0.43, 60: 0.44}
    gallery = [member_record(i, accuracy=a, loss=None if i == 30 else 3.4 + a) for i, a in accuracies.items()]
    brought = read_release(write_release(nodes, gallery))
    path = tmp_path / "released.csv"
    path.write_text(table_of(brought))
    shipped = read_shipped(path)
    assert table_of(shipped) == table_of(brought)
    assert tree_findings(shipped).reused_names == tree_findings(brought).reused_names == 1
    mine, its = search_findings(brought), search_findings(shipped)
    assert its.top_pool == pytest.approx(mine.top_pool) and its.parents_in_elite == mine.parents_in_elite
    assert its.edge.mean == mine.edge.mean and its.late_trend.rho == pytest.approx(mine.late_trend.rho)
    found = gallery_findings(shipped, promising=300)
    assert found.rank_quartiles == gallery_findings(brought, promising=300).rank_quartiles
    assert found.not_a_number == {"experiment 30": 1}
    assert [m.score for m in shipped.gallery] == [m.score for m in brought.gallery]


@pytest.mark.parametrize("spoilt", ["", "index,parent\n1,\n", "header", "orphan"])
def test_a_table_that_is_none_is_told(write_release, tmp_path, spoilt):
    text = table_of(read_release(write_release(faithful_search(210), [member_record(9)])))
    changed = {"header": text.replace("fitness", "fitnes"), "orphan": text.replace("\n7,1,", "\n7,9999,")}
    (tmp_path / "released.csv").write_text(changed.get(spoilt, spoilt))
    with pytest.raises(EvidenceError, match=r"table of the release's numbers|root|lack their parent"):
        read_shipped(tmp_path / "released.csv")


def test_the_table_that_ships_holds_numbers_alone():
    """No name, no program, no sentence: whatever stands below the header is a number or nothing."""
    path = Path(__file__).parents[2] / "reproductions" / "data" / "released.csv"
    rows = list(csv.reader(path.read_text().splitlines()))
    assert rows[0] == list(COLUMNS) and len(rows) == 1 + 1_772
    assert all(cell == "" or float(cell) is not None for row in rows[1:] for cell in row)
    assert table_of(read_shipped(path)) == path.read_text()
    assert path.stat().st_size < 64 * 1024


def test_children_of_the_elite_are_compared_within_a_hundred_experiments(write_release):
    """By hand: in every hundred, what descends from the best node of all is one higher than the rest."""
    nodes = [node_record(1, None, 1.0)] + [node_record(i, 1, 2.0 + 0.001 * i) for i in range(2, 202)]
    nodes[100]["score"] = 2.9
    for i in range(202, 601):
        from_best = i % 2
        nodes.append(node_record(i, 101 if from_best else 2 + i % 90, 1.5 + from_best - 0.0001 * i))
    found = search_findings(read_release(write_release(nodes, [member_record(2)])))
    assert found.elite_advantage.mean == pytest.approx(1.0, abs=0.01) and found.elite_advantage.n == 4
    assert found.parents_in_elite == pytest.approx(0.5, abs=0.01)


def test_a_tree_of_seven(write_release):
    nodes = [
        node_record(1, None, 1.0),
        node_record(2, 1, 2.0),
        node_record(3, 1, 0.5),
        node_record(5, 2, 2.5),
        node_record(6, 2, 1.5),
        node_record(9, 5, 2.7, name="delta_net_2"),
        node_record(10, 9, 0.9),
    ]
    found = tree_findings(read_release(write_release(nodes, [member_record(9), member_record(3)])))
    assert (found.nodes, found.last_index, found.root_score, found.deepest) == (7, 10, 1.0, 4)
    assert (found.parents, found.reused_names, found.above_root) == (4, 1, 4)
    assert found.busiest == {2: 4, 5: 2, 9: 1}
    assert found.busiest_in_gallery == {2: 1, 5: 1, 9: 1}


def test_the_papers_policy_is_recognised_and_another_is_not(write_release):
    faithful = search_findings(read_release(write_release(faithful_search(), [member_record(2)])))
    assert faithful.parents_in_elite == 1.0
    assert (faithful.first_other_parent, faithful.last_child_of_root) == (202, 201)
    anywhere = search_findings(read_release(write_release(faithful_search(top=50), [member_record(2)])))
    assert anywhere.parents_in_pool == 1.0
    assert faithful.parents_ever_in_elite == 1.0
    assert anywhere.parents_in_elite < anywhere.parents_ever_in_elite < 0.7
    assert anywhere.parents_in_elite == pytest.approx(ELITE / POOL, abs=0.08)


def test_children_of_no_merit_look_like_strangers_and_gifted_ones_do_not(write_release):
    """Selection of the best parents makes nearly all children worse; only the control shows what that
    means."""
    luck = search_findings(read_release(write_release(faithful_search(900), [member_record(2)])))
    assert luck.mean_gain_over_parent < -0.5
    assert luck.children_above_parent == pytest.approx(luck.strangers_above_parent, abs=0.03)
    nodes = faithful_search(900)
    mothers = {node["parent"] for node in nodes[400:]} - {1}
    gifted = sorted(mothers)[: len(mothers) // 2]
    for node in nodes:
        if node["parent"] in gifted:
            node["score"] += 1.0
    merit = search_findings(read_release(write_release(nodes, [member_record(2)])))
    assert merit.children_above_parent > merit.strangers_above_parent + 0.05


def test_strangers_are_other_parents_children_of_the_same_time(write_release):
    """Two families side by side, and a node of another time; no node is a stranger to its own child."""
    scores = {1: 0.0, 2: 2.0, 3: 2.5, 4: 2.6, 5: 2.2, 6: 1.0, 7: 1.1, 500: 2.9}
    parents = {1: None, 2: 1, 3: 2, 4: 2, 5: 1, 6: 5, 7: 5, 500: 5}
    nodes = [node_record(i, parents[i], scores[i]) for i in scores]
    found = search_findings(read_release(write_release(nodes, [member_record(2)])))
    assert found.children == 5
    assert found.children_above_parent == pytest.approx(3 / 5)
    # 3 and 4 meet {5, 6, 7}, of which 5 is above node 2; 6 and 7 meet {2, 3, 4}, of which 3 and 4 are above node 5;
    # 500 meets nobody.
    assert found.strangers_above_parent == pytest.approx((1 / 3 + 1 / 3 + 2 / 3 + 2 / 3) / 4)


def test_late_slope_sees_progress_and_its_absence(write_release):
    flat = search_findings(read_release(write_release(faithful_search(800, seed=3), [member_record(2)])))
    assert flat.late_slope_low < 0 < flat.late_slope_high
    rising = [node | {"score": node["score"] + node["index"] / 1_000} for node in faithful_search(800, seed=3)]
    risen = search_findings(read_release(write_release(rising, [member_record(2)])))
    assert risen.late_slope_low < 1.0 + flat.late_slope < risen.late_slope_high
    assert risen.late_slope_low > 0


def test_top_pool_is_the_mean_of_the_fifty_best_over_three(write_release):
    nodes = faithful_search(450)
    found = search_findings(read_release(write_release(nodes, [member_record(2)])))
    best = sorted((node["score"] for node in nodes), reverse=True)[:50]
    assert list(found.top_pool) == [200, 400, 450]
    assert found.top_pool[450] == pytest.approx(sum(best) / 150)


def test_ranks_of_a_random_gallery_look_random_and_of_the_best_do_not(write_release):
    nodes = faithful_search(500)
    by_fitness = [node["index"] for node in sorted(nodes, key=lambda node: -node["score"])]
    path = write_release(nodes, [member_record(i) for i in Random(1).sample(by_fitness, 60)])
    drawn = gallery_findings(read_release(path), promising=500)
    assert drawn.uniform_p > 0.05
    path = write_release(nodes, [member_record(i) for i in by_fitness[:60]])
    best = gallery_findings(read_release(path), promising=500)
    assert best.uniform_p < 1e-6
    # Only the promising can be drawn: of the best 30, all are found, evenly.
    assert gallery_findings(read_release(path), promising=30).uniform_p > 0.9
    assert (best.best_rank, best.worst_rank, best.in_top_50) == (1, 60, 50)
    assert best.rank_quartiles == (15.75, 30.5, 45.25)


def test_records_that_are_no_numbers_and_sizes_that_differ(write_release):
    gallery = [
        member_record(2, parameters="400.00M"),
        member_record(3, parameters="407.00M"),
        member_record(4, parameters="409.00M", loss=None),
    ]
    found = gallery_findings(read_release(write_release(faithful_search(210), gallery)), promising=100)
    assert found.not_a_number == {"Net4": 1}
    assert found.parameters_m == (400.0, 407.0, 409.0)
    assert found.outside_2_percent == 1
    assert found.uniform_p is None
    assert found.component_shares is None


def test_component_shares_read_code_and_not_prose():
    quotes = '"' * 3
    programs = [
        f"{quotes}A softmax router.{quotes}\nx = torch.sigmoid(y)  # entropy floor\n",
        "w = F.softmax(z / temperature, -1)",
    ]
    shares = component_shares(programs)
    assert (shares["softmax router"], shares["sigmoid gate"], shares["temperature"]) == (0.5, 0.5, 0.5)
    assert shares["entropy"] == shares["floor"] == 0.0


@pytest.mark.parametrize("gallery_file", ["106.json", "106.numbers.json"])
def test_both_forms_are_read_and_shown(write_release, gallery_file):
    full = gallery_file == "106.json"
    gallery = [member_record(i, program="x = softmax(y)" if full else None) for i in range(2, 9)]
    findings = analyse_release(write_release(faithful_search(260), gallery, gallery_file=gallery_file))
    assert json.loads(json.dumps(findings.as_dict()))["tree"]["nodes"] == 260
    text = render(findings)
    assert "260 nodes" in text
    assert "nothing to compare" in text
    assert ("softmax router 100%" in text) == full
    assert ("holds no programs" in text) != full


def test_against_the_paper(write_release):
    """A gallery made of Table 2 itself agrees with it, except for the one row that is spoilt."""
    paper = find_paper()
    rows = paper.table2[:40]
    spoilt = rows[7]
    gallery = [
        member_record(
            row.experiment_index, loss=None if row is spoilt else row.loss_340m, accuracy=row.score_340m / 100
        )
        for row in rows
    ]
    nodes = [node_record(1, None, 1.0), *(node_record(i, 1, 2 + i / 1_792) for i in range(2, 1_793))]
    nodes[-1]["parent"] = 2
    found = analyse_release(write_release(nodes, gallery), paper).paper
    assert (found.rows, found.rows_that_agree, found.disagree) == (40, 39, (spoilt.model,))
    assert found.figure1_exact < found.figure1_points
    assert -1 <= found.score_transfer.low <= found.score_transfer.rho <= found.score_transfer.high <= 1


def test_a_baseline_on_the_trend_has_no_z_and_one_off_it_has(write_release):
    paper = find_paper()
    baseline = paper.printed["stage2"]["gated_delta_net"]
    loss = paper.table2_baselines["Gated DeltaNet"].loss_340m
    rng = Random(0)
    gallery = []
    for row in paper.table2:
        record = member_record(row.experiment_index, loss=row.loss_340m)
        values = [b + 0.1 * (loss - row.loss_340m) + rng.gauss(0, 0.004) for b in baseline]
        values[0] += 0.05  # the first task is scored another way
        header, _ = record["result"]["test"].split("\n")
        record["result"]["test"] = f"{header}\nx,{','.join(map(str, values))},nan"
        gallery.append(record)
    nodes = [node_record(1, None, 1.0), *(node_record(i, 1, 2 + i / 1_792) for i in range(2, 1_793))]
    nodes[-1]["parent"] = 2
    first, *others = analyse_release(write_release(nodes, gallery), paper).paper.task_trends
    assert first.z < -8
    assert all(abs(other.z) < 3 for other in others)


class TestRefuses:
    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(EvidenceError, match="holds no release"):
            read_release(tmp_path)

    @pytest.mark.parametrize("text", ["{", "[]", '{"results": [{"index": 1}]}', '{"results": 5}', "\x00"])
    def test_another_file(self, write_release, text):
        path = write_release(faithful_search(60), [member_record(2)])
        (path / "tree.json").write_text(text)
        with pytest.raises(EvidenceError, match=r"not the released file"):
            read_release(path)

    @pytest.mark.parametrize("change", [{"parameters": "large"}, {"result": {}}, {"result": {"train": "", "test": ""}}])
    def test_another_gallery(self, write_release, change):
        path = write_release(faithful_search(60), [member_record(2) | change])
        with pytest.raises(EvidenceError, match="not the released file"):
            read_release(path)

    @pytest.mark.parametrize(
        ("nodes", "gallery", "says"),
        [
            ([node_record(1, None, 1.0), node_record(2, None, 1.0)], [], "one root"),
            ([node_record(1, None, 1.0), node_record(2, 7, 1.0)], [], r"\[2\] lack"),
            ([node_record(1, None, 1.0)], [member_record(4)], r"\[4\] their node"),
        ],
    )
    def test_a_broken_tree(self, write_release, nodes, gallery, says):
        with pytest.raises(EvidenceError, match=says):
            read_release(write_release(nodes, gallery))

    def test_a_search_without_a_second_generation(self, write_release):
        nodes = [node_record(1, None, 1.0), node_record(2, 1, 1.0), node_record(3, 1, 1.0)]
        with pytest.raises(EvidenceError, match="second generation"):
            analyse_release(write_release(nodes, [member_record(2)]))


# --- what is no release -----------------------------------------------------------------------------------------------


def in_circles(nodes, gallery):
    nodes[5]["parent"], nodes[6]["parent"] = nodes[6]["index"], nodes[5]["index"]


def its_own_parent(nodes, gallery):
    nodes[5]["parent"] = nodes[5]["index"]


def parent_without_a_number(nodes, gallery):
    nodes[5]["parent"] = {}


def giant_index(nodes, gallery):
    nodes[-1]["index"] = 2**70


def endless_fitness(nodes, gallery):
    nodes[5]["score"] = 1e999


def fitness_that_is_none(nodes, gallery):
    nodes[5]["score"] = float("nan")


def size_that_is_no_text(nodes, gallery):
    gallery[0]["parameters"] = 400


def no_discoveries(nodes, gallery):
    gallery.clear()


def program_that_is_no_text(nodes, gallery):
    gallery[0]["program"] = {"class": "Mixer"}


def sums_beyond_floats(nodes, gallery):
    for row in nodes:
        row["score"] = 1e308


@pytest.mark.parametrize(
    "spoil",
    [
        in_circles, its_own_parent, parent_without_a_number, giant_index, endless_fitness, fitness_that_is_none,
        size_that_is_no_text, no_discoveries, sums_beyond_floats,
    ],
    ids=lambda spoil: spoil.__name__,
)  # fmt: skip
def test_what_is_no_release_is_told(write_release, spoil):
    nodes, gallery = faithful_search(experiments=260), [member_record(index) for index in range(100, 108)]
    spoil(nodes, gallery)
    with pytest.raises(EvidenceError, match=r"not the released file|not what the authors|descend from themselves"):
        analyse_release(write_release(nodes, gallery))


def test_a_program_is_read_as_text(write_release):
    nodes, gallery = faithful_search(experiments=260), [member_record(index) for index in range(100, 108)]
    program_that_is_no_text(nodes, gallery)
    assert render(analyse_release(write_release(nodes, gallery)))


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff", b"3", b"{}", b'{"results": 3}', b"[1]"])
def test_damaged_release_files_are_told(write_release, content):
    folder = write_release(faithful_search(experiments=260), [member_record(index) for index in range(100, 108)])
    for name in ("tree.json", "106.json"):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        with pytest.raises(EvidenceError):
            analyse_release(folder)
        (folder / name).write_bytes(kept)


def test_a_line_of_descent_as_long_as_the_tree_is_counted_at_once(write_release):
    """Every node the child of the one before: lists of all ancestors would be the square of it."""
    nodes = [node_record(1, None, 1.0), *(node_record(i, i - 1, 1 + i / 1e5) for i in range(2, 20_001))]
    found = tree_findings(read_release(write_release(nodes, [member_record(10_000)])))
    assert found.deepest == 19_999 and found.busiest == {i: 20_000 - i for i in range(2, 7)}
    assert set(found.busiest_in_gallery.values()) == {1}
