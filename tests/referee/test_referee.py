"""A referee answers as the verbs do here, but for what teaches the noise; a kill costs nothing."""

from __future__ import annotations

import json
import socket
import threading
from itertools import count
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from asiarc import Stage
from asiarc.archive.looks import Looks
from asiarc.archive.secret import Secret, opened, read_secret, seal, secret_of
from asiarc.archive.store import Archive
from asiarc.core.errors import ArchiveError, CandidateError, EvidenceError, RefereeError
from asiarc.engineer.sealed import SealedWorkshop, workshop_of
from asiarc.engineer.workshop import Request, Workshop
from asiarc.harness import wire
from asiarc.harness.cli import main
from asiarc.harness.desk import Desk
from asiarc.harness.referee import (
    Caller,
    Referee,
    Server,
    read_tokens,
    require_private,
    require_unwritable,
    unix_listener,
)
from asiarc.loop.door import Door
from asiarc.loop.feedback import Laddered
from asiarc.loop.run import Run
from asiarc.report import ground

from ..harness.fakes import MICRO, FakeExecutor, campaign, candidate, still
from ..harness.test_door import SIXTEEN, Doors
from ..harness.test_door import opened as open_campaign
from ..llm.laboratory import fingerprinted
from .conftest import TOKEN, told_by_child


@pytest.fixture
def typed(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*words, status=0):
        done = CliRunner().invoke(main, [*words, "--referee", str(project.socket)], env={"COLUMNS": "200"})
        assert done.exit_code == status, (done.output, done.exception)
        return json.loads(done.stdout) if "--json" in words else done.output

    return SimpleNamespace(call=call, folder=tmp_path)


def test_the_verbs_of_the_door_ask_the_referee(typed):
    mixer = typed.folder / "mixer.py"
    mixer.write_text(candidate("of the verbs", GAIN=0.25))
    words = ("propose", "mixer.py", "--campaign", "question", "--author", "agent 7")
    told = typed.call(*words)
    assert ": ahead" in told and "over delta_net: +0.2" in told and "left: " in told and "seeds" not in told
    assert "the same program as #" in typed.call(*words)
    typed.call("tried", "mixer.py", "--campaign", "question", status=3)
    assert "asiarc propose FILE --campaign question" in typed.call("brief", "question")
    assert "of_the_verbs" in typed.call("standings", "question") or "mixer_" in typed.call("standings", "question")
    assert not (typed.folder / ".asiarc").exists(), "nothing is kept on the agent's side"
    assert "Did you mean 'question'" in typed.call("brief", "quest", status=1)
    mixer.write_text(candidate("leaks", REJECTED="causality"))
    assert "causality: it looks ahead" in typed.call(*words, status=5)


def test_the_shape_is_the_desks_own(tmp_path, project):
    """The same keys whether it is asked here or there; hidden numbers are empty, not missing."""
    bench = at_smoke(tmp_path)
    here = bench.at_the_door(lambda door: Desk(door).propose({"a.py": SIXTEEN[0]}, parent="", idea="", author="me"))
    there = project.propose(SIXTEEN[0])
    assert there.keys() == here["proposals"][0].keys()
    assert (there["rung"], there["trials"], there["tokens"]) == (-1, 0, 0)


def test_a_killed_referee_goes_on(project):
    first = project.propose(candidate("before the kill", GAIN=0.01))
    before = project.ask("standings")
    project.kill()
    with pytest.raises(RefereeError, match=r"no referee answers at .*asiarc referee"):
        project.ask("standings")
    commitment = project.commitment
    project.start()
    assert project.commitment == commitment
    assert project.ask("standings") == before
    again = project.propose(candidate("before the kill", GAIN=0.01))
    assert again | {"known_as": None} == first | {"known_as": None}
    assert again["known_as"]["number"] == first["number"]


# --- the ledger -------------------------------------------------------------------------------------------------------


def at_smoke(tmp_path):
    asked = open_campaign(16, explore=Stage(tasks=("text",), seeds=3), policy="best_of_n")
    return Doors(asked, tmp_path, tier="smoke")


def laddered(tmp_path, *sources, then=lambda desk: desk.standings("somebody")):
    bench = at_smoke(tmp_path)

    def play(door):
        desk = Desk(door, Laddered)
        for source in sources:
            desk.propose({"a.py": source}, parent="", idea="", author="an agent")
        return then(desk)

    return bench.at_the_door(play, FakeExecutor(ends=fingerprinted))


def test_only_who_climbs_is_told_a_number(tmp_path):
    sources = [candidate(f"c{i}", GAIN=gain) for i, gain in enumerate((0.0, 0.3, 0.29, 0.1, 0.9, -0.5))]
    found = laddered(tmp_path, *sources)
    words = {one["number"]: (one["word"], bool(one["scores"])) for one in found}
    assert words[1] == words[4] == ("ahead", True)
    assert all(words[n] == ("not told apart", False) for n in (0, 2, 3, 5))
    (score,) = next(one for one in found if one["number"] == 4)["scores"]
    assert 0.3 < score["low"] < 0.9 < score["high"] and score["look"] == 5 and score["where"] == ""


def test_every_answer_is_a_look_and_what_was_told_stays(tmp_path):
    sources = [candidate(f"c{i}", GAIN=0.3 * i) for i in range(3)]

    def look_again(desk):
        first = desk.standings("somebody")
        assert desk.standings("somebody else") == first
        return Looks(desk.door.archive, desk.door.run.run).rows()

    rows = laddered(tmp_path, *sources, then=look_again)
    assert [(row["verb"], row["author"]) for row in rows] == [
        *[("propose", "an agent")] * 3, ("standings", "somebody"), ("standings", "somebody else"),
    ]  # fmt: skip
    assert [len(row["fresh"]) for row in rows] == [1, 1, 1, 0, 0] and len(rows[-1]["again"]) == 3
    assert all({"address", "where", "look"} <= row["fresh"][0].keys() for row in rows[:3])


def test_a_brief_tells_no_more_than_the_ladder(tmp_path):
    sources = [candidate("told", GAIN=0.3), candidate("hidden", GAIN=0.21), candidate("worse", GAIN=-0.2)]
    told = laddered(tmp_path, *sources, then=lambda desk: desk.brief("somebody"))
    context = told["context"]
    assert context["parent"]["name"].startswith("a_") and "it is ahead of delta_net by +0.2" in told["brief"]
    assert "hidden" not in told["brief"] and context["belief"] is None and not context["siblings"]
    assert not context["parent"]["scores"] and all(not one["standing"] for one in context["terms"]["baselines"])


def test_here_intervals_are_widened_for_the_looks(tmp_path):
    bench = at_smoke(tmp_path)

    def play(door):
        desk = Desk(door)
        answers = [
            desk.propose({"a.py": candidate(f"c{i}", GAIN=0.1)}, parent="", idea="", author="me") for i in range(3)
        ]
        return [one["proposals"][0]["scores"][0] for one in answers], desk.standings("me")

    scores, table = bench.at_the_door(play)
    assert [score["look"] for score in scores] == [1, 2, 3]
    assert sorted(one["scores"][0]["look"] for one in table) == [1, 2, 3]


# --- the secret -------------------------------------------------------------------------------------------------------


def trained(tmp_path, *, with_secret):
    """The seeds and items of a run's trials, by stage, and the archive's provenance."""
    executor = FakeExecutor()
    with still(), Archive(tmp_path) as archive:
        if with_secret:
            seal(archive)
        run = Run(open_campaign(4, confirm=campaign().confirm), "question", "quick", archive,
                  workshop_of(archive, executor), lambda _: None)  # fmt: skip
        door = Door(run)
        door.propose(SIXTEEN[0], door.walk(), author="me")
        for stage in ("explore", "verify", "confirm"):
            run.ensure(stage)
        provenance = archive.run(run.run)["provenance"]
        rows = archive.trials(run.run)
        return executor.trials, provenance, run.run, rows


def test_verify_and_confirm_are_drawn_with_the_secret_and_nothing_else_is(tmp_path):
    plain, _, name, rows = trained(tmp_path / "plain", with_secret=False)
    sealed, provenance, same_name, sealed_rows = trained(tmp_path / "sealed", with_secret=True)
    secret = secret_of(tmp_path / "sealed")
    assert name == same_name and provenance["seal"] == secret.commitment
    assert {t.seed for t in rows if t.stage == "explore"} == {t.seed for t in sealed_rows if t.stage == "explore"}
    due = {t.seed for t in rows if t.stage != "explore"}
    assert {t.seed for t in sealed_rows if t.stage != "explore"} == {secret.sealed(seed) for seed in due}
    items = {t["items"] for t in sealed if "explore" not in t["seed"]}
    assert items == {secret.sealed(f"{stage} items") for stage in ("verify", "confirm")}
    assert {t["items"] for t in plain} == {f"{stage} items" for stage in ("explore", "verify", "confirm")}


def test_a_report_is_held_against_the_secret_once_it_is_told(tmp_path):
    """Rows that the secret gives are in order with and without it; another secret's, or one bent seed, are told."""
    trained(tmp_path, with_secret=True)
    secret = secret_of(tmp_path)
    with still(), Archive(tmp_path) as archive:
        (row,) = archive.runs()
        assert list(ground._campaign(archive, row)) == [] == list(ground.unsealed(archive, secret))
        problems = list(ground.unsealed(archive, Secret(b"2" * 32)))
        assert "committed to" in problems[0] and len(problems) > 2
        archive._execute("UPDATE trials SET seed = '0/confirm/0' WHERE seed LIKE '0/confirm/0%'")
        assert "the seed 0/confirm/0 does not come from the secret" in next(ground.unsealed(archive, secret))
        archive._execute("UPDATE trials SET seed = '0/confirm/7' WHERE seed LIKE '0/confirm/0%'")
        assert any("seeds on text" in line for line in ground._campaign(archive, row))


def test_another_secret_draws_other_seeds():
    one, other = Secret(b"1" * 32), Secret(b"2" * 32)
    assert one.sealed("0/verify/0") != other.sealed("0/verify/0") and one.commitment != other.commitment
    assert one.sealed("0/verify/0") == one.sealed("0/verify/0") != one.sealed("0/verify/1")
    assert opened(one.sealed("0/verify/0")) == "0/verify/0"


def test_a_request_without_a_secret_keeps_its_key(tmp_path):
    request = Request("a", candidate("a"), "text", "verify", "0/verify/0", MICRO, None, "validation", 8)
    with still(), Archive(tmp_path) as archive:
        assert type(workshop_of(archive, FakeExecutor())) is Workshop
        shop = SealedWorkshop(archive, FakeExecutor(), Secret(b"1" * 32))
        assert shop._sealed(request).key != request.key
        assert shop._sealed(request).payload["seed"] != request.payload["seed"]


def test_a_secret_comes_before_anything_is_verified_and_is_its_owners_alone(tmp_path):
    trained(tmp_path / "late", with_secret=False)
    with Archive(tmp_path / "late") as archive, pytest.raises(EvidenceError, match="a secret comes before"):
        seal(archive)
    with Archive(tmp_path / "new") as archive:
        first = seal(archive)
        assert seal(archive) == first
    file = tmp_path / "new" / "secret.key"
    assert file.stat().st_mode & 0o777 == 0o600 and read_secret(file) == first
    file.chmod(0o644)
    with pytest.raises(ArchiveError, match="no secret; chmod 600"):
        secret_of(tmp_path / "new")
    file.write_text("ab")
    with pytest.raises(EvidenceError, match="1 bytes, a secret has 32"):
        read_secret(file)


# --- the wire ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair():
    """Both ends of a connection."""
    mine, other = socket.socketpair()
    with mine, other:
        yield mine, other


def test_a_slow_writer_is_cut_off_by_the_clock_of_the_whole_request(pair):
    mine, other = pair
    seconds = count(step=2.0)
    with pytest.raises(RefereeError, match="no whole request within 10 s"):
        wire.read_line(other, 10.0, clock=lambda: (mine.send(b" "), next(seconds))[1])


@pytest.mark.parametrize("said", [b'{"a": 1}\n', b"{}"])
def test_one_line_is_read(pair, said):
    mine, other = pair
    mine.sendall(said)
    mine.shutdown(socket.SHUT_WR)
    assert wire.read_line(other, 5.0) == said


def test_two_lines_are_none(pair):
    pair[0].sendall(b"{}\n{}\n")
    with pytest.raises(RefereeError, match="two requests in one"):
        wire.read_line(pair[1], 5.0)


def test_a_line_that_never_ends_is_cut_off(pair, monkeypatch):
    monkeypatch.setattr(wire, "MOST_BYTES", 1_000)
    pair[0].sendall(b"x" * 2_000)
    with pytest.raises(RefereeError, match="more than 1,000 bytes"):
        wire.read_line(pair[1], 5.0)


def test_requests_are_answered_in_the_order_in_which_they_were_whole(pair):
    seen, clock = [], iter([0.0, 2.3, 10.0, 10.9]).__next__
    paused = []
    server = Server(SimpleNamespace(line=lambda line, who: seen.append((line, who)) or b"{}\n"),
                    clock=clock, pause=paused.append)  # fmt: skip
    for connection, number in zip(pair, (b"1", b"2"), strict=True):
        server._queue.put(Caller("nobody", "nobody", connection, number))
    server.stop()
    server.serve()
    assert seen == [(b"1", "nobody"), (b"2", "nobody")]
    assert paused == [pytest.approx(0.7), pytest.approx(0.1)], "an answer leaves at a whole tick"


def test_over_tcp_a_token_says_who_asks(tmp_path, monkeypatch):
    tokens = tmp_path / "tokens"
    tokens.write_text(f"afar {TOKEN.replace(' ', '_')}\n")
    tokens.chmod(0o644)
    with pytest.raises(RefereeError, match="chmod 600"):
        read_tokens(tokens)
    tokens.chmod(0o600)
    server = Server(SimpleNamespace(line=lambda line, who: json.dumps({"answer": who}).encode() + b"\n"),
                    tokens=read_tokens(tokens), pause=lambda _: None)  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = f"127.0.0.1:{listener.getsockname()[1]}"
        server.listen(listener)
        threading.Thread(target=server.serve, daemon=True).start()
        monkeypatch.delenv(wire.TOKEN, raising=False)
        with pytest.raises(RefereeError, match=f"{wire.TOKEN} names the file"):
            wire.ask(where, {"verb": "brief"})
        mine = tmp_path / "mine"
        mine.write_text(TOKEN.replace(" ", "_"))
        monkeypatch.setenv(wire.TOKEN, str(mine))
        assert wire.ask(where, {"verb": "brief"}) == "afar"
        mine.write_text("a token that nobody has")
        with pytest.raises(RefereeError, match="nobody's token"):
            wire.ask(where, {"verb": "brief"})
        server.stop()


def test_an_error_over_the_wire_is_the_error_it_was():
    with pytest.raises(CandidateError, match=r"^no text$"):
        wire._answer(b'{"error": ["CandidateError", "no text"]}', "x")
    for forged in ('["os", "x"]', '["annotations", "x"]', '["nearest", "x"]'):
        with pytest.raises(RefereeError, match=r"^x$"):
            wire._answer(f'{{"error": {forged}}}'.encode(), "x")
    for said in (b"", b"[]", b"{}", b"nonsense", b"[" * 100_000):
        with pytest.raises(RefereeError, match="hung up or does not speak"):
            wire._answer(said, "x")


# --- what has to hold before it stands --------------------------------------------------------------------------------


def test_a_store_that_others_may_read_is_refused(tmp_path):
    store = tmp_path / "store"
    require_private(store, "the store")
    assert store.stat().st_mode & 0o777 == 0o700
    store.chmod(0o750)
    with pytest.raises(RefereeError, match=r"mode 750 .*chmod 700"):
        require_private(store, "the store")
    (tmp_path / "link").symlink_to(store)
    store.chmod(0o700)
    with pytest.raises(RefereeError, match="link"):
        require_private(tmp_path / "link", "the store")
    tmp_path.chmod(0o777)
    with pytest.raises(RefereeError, match=r"others may write in .* and replace the store"):
        require_private(store, "the store")


def test_code_that_others_may_change_is_refused(tmp_path):
    file = tmp_path / "campaign_x.py"
    file.write_text("")
    file.chmod(0o644)
    require_unwritable({"the campaign": file})
    file.chmod(0o666)
    with pytest.raises(RefereeError, match=r"can be changed by others .*chmod go-w"):
        require_unwritable({"the campaign": file})


def test_a_socket_is_made_where_nobody_can_replace_it(tmp_path):
    path = tmp_path / "s"
    first = unix_listener(path)
    with pytest.raises(RefereeError, match=r"listens at .* already"):
        unix_listener(path)
    first.close()
    unix_listener(path).close()  # of one that was killed
    path.unlink()
    path.write_text("a file of somebody's")
    with pytest.raises(RefereeError, match="no socket can be made"):
        unix_listener(path)
    assert path.read_text()
    tmp_path.chmod(0o777)
    with pytest.raises(RefereeError, match="replace the socket"):
        unix_listener(tmp_path / "other")


def test_the_verb_shuts_the_store_and_says_what_it_committed_to(tmp_path, monkeypatch):
    """As it is typed; it has its own umask and cache from then on, so it plays in a child."""
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASIARC_CACHE", raising=False)
    monkeypatch.setattr(Server, "serve", lambda _: None)
    words = ["referee", "--socket", str(tmp_path / "s"), "--store", str(tmp_path / "store"), "--json"]
    done = told_by_child(lambda: CliRunner().invoke(main, words).stdout)
    said = json.loads(done["returned"])
    assert said["commitment"] == secret_of(tmp_path / "store").commitment and said["tier"] == "smoke"
    assert {path: path.stat().st_mode & 0o777 for path in (tmp_path / "store", tmp_path / "store" / "cache")} == {
        tmp_path / "store": 0o700, tmp_path / "store" / "cache": 0o700,
    }  # fmt: skip
    assert not (tmp_path / "s").exists(), "and takes its socket along"
    (tmp_path / "store").chmod(0o755)
    done = told_by_child(lambda: CliRunner().invoke(main, words).output)
    assert "asiarc: the store" in done["returned"] and "chmod 700" in done["returned"]
    assert "--listen and --tokens go together" in CliRunner().invoke(main, [*words, "--listen", "127.0.0.1:0"]).output


def test_a_verdict_can_be_left_to_the_owner():
    referee = Referee(lambda _: pytest.fail("no door is opened"), decides=False)
    with pytest.raises(RefereeError, match="the owner of this referee says when"):
        referee.answer({"verb": "verdict", "campaign": "question"}, "nobody")
