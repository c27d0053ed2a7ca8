"""What makes tokens of text, by name: ``bytes``, ``gpt2``, or ``bpe-N``, a byte-pair encoding of our own.

A tokenizer is what a recipe names and nothing else: where that one is not to be had, an error says so. Files of the
latter two are kept in the cache under what they are made of, where jobs read them, and their hash is in the identity of
every trial. Sources: byte pairs over bytes, Radford et al. 2019 (GPT-2), section 2.2; Sennrich et al. 2016,
arXiv:1508.07909.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asiarc.core.digest import digest
from asiarc.core.errors import TaskError
from asiarc.core.recipe import vocabulary
from asiarc.tasks.corpus import docstring_corpus
from asiarc.tasks.keep import cache_folder, keep_files

Ids = NDArray[np.uint16]
END = "<|endoftext|>"  # begins and ends a text, as a token that no text holds
TRAINER_VERSION = 1  # goes up whenever the same text gives another encoding
VOCABULARY, MERGES = "vocab.json", "merges.txt"
GPT2 = {  # the SHA-256 of the files that OpenAI published
    VOCABULARY: "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    MERGES: "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
GPT2_PLACES = ("openai-community/gpt2", "gpt2")


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """Text to tokens. `bos` opens every input and closes every document, and no text makes it; at most 65,536 tokens.

    `key` is the name, for people, and the hash of what the tokens depend on.
    """

    name: str
    key: str
    bos: int
    encode_all: Callable[[Sequence[str]], list[Ids]]
    pairs: Any = None  # the byte pairs, as `tokenizers` has them; None for bytes

    @property
    def vocab_size(self) -> int:
        """Tokens that there are, `bos` among them."""
        return vocabulary(self.name)

    def encode(self, text: str) -> list[int]:
        """The tokens of one text, without `bos`."""
        return [int(token) for token in self.encode_all([text])[0]]


def key_of(name: str) -> str:
    """`Tokenizer.key` of a name; nothing is fetched for it. Raises `TaskError`."""
    vocabulary(name)
    if name == "bytes":
        return name
    return f"gpt2-{digest(GPT2)}" if name == "gpt2" else _own_key(name)


@lru_cache(maxsize=8)
def _made(name: str, key: str, _: Path) -> Tokenizer:
    if name == "bytes":
        return Tokenizer(name, key, 0, _bytes_of)
    pairs = _pairs(*_files(name, key))
    bos = pairs.token_to_id(END)
    assert bos is not None and pairs.get_vocab_size() == vocabulary(name), f"{key} is damaged"
    return Tokenizer(name, key, bos, lambda texts: _ids_of(pairs, texts), pairs)


def tokenizer_of(name: str) -> Tokenizer:
    """The tokenizer of a name: from the cache, else made or fetched and kept there.

    Raises `TaskError` for an unknown name, and where GPT-2's files are neither kept nor to be reached.
    """
    return _made(name, key_of(name), cache_folder())


def _bytes_of(texts: Sequence[str]) -> list[Ids]:
    return [np.frombuffer(text.encode(), dtype=np.uint8).astype(np.uint16) for text in texts]


def _ids_of(pairs: Any, texts: Sequence[str]) -> list[Ids]:
    return [np.array(found.ids, dtype=np.uint16) for found in pairs.encode_batch_fast(texts, add_special_tokens=False)]


def _pairs(vocabulary_json: bytes, merges: bytes) -> Any:
    """Byte pairs from GPT-2's two files, or ours in their form; `END` is an entry that no merge makes."""
    from tokenizers import Tokenizer as Pairs
    from tokenizers import decoders, models, pre_tokenizers

    lines = [line for line in merges.decode().splitlines() if line and not line.startswith("#version")]
    merged = [(left, right) for left, _, right in (line.partition(" ") for line in lines)]
    found = Pairs(models.BPE(json.loads(vocabulary_json), merged))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    return found


def travels_with(name: str) -> tuple[str, ...]:
    """The folders of the cache that hold a tokenizer's files."""
    return () if name == "bytes" else (f"tokenizers/{key_of(name)}",)


def folder_of(key: str) -> Path:
    """Where a tokenizer's files are kept."""
    return cache_folder() / "tokenizers" / key


def _files(name: str, key: str) -> tuple[bytes, bytes]:
    """Vocabulary and merges, kept once they are there."""
    folder = folder_of(key)
    if not folder.is_dir():
        keep_files(folder, _fetched() if name == "gpt2" else _trained(vocabulary(name)))
    vocabulary_json, merges = ((folder / file).read_bytes() for file in (VOCABULARY, MERGES))
    return vocabulary_json, merges


# --- GPT-2's ----------------------------------------------------------------------------------------------------------


def _fetched() -> dict[str, bytes]:
    """GPT-2's files, from the local Hugging Face cache or the hub."""
    files = {name: _from_hub(name) for name in GPT2}
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != GPT2[name]:
            raise TaskError(f"{name} of {GPT2_PLACES[0]} is not GPT-2's as OpenAI published it: fetch it again.")
    return files


def _from_hub(name: str) -> bytes:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    for place in GPT2_PLACES:
        try:
            return Path(hf_hub_download(place, name)).read_bytes()
        except (OSError, HfHubHTTPError) as error:
            missing = error
    raise TaskError(
        f"GPT-2's tokenizer is neither in the Hugging Face cache nor can it be reached ({missing}). With a network, "
        "run again; without one, say another in the campaign: Recipe(tokenizer='bpe-4096'), byte pairs of our own, or "
        "tokenizer='bytes'."
    ) from missing


# --- our own ----------------------------------------------------------------------------------------------------------


def _own_key(name: str) -> str:
    """What the pairs depend on: the shipped corpus, and what counts them."""
    made_of = [docstring_corpus().content_hash, TRAINER_VERSION, _counter()]
    return f"{name}-{digest(made_of)}"


@cache
def _counter() -> str:
    return importlib.metadata.version("tokenizers")


def _trained(size: int) -> dict[str, bytes]:
    """The most frequent byte pairs of the shipped corpus's training part, in GPT-2's form; `END` is token 0."""
    from tokenizers import Tokenizer as Pairs
    from tokenizers import models, pre_tokenizers, trainers

    pairs = Pairs(models.BPE())
    pairs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )  # fmt: skip
    pairs.train_from_iterator(_paragraphs(), trainer)
    model = json.loads(pairs.to_str())["model"]
    if len(model["vocab"]) != size:
        raise TaskError(f"the shipped corpus gives {len(model['vocab'])} byte pairs, fewer than {size}: ask for fewer.")
    merges = "".join(" ".join(pair) + "\n" for pair in model["merges"])
    return {VOCABULARY: json.dumps(model["vocab"]).encode(), MERGES: merges.encode()}


def _paragraphs() -> Iterator[str]:
    yield from docstring_corpus().texts["train"].tobytes().decode().split("\n\n")
