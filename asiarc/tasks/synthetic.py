"""The generators: strings of printable characters, drawn in whole batches, with what a reader should answer.

A generator takes a numpy generator, a number of rows and its settings from the catalogue, and returns
``(inputs_BT, targets_BT)``, int64: an input opens with BOS, and the target at position t is the answer after
reading t characters, or IGNORE. `by_next_character` makes the pair where answers are part of the string;
`by_state` where they never are.

Axes: B rows, T positions, W writes, K keys, N pairs or motifs, S segments. Keys are lower-case letters or
digits, values are capitals, so that a person can read a sample. Everything random comes from the generator
that is passed in.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from asiarc.core.seeds import seed_of
from asiarc.tasks import BOS, IGNORE

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Pair = tuple[Ints, Ints]
Generator = Callable[..., Pair]


def _alphabet(characters: str) -> Ints:
    return np.frombuffer(characters.encode("ascii"), dtype=np.uint8).astype(np.int64)


KEYS = _alphabet("abcdefghijklmnopqrstuvwxyz0123456789")
VALUES = _alphabet("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
RESET, QUERY, NULL, SEPARATOR, NOISE = _alphabet("#?-|.")
BITS, EVEN_ODD = _alphabet("01"), _alphabet("eo")

# The six permutations of three things; the swaps come first, so that the level "swaps" takes the first three.
S3 = sorted(itertools.permutations(range(3)), key=lambda p: (sum(p[i] == i for i in range(3)) != 1, p))
# S3_PRODUCT[new, state]: the new permutation applied after the state.
S3_PRODUCT = np.array([[S3.index(tuple(new[state[i]] for i in range(3))) for state in S3] for new in S3])
S3_IDENTITY = S3.index((0, 1, 2))


def by_next_character(string_BT: Ints, is_answer_BT: Bools) -> Pair:
    """Answers are part of the string: the target is the character that comes next, where it is an answer."""
    bos_B1 = np.full((len(string_BT), 1), BOS)
    inputs_BT = np.concatenate([bos_B1, string_BT[:, :-1]], axis=1)
    return inputs_BT, np.where(is_answer_BT, string_BT, IGNORE)


def by_state(string_BT: Ints, answers_BT: Ints) -> Pair:
    """Answers are never shown: ``answers_BT[:, t]`` is due after ``string_BT[:, t]``; the last is cut."""
    inputs_BT, _ = by_next_character(string_BT, np.zeros(string_BT.shape, dtype=bool))
    nothing_B1 = np.full((len(string_BT), 1), IGNORE)
    return inputs_BT, np.concatenate([nothing_B1, answers_BT[:, :-1]], axis=1)


def _choose(rng: np.random.Generator, rows: int, total: int, chosen: int) -> Ints:
    """``chosen`` distinct numbers below ``total`` in random order, for every row."""
    return rng.random((rows, total)).argsort(axis=1)[:, :chosen]


def _interleave(*columns_BN: Ints) -> Ints:
    """Column by column: ``(keys, values)`` becomes key, value, key, value, ..."""
    return np.stack(columns_BN, axis=-1).reshape(len(columns_BN[0]), -1)


def _pairs(key_BN: Ints, value_BN: Ints) -> Ints:
    return _interleave(KEYS[key_BN], VALUES[value_BN])


def _said_then_asked(said_BT: Ints, asked_BT: Ints) -> Pair:
    """Pairs to remember, then pairs of which the second character is an answer."""
    string_BT = np.concatenate([said_BT, asked_BT], axis=1)
    return _answers_from(string_BT, said_BT.shape[1] + 1, every=2)


def _answers_from(string_BT: Ints, first: int, *, every: int = 1) -> Pair:
    """From place ``first`` on, every ``every``-th character is an answer."""
    is_answer_BT = np.zeros(string_BT.shape, dtype=bool)
    is_answer_BT[:, first::every] = True
    return by_next_character(string_BT, is_answer_BT)


def _last_use(used_BW: Ints, total: int) -> tuple[Ints, Bools]:
    """For every number below ``total``, where in its row it is used last, and whether at all."""
    match_BKW = used_BW[:, None, :] == np.arange(total)[:, None]
    return used_BW.shape[1] - 1 - match_BKW[:, :, ::-1].argmax(axis=2), match_BKW.any(axis=2)


def _seen_before(used_BW: Ints) -> Bools:
    """Whether the number at each place has been used earlier in its row."""
    earlier_WW = np.tri(used_BW.shape[1], k=-1, dtype=bool)
    return ((used_BW[:, :, None] == used_BW[:, None, :]) & earlier_WW).any(axis=2)


def overwrite(rng: np.random.Generator, rows: int, *, keys: int, writes: int, values: int) -> Pair:
    """``writes`` pairs in which every key occurs at least once, then every key with its latest value."""
    once_BK = np.broadcast_to(np.arange(keys), (rows, keys))
    again_BW = rng.integers(keys, size=(rows, writes - keys))
    key_BW = rng.permuted(np.concatenate([once_BK, again_BW], axis=1), axis=1)
    value_BW = rng.integers(values, size=(rows, writes))
    latest_BK = np.take_along_axis(value_BW, _last_use(key_BW, keys)[0], axis=1)
    asked_BK = _choose(rng, rows, keys, keys)
    answer_BK = np.take_along_axis(latest_BK, asked_BK, axis=1)
    return _said_then_asked(_pairs(key_BW, value_BW), _pairs(asked_BK, answer_BK))


def reset(
    rng: np.random.Generator, rows: int, *, segments: int, pairs: int, queries: int, keys: int, values: int
) -> Pair:
    """Segments of ``#``, distinct pairs, ``?``, distinct queries with what this segment bound, or ``-``.

    Keys that this or the last segment bound are asked for, all alike (before the first, an unseen one); other keys only
    once those are used up.
    """
    each = rows * segments
    bound_BSN = _choose(rng, rows * (segments + 1), keys, pairs).reshape(rows, segments + 1, pairs)
    before_SN, key_SN = bound_BSN[:, :-1].reshape(each, pairs), bound_BSN[:, 1:].reshape(each, pairs)
    value_SN = rng.integers(values, size=(each, pairs))
    last_SK, bound_SK = _last_use(key_SN, keys)
    # Worth asking: what is bound now, and what a memory that missed the '#' still holds from the segment before.
    is_worth_SK = bound_SK | _last_use(before_SN, keys)[1]
    asked_SQ = (rng.random((each, keys)) - is_worth_SK).argsort(axis=1)[:, :queries]
    table_SK = np.where(bound_SK, VALUES[np.take_along_axis(value_SN, last_SK, axis=1)], NULL)
    answer_SQ = np.take_along_axis(table_SK, asked_SQ, axis=1)
    opening_S1, question_S1 = np.full((each, 1), RESET), np.full((each, 1), QUERY)
    said, asked = _pairs(key_SN, value_SN), _interleave(KEYS[asked_SQ], answer_SQ)
    segment_ST = np.concatenate([opening_S1, said, question_S1, asked], axis=1)
    is_answer_ST = np.zeros(segment_ST.shape, dtype=bool)
    is_answer_ST[:, 2 * pairs + 3 :: 2] = True
    return by_next_character(segment_ST.reshape(rows, -1), is_answer_ST.reshape(rows, -1))


def recall(rng: np.random.Generator, rows: int, *, pairs: int, keys: int, values: int) -> Pair:
    """``pairs`` distinct keys with random values, then the same pairs in another order."""
    key_BN = _choose(rng, rows, keys, pairs)
    value_BN = rng.integers(values, size=(rows, pairs))
    order_BN = _choose(rng, rows, pairs, pairs)
    asked = (np.take_along_axis(column_BN, order_BN, axis=1) for column_BN in (key_BN, value_BN))
    return _said_then_asked(_pairs(key_BN, value_BN), _pairs(*asked))


def selective_copying(rng: np.random.Generator, rows: int, *, slots: int, letters: int, values: int) -> Pair:
    """``letters`` capitals at random places among dots, ``|``, the capitals in order."""
    place_BN = np.sort(_choose(rng, rows, slots, letters), axis=1)
    letter_BN = VALUES[rng.integers(values, size=(rows, letters))]
    strewn_BT = np.full((rows, slots), NOISE)
    np.put_along_axis(strewn_BT, place_BN, letter_BN, axis=1)
    string_BT = np.concatenate([strewn_BT, np.full((rows, 1), SEPARATOR), letter_BN], axis=1)
    return _answers_from(string_BT, slots + 1)


def in_context_recall(
    rng: np.random.Generator, rows: int, *, length: int, keys: int, values: int, noise: float
) -> Pair:
    """Pairs drawn with replacement under one random binding a row, a share of them replaced by ``..``."""
    slots = -(-length // 2)
    key_BW = rng.integers(keys, size=(rows, slots))
    value_BK = rng.integers(values, size=(rows, keys))
    is_noise_BW = rng.random((rows, slots)) < noise
    pair_key_BW = np.where(is_noise_BW, NOISE, KEYS[key_BW])
    pair_value_BW = np.where(is_noise_BW, NOISE, VALUES[np.take_along_axis(value_BK, key_BW, axis=1)])
    known_BW = _seen_before(np.where(is_noise_BW, -1 - np.arange(slots), key_BW))
    string_BT = _interleave(pair_key_BW, pair_value_BW)
    is_answer_BT = np.zeros(string_BT.shape, dtype=bool)
    is_answer_BT[:, 1::2] = known_BW
    return by_next_character(string_BT[:, :length], is_answer_BT[:, :length])


def _words(letters: int) -> tuple[Ints, Ints]:
    """All words of one to three of ``letters`` letters, rows of three codes (-1 pads), and their lengths."""
    words = [word for size in (1, 2, 3) for word in itertools.product(range(letters), repeat=size)]
    return np.array([(*word, -1, -1)[:3] for word in words]), np.array([len(word) for word in words])


def fuzzy_recall(rng: np.random.Generator, rows: int, *, length: int, motifs: int, letters: int, values: int) -> Pair:
    """Pairs of words under one random binding a row; every letter of a value is an answer once its key has a
    value.

    The keys of a row are distinct, each length equally likely. A key that begins another key is no trap: a
    position is an answer only where the key is complete.
    """
    word_M3, size_M = _words(letters)
    weight_M = (1.0 / letters**size_M)[None]
    # Weighted sampling without replacement: the largest of u**(1/weight) (Efraimidis and Spirakis 2006).
    score_BM = np.log(rng.random((rows, len(size_M)))) / weight_M
    key_BN3 = word_M3[np.argpartition(score_BM, -motifs, axis=1)[:, -motifs:]]
    value_BN3 = rng.integers(values, size=(rows, motifs, 3))
    value_size_BN = rng.integers(1, 4, size=(rows, motifs))
    value_BN3 = np.where(np.arange(3) < value_size_BN[..., None], value_BN3, -1)

    uses = -(-length // 2)  # the shortest pair has two characters
    used_BW = rng.integers(motifs, size=(rows, uses))
    row_B1 = np.arange(rows)[:, None]
    key_BW3, value_BW3 = key_BN3[row_B1, used_BW], value_BN3[row_B1, used_BW]
    pair_BW6 = [np.where(codes < 0, 0, alphabet[codes]) for codes, alphabet in ((key_BW3, KEYS), (value_BW3, VALUES))]
    text_BX = np.concatenate(pair_BW6, axis=2).reshape(rows, -1)
    known_BX = (_seen_before(used_BW)[..., None] & (np.arange(6) >= 3)).reshape(rows, -1)
    return by_next_character(*_squeeze(text_BX, known_BX, length))


def _squeeze(text_BX: Ints, known_BX: Bools, length: int) -> tuple[Ints, Bools]:
    """Close the gaps (zeros) in every row and keep the first ``length`` characters."""
    place_BX = (text_BX > 0).cumsum(axis=1) - 1
    row_X, column_X = np.nonzero((text_BX > 0) & (place_BX < length))
    where = row_X, place_BX[row_X, column_X]
    string_BT = np.zeros((len(text_BX), length), dtype=np.int64)
    is_answer_BT = np.zeros(string_BT.shape, dtype=bool)
    string_BT[where], is_answer_BT[where] = text_BX[row_X, column_X], known_BX[row_X, column_X]
    assert string_BT.all(), "a row came out short"
    return string_BT, is_answer_BT


def compression(rng: np.random.Generator, rows: int, *, letters: int, values: int) -> Pair:
    """``|``, a random string, ``|``, the string again."""
    letter_BN = VALUES[rng.integers(values, size=(rows, letters))]
    separator_B1 = np.full((rows, 1), SEPARATOR)
    string_BT = np.concatenate([separator_B1, letter_BN, separator_B1, letter_BN], axis=1)
    return _answers_from(string_BT, letters + 2)


def memorised_facts(letters: int, values: int) -> Ints:
    """The value of every two-letter key, ``[letters, letters]``: the same in every split and run.

    Every value belongs to the same number of keys, or one more, so that no answer is a better guess than
    another.
    """
    seed = seed_of("task", "memorisation", "facts", letters, values)
    return np.random.default_rng(seed).permutation(letters**2).reshape(letters, letters) % values


def memorisation(rng: np.random.Generator, rows: int, *, length: int, letters: int, values: int) -> Pair:
    """Random two-letter keys, one after the other; after each its value is due, and not shown."""
    letter_BT = rng.integers(letters, size=(rows, length))
    answers_BT = np.full((rows, length), IGNORE)
    value_BN = memorised_facts(letters, values)[letter_BT[:, : length - 1 : 2], letter_BT[:, 1::2]]
    answers_BT[:, 1::2] = VALUES[value_BN]
    return by_state(KEYS[letter_BT], answers_BT)


def parity(rng: np.random.Generator, rows: int, *, length: int) -> Pair:
    """Random bits; after each, ``e`` or ``o`` for the number of ones so far."""
    bit_BT = rng.integers(2, size=(rows, length))
    return by_state(BITS[bit_BT], EVEN_ODD[bit_BT.cumsum(axis=1) % 2])


def s3(rng: np.random.Generator, rows: int, *, length: int, generators: int) -> Pair:
    """Permutations ``a`` to ``f`` (`S3`); after each the product so far, ``A`` to ``F``, newest leftmost."""
    element_BT = rng.integers(generators, size=(rows, length))
    state_BT = np.empty_like(element_BT)
    state_B = np.full(rows, S3_IDENTITY)
    for t in range(length):
        state_B = state_BT[:, t] = S3_PRODUCT[element_BT[:, t], state_B]
    return by_state(KEYS[element_BT], VALUES[state_BT])


GENERATORS: dict[str, Generator] = {
    "overwrite": overwrite,
    "reset": reset,
    "recall": recall,
    "selective_copying": selective_copying,
    "in_context_recall": in_context_recall,
    "fuzzy_recall": fuzzy_recall,
    "compression": compression,
    "memorisation": memorisation,
    "parity": parity,
    "s3": s3,
}


def choices(name: str, settings: Mapping[str, int | float]) -> list[str]:
    """Every answer that a task can ask for, as single characters."""
    if name == "parity":
        return ["e", "o"]
    values = [chr(code) for code in VALUES[: 6 if name == "s3" else int(settings["values"])]]
    return [*values, "-"] if name == "reset" else values
