"""What a search bought for its compute, from arrivals whose law is known."""

import pytest

from asiarc.archive.store import Archive
from asiarc.core.errors import EvidenceError
from asiarc.core.seeds import rng_of
from tests.harness.fakes import Bench, candidate, written
from tests.rigs import law


def searched(gains, cpu_s=10.0):
    """One proposal every `cpu_s`; a gain of None was not scored."""
    seen = tuple(law.Seen(cpu_s * (number + 1), gain) for number, gain in enumerate(gains))
    return law.Course(seen, {"scored": sum(gain is not None for gain in gains)})


@pytest.mark.parametrize("b", [0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_inside_its_interval_as_often_as_it_says(b):
    """Given their number, the arrivals of N(c) = a c^b are draws of U^(1/b)."""
    inside = 0
    for repeat in range(400):
        rng = rng_of("law", b, repeat)
        found = law.exponent([rng.random() ** (1 / b) for _ in range(20)], 1.0)
        inside += found.low <= b <= found.high
    assert 0.92 <= inside / 400 <= 0.98


def test_two_arrivals_tell_no_law_and_none_at_the_very_end_does():
    assert law.exponent([1.0, 2.0], 3.0) is None
    assert law.exponent([3.0] * 5, 3.0) is None


def test_the_level_is_what_one_in_a_hundred_of_random_is_ahead_of():
    random = searched([number / 1_000 for number in range(1_000)])
    found = {"asi_arch": searched([0.5, 0.995, None, 0.999]), law.RANDOM: random}
    level = law.level_of(found)
    assert len(random.arrivals(level)) == 10 and found["asi_arch"].arrivals(level) == [20.0, 40.0]
    assert law.level_of({"asi_arch": found["asi_arch"]}) == 0.0


def test_an_hour_has_what_was_proposed_in_it_and_carries_the_best():
    per_hour = law.HOUR_CPU_S / 2
    rows = law.hours(searched([0.1, None, 0.3, 0.2], per_hour), level=0.15)
    assert [(row["hour"], row["proposed"], row["scored"], row["good"], row["best"]) for row in rows] == [
        (1, 1, 1, 0, 0.1), (2, 2, 1, 1, 0.3), (3, 1, 1, 1, 0.3),
    ]  # fmt: skip


def test_the_best_of_so_many_is_an_expectation_for_random_alone():
    one = searched([0.0, 1.0])
    assert law.best_of(one, 1, exchangeable=True) == 0.5 and law.best_of(one, 1, exchangeable=False) == 0.0
    assert law.best_of(one, 3, exchangeable=True) is None


def test_a_search_is_read_from_its_archive(tmp_path):
    """Every proposal once, in order, with what it and all before it cost; who was refused has no gain."""
    sources = [candidate(f"c{i}", GAIN=0.1 * i, ID=i) for i in range(4)] + [candidate("cheat", REJECTED="causality")]
    bench = Bench(written(*sources, verify=None, confirm=None), tmp_path)
    bench.run()
    with Archive(tmp_path, write=False) as archive:
        found = law.read(archive, "question")
        run = archive.runs()[0]["run"]
        spent = sum(trial.cpu_s for trial in archive.trials(run, "explore"))
        gates = [row["cpu_s"] for row in archive.rows("SELECT cpu_s FROM admissions")]
    gains = [one.gain for one in found.seen]
    assert len(gains) == 5 and gains[4] is None and gains[:4] == sorted(gains[:4])
    assert set(gates) == {1.0} and found.cpu_s == pytest.approx(spent + 5 * 1.0)  # the refused one's, too
    assert found.ends == {"scored": 4, "refused": 1}
    text = law.markdown({"asi_arch": found})
    assert "| asi_arch | 5 | 4 | 1 | 0 |" in text and "random was not searched" in text
    law.draw(tmp_path / "law.svg", {"asi_arch": found})
    assert "<svg" in (tmp_path / "law.svg").read_text()


def test_no_search_is_told_with_the_next_step(tmp_path):
    with Archive(tmp_path) as archive, pytest.raises(EvidenceError, match="rigs discovery --search asi_arch"):
        law.read(archive, "asi_arch")
