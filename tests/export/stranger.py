"""Somebody who has torch and transformers, neither asiarc nor einops nor a network: what exported folders do there.

``python stranger.py FOLDER...``: each holds a model and ``reference.pt`` with `ids`, `logits` and `greedy`. Prints a
JSON object: folder -> check -> the largest difference, or whether it holds.
"""

from __future__ import annotations

import io
import json
import pickle
import sys
from pathlib import Path


class Blocked:
    """Whoever imports one of these is told that it is not there."""

    names = ("asiarc", "einops", "triton", "fla")

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Blocked())

import torch  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402


def apart(a, b):
    return float((a.float() - b.float()).abs().max())


@torch.no_grad()
def checks(folder, again):
    reference = torch.load(folder / "reference.pt")
    ids_BT = reference["ids"]
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    whole = model(ids_BT).logits
    yield "logits", apart(whole, reference["logits"])
    yield "greedy", torch.equal(greedy(model, ids_BT), reference["greedy"])
    yield "cached", apart(token_by_token(model, ids_BT), whole)
    yield "left padding", apart(*padded(model, ids_BT, left=5))
    yield "right padding", apart(*padded(model, ids_BT, right=5))
    yield "padded text", padded_text(model, ids_BT)
    for name, copy in (("pickled", pickle.loads(pickle.dumps(model))), ("saved", saved(model))):
        yield name, apart(copy(ids_BT).logits, whole)
    model.save_pretrained(again)
    reloaded = AutoModelForCausalLM.from_pretrained(again, trust_remote_code=True)
    yield "saved again", apart(reloaded(ids_BT).logits, whole)
    small = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, dtype=torch.bfloat16)
    assert small.dtype == torch.bfloat16
    yield "bfloat16", apart(small(ids_BT).logits.softmax(-1), whole.softmax(-1))
    yield "tokens", tokens(AutoTokenizer.from_pretrained(folder, trust_remote_code=True), model)
    yield "learns", learns(model, ids_BT)


def greedy(model, ids_BT, **how):
    return model.generate(ids_BT, do_sample=False, max_new_tokens=12, min_new_tokens=12, **how)


def token_by_token(model, ids_BT):
    cache, found = None, []
    for t in range(ids_BT.shape[1]):
        step = model(ids_BT[:, t : t + 1], past_key_values=cache, use_cache=True)
        cache = step.past_key_values
        found.append(step.logits)
    return torch.cat(found, dim=1)


def padded(model, ids_BT, left=0, right=0):
    """The logits of the first row beside the others, padded, and those that it has alone."""
    T, row = ids_BT.shape[1], ids_BT[:1, 3:]
    filled = torch.nn.functional.pad(row, (3 + left, right))
    others = torch.nn.functional.pad(ids_BT[1:], (left, right))
    mask = torch.ones(len(ids_BT), left + T + right, dtype=torch.long)
    mask[0, : left + 3] = 0
    mask[:, left + T :] = 0
    logits = model(torch.cat((filled, others)), attention_mask=mask).logits[0, left + 3 : left + T]
    return logits, model(row).logits[0]


def padded_text(model, ids_BT):
    row = ids_BT[:1, 3:]
    mask = torch.ones_like(ids_BT)
    mask[0, :3] = 0
    batch = torch.cat((torch.nn.functional.pad(row, (3, 0)), ids_BT[1:]))
    return torch.equal(greedy(model, batch, attention_mask=mask)[0, 3:], greedy(model, row)[0])


def saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def tokens(tokenizer, model):
    text = "naïve \x01 日本 \n"
    ids = tokenizer(text).input_ids
    ends = {
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
        model.generation_config.eos_token_id,
    }
    return ids == list(text.encode()) and tokenizer.decode(ids) == text and ends == {0}


@torch.enable_grad()
def learns(model, ids_BT):
    """Whether every parameter gets a gradient: who takes a model home trains it further."""
    model.train()(ids_BT, labels=ids_BT).loss.backward()
    return all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = {name: dict(checks(Path(name), Path(name) / "again")) for name in sys.argv[1:]}
    assert not set(Blocked.names) & set(sys.modules), "somebody imported what is not there"
    sys.stdout.write(json.dumps(found))
