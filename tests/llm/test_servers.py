"""Servers as they are: what they refuse, where they lie, in which form they answer, and what they say it cost."""

from __future__ import annotations

import gzip
import itertools
import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asiarc.campaign.declaration import Campaign, Models
from asiarc.core.errors import AsiarcError, CampaignError
from asiarc.llm import Client, Ledger, Message, ModelError, Price, Question, UnusableReplyError
from asiarc.llm.address import can_be_key, is_loopback, key_from, moved_to, sound_key, sound_url
from asiarc.llm.client import Ask
from asiarc.llm.endpoint import Endpoint
from asiarc.llm.exchange import Exchange, Reply
from asiarc.llm.streams import Heard, events
from asiarc.llm.tape import MemoryTape
from tests.rigs.llm.loopback import Server, breaks_off, drips, embeds, fails, says, stalls

KEY = "sk-ab12cd34ef56gh78ij90"
SENT = {"seed", "temperature", "response_format", "stream_options", "frequency_penalty"}


class Asked:
    """One question to a server that plays a script: how it `ended`, what was said, booked and kept."""

    def __init__(self, *script, path="/v1", key=KEY, role="researcher", **settings):
        self.said, self.tape, self.ledger = [], MemoryTape(), Ledger({"m": Price(1.0, 1.0)})
        with Server(script, models=("m",)) as server:
            url = settings.pop("url", server.url.removesuffix("/v1") + path)
            self.endpoint = Endpoint(url, key, sleep=lambda _: None, **{"silence_s": 5.0, **settings})
            client = Client(
                self.tape, self.ledger, "record", self.endpoint, frequency_penalty=0.5, say=self.said.append
            )
            question = Question(
                role=role,
                model="m",
                messages=(Message("user", "Say yes."),),
                max_tokens=50,
                temperature=0.7,
                schema={"type": "object"},
            )
            try:
                self.ended = client.ask(Ask(question, str, "0 propose"))
            except AsiarcError as error:
                self.ended = error
            self.requests = server.requests

    @property
    def reply(self):
        return list(self.tape.exchanges.values())[-1].reply


def whole(value, status=200, **headers):
    return lambda handler: handler.whole(status, value, **headers)


def event_stream(*lines, end="\n\n", before=""):
    data = (before + "".join(line + end for line in lines)).encode()
    return whole(data, content_type="text/event-stream")


def chunk(delta=None, finish=None, **more):
    choices = [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    return "data: " + json.dumps({"choices": choices} | more)


def refuses_fields(*fields, status=400, tell='Unknown name "{}": Cannot find field.'):
    """A server that takes no request with one of some fields, and names the first."""

    def answer(handler):
        there = next((name for name in fields if name in handler.body), "")
        told = tell(there) if callable(tell) else {"error": {"message": tell.format(there)}}
        (whole(told, status) if there else says("yes"))(handler)

    return answer


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", [*sorted(SENT), "stream"])
@pytest.mark.parametrize(
    ("status", "tell"),
    [
        (400, "Unsupported parameter: '{}' is not supported with this model."),
        (
            422,
            lambda name: {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", name],
                        "msg": "not permitted",
                        "input": {"seed": 1, "temperature": 1, "stream_options": 1},
                    }
                ]
            },
        ),
        (400, lambda name: {"error": {"message": "Bad value.", "param": name}}),
        (400, lambda name: {"message": f"property {name} is not allowed"}),
        (400, lambda name: f"unrecognised: {name}"),
        (500, "create() got an unexpected keyword argument '{}'"),
        (400, "Bad Request"),
    ],
    ids=["openai", "fastapi", "param", "message", "text", "crash", "unnamed"],
)
def test_what_a_server_refuses_is_left_out_and_that_is_said_once(field, status, tell):
    if (field, tell) == ("stream", "Bad Request"):
        return  # without a word, only what is optional is tried
    asked = Asked(refuses_fields(field, status=status, tell=tell))
    assert asked.ended == "yes"
    sent = asked.requests[-1].keys()
    assert field not in sent and sent >= SENT - {field, "stream_options"} and "max_tokens" in sent
    assert len(asked.said) == 1 and field in asked.said[0]


def test_what_was_learned_holds_for_the_next_question_and_for_many_at_once():
    said = []
    with Server((refuses_fields("seed", "temperature"),)) as server:
        client = Client(MemoryTape(), Ledger({"m": Price(0, 0)}), "record", Endpoint(server.url), say=said.append)

        def ask(n):
            messages = (Message("user", "x"),)
            question = Question(role="judge", model="m", messages=messages, max_tokens=5, temperature=1.0, seed=n)
            return Ask(question, str, f"{n} judge")

        assert client.ask_all([ask(n) for n in range(8)]) == ["yes"] * 8
        before = len(server.requests)
        assert client.ask(ask(9)) == "yes" and len(server.requests) == before + 1
    assert len(said) <= 2 and sum("seed" in line for line in said) == 1 == sum("temperature" in line for line in said)


@pytest.mark.parametrize(
    ("setting", "field"), [("temperatures=()", "temperature"), ("structured=False", "response_format")]
)
def test_the_setting_that_sends_no_such_thing_is_named(setting, field):
    assert setting in Asked(refuses_fields(field)).said[0]


@pytest.mark.parametrize("tell", ["'{}' is not supported. Use 'max_completion_tokens' instead.", "Bad Request"])
def test_the_limit_is_renamed_and_never_left_out(tell):
    asked = Asked(refuses_fields("max_tokens", tell=tell))
    assert asked.ended == "yes" and asked.requests[-1]["max_completion_tokens"] == 50
    assert "max_tokens is renamed" in asked.said[0]
    neither = Asked(refuses_fields("max_tokens", "max_completion_tokens", tell=tell))
    assert isinstance(neither.ended, ModelError) and neither.ended.fault == "bad request"
    assert all({"max_tokens", "max_completion_tokens"} & request.keys() for request in neither.requests)


@pytest.mark.parametrize(
    "told",
    [
        "max_tokens is too large: 50. This model supports at most 20",
        "This model's maximum context length is 20 tokens, however you requested 60",
        "'max_tokens' or 'max_completion_tokens' is too large: 50",
    ],
)
def test_a_limit_that_is_too_large_is_no_wrong_name(told):
    asked = Asked(fails(400, told))
    assert isinstance(asked.ended, ModelError) and "reply_tokens" in str(asked.ended) and len(asked.requests) == 1


def test_what_is_refused_for_another_reason_ends_as_it_did():
    asked = Asked(fails(400, "Your account is not active"))
    assert asked.ended.fault == "bad request" and "not active" in str(asked.ended) and asked.said == []


def test_a_server_that_names_one_thing_and_refuses_another_without_a_word_is_met_too():
    def answer(handler):
        named, unnamed = "seed" in handler.body, "temperature" in handler.body
        (fails(400, "no seed, please") if named else fails(400, "no") if unnamed else says("yes"))(handler)

    asked = Asked(answer)
    assert asked.ended == "yes" and {"response_format", "stream_options"} < asked.requests[-1].keys()


def test_a_refusal_inside_of_a_good_response_counts_too():
    error = {"error": {"code": 400, "message": "seed is not supported"}}
    assert Asked(whole(error), says("yes")).ended == "yes"
    assert Asked(event_stream("data: " + json.dumps(error)), says("yes")).ended == "yes"


# --- where it lies ----------------------------------------------------------------------------------------------------


def only_under_v1(handler):
    (says("yes") if handler.path == "/v1/chat/completions" else whole(b"404 page not found", 404))(handler)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/v1",
        "/v1/",
        "/v1//",
        "/v1/chat/completions",
        "/v1/chat/completions/",
        "/v1/completions",
        "/v1/models",
        "/v1/embeddings",
        "/chat/completions",
    ],
)
def test_an_address_that_is_nearly_right_is_understood(path):
    asked = Asked(only_under_v1, path=path)
    assert asked.ended == "yes"
    assert len(asked.said) == (0 if path.startswith("/v1") else 1)


def test_an_address_that_is_wrong_is_told_from_a_model_that_is_not_there():
    lost = Asked(whole(b"404 page not found", 404), path="/api/v2")
    assert lost.ended.fault == "wrong address" and "/api/v2" in str(lost.ended)
    assert Asked(whole({"detail": "Not Found"}, 404)).ended.fault == "wrong address"
    assert Asked(whole(b"<html>no model here</html>", 405)).ended.fault == "wrong address"
    unknown = Asked(whole({"error": "model 'm' not found, try pulling it first"}, 404), path="")
    assert unknown.ended.fault == "unknown model" and "It offers: m" not in str(lost.ended)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "ftp://x/v1",
        "http://a b/v1",
        "http://host:port/v1",
        "http://[::1/v1",
        "https://user:secret@host/v1",
        "http://host/v1?key=1",
        "http://é€/v1",
        "http://host:99999/v1",
    ],
)
def test_what_is_no_address_is_refused_before_anything_is_sent(url):
    ended = Asked(says("yes"), url=url).ended
    assert isinstance(ended, ModelError) and ended.fault == "wrong address" and "secret" not in str(ended)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("localhost:8000", "http://localhost:8000"),
        (" http://h/v1/ \n", "http://h/v1"),
        ("api.openai.com/v1", "https://api.openai.com/v1"),
        ("gpu-7:8000/v1/chat/completions", "http://gpu-7:8000/v1"),
        ("[::1]:80/v1", "http://[::1]:80/v1"),
        ("https://h/api/v3", "https://h/api/v3"),
    ],
)
def test_the_address_that_is_meant(given, meant):
    assert sound_url(given) == meant


def redirects(location, status=308):
    return lambda handler: (
        says("yes") if handler.path == "/right/chat/completions" else whole(b"", status, location=location)
    )(handler)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_on_the_same_host_is_followed_with_the_question(status):
    asked = Asked(redirects("/right/chat/completions", status))
    assert asked.ended == "yes" and asked.requests[-1]["messages"] and "/right" in asked.said[0]


def test_a_redirect_to_another_host_is_named_and_not_followed():
    with Server((says("stolen"),)) as other:
        asked = Asked(redirects(f"http://localhost:{other.server_port}/right/chat/completions"))
        assert other.requests == []
    assert asked.ended.fault == "wrong address" and "localhost" in str(asked.ended)
    assert Asked(redirects("/v1/chat/completions")).ended.fault == "wrong address"  # for ever


@pytest.mark.parametrize(
    ("location", "base"),
    [
        ("https://h/v1/chat/completions", "https://h/v1"),
        ("https://h:8443/v1/chat/completions", "https://h:8443/v1"),
        ("//h/v2/chat/completions/", "http://h/v2"),
        ("http://h:81/v1/chat/completions", None),
        ("https://h.evil/v1/chat/completions", None),
        ("https://h@evil/v1/chat/completions", None),
        ("https://x@h/v1/chat/completions", None),
        ("https://h/login", None),
        ("https://[/chat/completions", None),
        ("", "http://h/v1"),
    ],
)
def test_where_a_redirect_may_lead(location, base):
    assert moved_to("http://h/v1", location, "/chat/completions") == base
    assert moved_to("https://h/v1", "http://h/v1/chat/completions", "/chat/completions") is None


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "not a proxy"])
def test_this_machine_is_reached_past_any_proxy(monkeypatch, proxy):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    assert Asked(says("yes")).ended == "yes"


@pytest.mark.parametrize("proxy", ["gopher://127.0.0.1:9", "http://host:port", "http://é€:1"])
def test_a_proxy_that_cannot_be_used_is_named(monkeypatch, proxy):
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    asked = Asked(says("yes"), url="https://models.invalid/v1")
    assert asked.ended.fault == "unreachable" and "proxy" in str(asked.ended)


@pytest.mark.parametrize(
    ("host", "near"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("0.0.0.0", True),
        ("a.localhost", True),
        ("127.0.0.1.evil.com", False),
        ("localhost.evil.com", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_what_this_machine_is(host, near):
    assert is_loopback(host) == near


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["sk-test\n", "  sk-test", "\tsk-test \r\n"])
def test_white_space_round_a_key_is_none_of_it(key):
    assert sound_key(key) == "sk-test" and Asked(says("yes"), key=key).ended == "yes"


@pytest.mark.parametrize(
    "key", ["sk test", "sk-té", "\ufeffsk-test", "sk-test\u200b", "a\nb", "Bearer x", "sk\x00", "“sk”"]
)
def test_a_key_that_no_header_carries_is_named_before_anything_is_sent(key):
    asked = Asked(says("yes"), key=key)
    assert asked.ended.fault == "key rejected" and "key" in str(asked.ended) and asked.requests == []
    assert key not in str(asked.ended)


def test_a_blank_key_is_none():
    assert key_from({"ASIARC_API_KEY": " \n", "OPENAI_API_KEY": "b"}) == "b" and sound_key(" ") is None


@pytest.mark.parametrize(
    "key",
    [
        "x",
        "key",
        "local",
        "none",
        "EMPTY",
        "not-needed",
        "lm-studio",
        "self",
        "nn.Module",
        "gated_delta_net_v2",
        "linear_attention_state",
        "a" * 40,
        "1" * 30,
    ],
)
def test_a_placeholder_is_a_word_like_any_other(key):
    code = f"import x\nself.local = nn.Module(key, 'EMPTY')  # none, not-needed: {key}"
    assert not can_be_key(key) and Asked(says(code), key=key).ended == code


@pytest.mark.parametrize(
    "key", [KEY, "sk-proj-Ab3dEf6hIj9LmN2p", "hf_AbCdEfGhIjKlMn012345", "d41d8cd98f00b204e9800998ecf8427e"]
)
def test_what_can_be_a_key_is_masked(key):
    assert can_be_key(key) and Asked(says(f"You sent {key}."), key=key).ended == "You sent (the key)."


# --- in which form it answers -----------------------------------------------------------------------------------------

MESSAGE = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}]}
CALL = [{"index": 0, "id": "c", "type": "function", "function": {"name": "answer", "arguments": '{"a": 1}'}}]
PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "no"}]}, {"type": "text", "text": "yes"}]
YES, STOP = chunk({"content": "yes"}), chunk(finish="stop")


@pytest.mark.parametrize(
    "answer",
    [
        whole(MESSAGE),
        whole(json.dumps(MESSAGE, indent=2).replace("\n", "\r\n").encode()),
        whole(MESSAGE, content_type="text/event-stream"),
        whole({"choices": [{"text": "yes", "finish_reason": "stop"}]}),
        whole({"response": "yes", "done": True}),
        whole({"output_text": "yes"}),
        whole({"message": {"role": "assistant", "content": "yes"}, "done": True, "done_reason": "stop"}),
        whole({"type": "message", "content": [{"type": "text", "text": "yes"}], "stop_reason": "end_turn"}),
        whole(b'{"message": {"content": "y"}}\n{"message": {"content": "es"}, "done_reason": "stop"}\n'),
        whole({"choices": [{"message": {"content": PARTS}, "finish_reason": "stop"}]}),
        event_stream(YES, STOP, "data: [DONE]"),
        event_stream(YES, STOP),
        event_stream(YES, "data: [DONE]", "data: {broken"),
        event_stream(YES, STOP, "data: [DONE]", end="\r\n\r\n"),
        event_stream(YES, STOP, "data: [DONE]", end="\r\r"),
        event_stream(YES, STOP, "data: [DONE]", end="\n"),
        event_stream(YES, STOP, before="\ufeff: hello\n\nevent: x\nid: 1\nretry: 5\n"),
        event_stream(YES.replace(", ", ",\ndata: "), STOP),
        event_stream(YES.replace("data: ", "data:"), STOP),
        event_stream(": ping", "data:", YES, ": ping", STOP),
        event_stream(chunk({"content": "y"}), chunk({"content": "es"}), STOP),
        event_stream(chunk({"content": "yes"}, finish="stop"), chunk({"content": None})),
        event_stream(chunk({"content": PARTS}), STOP),
        event_stream(chunk({"reasoning_content": "no"}), YES, STOP),
        event_stream(chunk({"reasoning_content": "yes"}), STOP),
        event_stream(chunk({"reasoning": "yes", "reasoning_content": "yes"}), STOP),
        event_stream(YES, chunk({"content": "no"}).replace('"index": 0', '"index": 1'), STOP),
        event_stream('data: {"choices": null}', "data: []", "data: 7", YES, 'data: {"choices": [null, 3]}', STOP),
    ],
    ids=itertools.count(),
)
def test_an_answer_is_found_in_every_form(answer):
    asked = Asked(answer)
    assert asked.ended == "yes" and len(asked.requests) == 1 and asked.reply.fault is None


@given(st.integers(1, 7), st.sampled_from(["\n", "\r", "\r\n"]))
@settings(max_examples=20)
def test_a_stream_reads_the_same_however_its_bytes_are_cut(size, end):
    text = "".join(line + 2 * end for line in (chunk({"content": "yé𝄞s"}), STOP, "data: [DONE]")).encode()
    heard = Heard()
    for event in events(text[i : i + size] for i in range(0, len(text), size)):
        heard.take(event)
    assert heard.ending() == ("yé𝄞s", None, "")


def test_halves_of_a_character_are_joined_and_lone_ones_replaced():
    halves = [chunk({"content": "PLACE"}).replace("PLACE", half) for half in ("\\ud834", "\\udd1e", "\\ud834")]
    assert Asked(event_stream(*halves, STOP)).ended == "𝄞\N{REPLACEMENT CHARACTER}"


def test_an_answer_that_was_parsed_for_us_is_text_again():
    assert Asked(whole({"choices": [{"message": {"content": {"a": [1]}}}]})).ended == '{"a": [1]}'


@pytest.mark.parametrize("finish", ["tool_calls", "stop"])
def test_a_call_of_a_tool_is_read_or_named_with_the_setting(finish):
    assert Asked(event_stream(chunk({"tool_calls": CALL}), chunk(finish=finish))).ended == '{"a": 1}'
    assert Asked(whole({"choices": [{"message": {"tool_calls": CALL}, "finish_reason": finish}]})).ended == '{"a": 1}'
    empty = json.loads(json.dumps(CALL).replace('{\\"a\\": 1}', "{}"))
    asked = Asked(event_stream(chunk({"tool_calls": empty}), chunk(finish=finish)))
    assert isinstance(asked.ended, UnusableReplyError) and asked.ended.fault == "tool call"
    assert "'answer'" in str(asked.ended) and "structured=False" in str(asked.ended)
    assert "no tools" not in asked.requests[0]["messages"][-1]["content"] and len(asked.requests) == 2
    assert "there are none" in asked.requests[1]["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("answer", "fault", "words"),
    [
        (event_stream(chunk({"reasoning_content": "hm"}), chunk(finish="length")), "truncated", "reply_tokens"),
        (whole(b"<html>welcome</html>"), "broken replies", "<html>welcome"),
        (event_stream("data: {}"), "broken replies", "empty"),
        (event_stream(YES, "data: {broken", STOP), "broken replies", "begins '{broken'"),
        (whole(b"[" * 100_000), "broken replies", "no JSON"),
        (event_stream("data: " + "[" * 100_000), "broken replies", "no JSON"),
        (event_stream(YES, chunk(finish="error")), "broken replies", "cut"),
        (event_stream(YES), "broken replies", "cut"),
        (breaks_off("yes, surely"), "broken replies", "cut"),
        (event_stream("event: error", 'data: {"message": "out of memory"}', end="\n"), "server error", "out of memory"),
        (whole({"error": {"message": "busy", "code": 503}}), "server error", "busy"),
        (whole({"error": "overloaded"}), "server error", "overloaded"),
    ],
    ids=itertools.count(),
)
def test_what_holds_no_answer_is_named(answer, fault, words):
    ended = Asked(answer).ended
    assert ended.fault == fault and words in str(ended)


def test_a_silent_model_is_named_with_the_setting_by_role():
    asked = Asked(stalls("yes"), silence_of={"researcher": 0.1})
    assert asked.ended.fault == "broken replies" and "silence_s={'researcher'" in str(asked.ended)
    patient = Asked(says("yes"), silence_s=0.001, silence_of={"researcher": 9.0})
    assert patient.ended == "yes"
    endless = Asked(drips("yes"), longest_of={"researcher": 0.1})
    assert endless.ended.fault == "broken replies" and "longest_s" in str(endless.ended)


def test_patience_is_declared_by_role_and_is_no_part_of_a_run():
    models = dict(researcher=("m",), prices={"m": (1, 1)})
    for wrong in ({"silence_s": {"reseacher": 3}}, {"longest_s": {"judge": 0}}, {"silence_s": {"judge": -1}}):
        with pytest.raises(CampaignError):
            Models(**models, **wrong)
    one, other = (
        Campaign(
            start_from="delta_net",
            baselines=("delta_net",),
            researcher="llm",
            explore=dict(tasks=("text",)),
            models=Models(**models, silence_s=silence),
            budget=dict(smoke=dict(candidates=2, minutes=1)),
        )
        for silence in ({}, {"researcher": 900.0})
    )
    assert one.resolved("smoke") == other.resolved("smoke")


# --- bombs ------------------------------------------------------------------------------------------------------------


def packed(kind):
    bomb = gzip.compress((chunk({"content": "x" * 1000}) + "\n\n").encode() * 10_000)
    return whole(bomb, content_encoding=kind, content_type="text/event-stream")


@pytest.mark.parametrize("status", [200, 400, 404, 503])
def test_what_is_packed_small_and_unfolds_is_cut_off(status):
    bomb = gzip.compress(b"x" * 20_000_000)
    asked = Asked(whole(bomb, status, content_encoding="gzip"), most_bytes=100_000, tries=2)
    assert isinstance(asked.ended, ModelError)


def test_a_reply_that_is_packed_small_and_far_too_long_is_told_so():
    assert Asked(packed("gzip"), most_bytes=1_000_000).ended.fault == "too long"


def test_a_list_of_models_may_be_anything():
    for listed in (b"[" * 50_000, b"x" * 9_000_000, b'{"data": [1, {"id": 5}, {"id": "\\u001b[2Jm"}]}', b'{"data": 3}'):
        with Server((fails(404, "no such model"),)) as server:
            server.RequestHandlerClass = type(
                "Odd",
                (server.RequestHandlerClass,),
                {"do_GET": lambda handler, listed=listed: handler.whole(200, listed)},
            )
            client = Client(MemoryTape(), Ledger({"m": Price(0, 0)}), "record", Endpoint(server.url, most_bytes=10_000))
            question = Question(role="judge", model="m", messages=(Message("user", "x"),), max_tokens=5)
            with pytest.raises(ModelError, match="does not know 'm'") as error:
                client.ask(Ask(question, str, "0 judge"))
            assert "\x1b" not in str(error.value) and len(str(error.value)) < 1500


@pytest.mark.parametrize(
    "line", [b"data: ", b"\n", b"data: {}\n\n", b": x\n", b"\r", b"event: e\n", b'{"a":1}\n', b"x"]
)
def test_a_long_stream_is_read_to_its_end(line):
    """A reader that goes over what it has read again and again would not get there."""
    heard = Heard()
    with suppress(ValueError):
        for event in events(itertools.repeat(line, 30_000)):
            heard.take(event)
    assert heard.size == 0


# --- what it cost -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        "7",
        5,
        {"prompt_tokens": -5, "completion_tokens": 3},
        {"prompt_tokens": 5, "completion_tokens": -3},
        {"prompt_tokens": "5", "completion_tokens": "3"},
        {"prompt_tokens": 5.5, "completion_tokens": 3},
        {"prompt_tokens": True, "completion_tokens": True},
        {"prompt_tokens": None, "completion_tokens": None},
        {"prompt_tokens": 5},
        {"total_tokens": 8},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 5, "completion_tokens": 0},
        {"prompt_tokens": 10**30, "completion_tokens": 3},
        {"prompt_tokens": [5], "completion_tokens": {}},
        {"prompt_tokens": float("nan"), "completion_tokens": 3},
    ],
    ids=itertools.count(),
)
def test_what_is_no_count_is_booked_as_the_worst_case(usage):
    asked = Asked(event_stream(YES, STOP, chunk(usage=usage), "data: [DONE]"))
    account, question = asked.ledger.accounts["researcher"], next(iter(asked.tape.exchanges.values())).question
    assert asked.ended == "yes" and not asked.reply.counted
    assert (account.prompt_tokens, account.completion_tokens) == (question.most_prompt_tokens, 50)
    assert account.nano_usd == 1000 * (question.most_prompt_tokens + 50)


def test_a_count_is_booked_wherever_it_stands():
    for usage in ({"prompt_tokens": 5, "completion_tokens": 3}, {"input_tokens": 5, "output_tokens": 3}):
        for answer in (
            event_stream(YES, STOP, chunk(usage=usage)),
            whole(MESSAGE | {"usage": usage}),
            event_stream(chunk({"content": "yes"}, usage=usage), chunk(finish="stop", usage=None)),
        ):
            reply = Asked(answer).reply
            assert reply.counted and (reply.prompt_tokens, reply.completion_tokens) == (5, 3)


def test_no_recording_gives_money_back():
    question = Question(role="judge", model="m", messages=(Message("user", "x"),), max_tokens=5)
    with pytest.raises(ValueError, match="gives money back"):
        Exchange.from_dict(Exchange(question, Reply(text="x", prompt_tokens=-9)).as_dict())


def test_a_note_is_kept_with_the_reply_and_only_where_there_is_one():
    question = Question(role="judge", model="m", messages=(Message("user", "x"),), max_tokens=5)
    for note in ("", "odd"):
        kept = Exchange(question, Reply(text="x", note=note)).as_dict()
        assert ("note" in kept["reply"]) == bool(note) and Exchange.from_dict(kept).reply.note == note


def test_embeddings_learn_the_address_too():
    def answer(handler):
        (embeds(lambda _: [1.0, 2.0]) if handler.path == "/v1/embeddings" else whole(b"no", 404))(handler)

    asked = Asked(answer, path="", role="embedding")
    assert asked.ended == "[1.0, 2.0]" and len(asked.said) == 1
