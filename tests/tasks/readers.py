"""Readers that do the tasks the slow way: one string, one character at a time, plain dictionaries.

``READERS[task](read, coming, settings)`` is the answer that is due after ``read``, or None. ``coming`` is the
character that follows; only fuzzy recall looks at it, to know that a key of unknown length is complete.
"""

from __future__ import annotations

import re


def latest(said, read):
    """The pairs that were said, later ones over earlier ones, asked for the last character read."""
    return {said[i]: said[i + 1] for i in range(0, len(said) - 1, 2)}.get(read[-1])


def said_then_asked(said_pairs):
    def reader(read, coming, settings):
        said = 2 * settings[said_pairs]
        return latest(read[:said], read) if len(read) > said and len(read) % 2 == 1 else None

    return reader


def reset(read, coming, settings):
    segment = read[read.rfind("#") + 1 :]
    if "?" not in segment:
        return None
    said, _, asked = segment.partition("?")
    if len(asked) % 2 == 0:
        return None
    return latest(said, asked) or "-"


def selective_copying(read, coming, settings):
    strewn, separator, copied = read.partition("|")
    return strewn.replace(".", "")[len(copied)] if separator and len(copied) < settings["letters"] else None


def in_context_recall(read, coming, settings):
    return latest(read[:-1], read) if len(read) % 2 == 1 and read[-1] != "." else None


def fuzzy_recall(read, coming, settings):
    if not coming.isupper():
        return None
    key, begun = re.search(r"([a-z]+)([A-Z]*)$", read).groups()
    said = read[: len(read) - len(key) - len(begun)]
    value = dict(re.findall(r"([a-z]+)([A-Z]+)", said)).get(key)
    return value[len(begun)] if value else None


def compression(read, coming, settings):
    if read.count("|") < 2:
        return None
    _, said, again = read.split("|")
    return said[len(again)]


def parity(read, coming, settings):
    return "eo"[read.count("1") % 2] if read else None


ARRANGEMENTS = {"a": "xzy", "b": "yxz", "c": "zyx", "d": "xyz", "e": "yzx", "f": "zxy"}


def s3(read, coming, settings):
    """Three things x, y, z; a letter sends each to where its arrangement says; the answer names where they
    are now."""
    where = {"x": "x", "y": "y", "z": "z"}
    for letter in read:
        move = dict(zip("xyz", ARRANGEMENTS[letter], strict=True))
        where = {thing: move[place] for thing, place in where.items()}
    names = {arrangement: letter.upper() for letter, arrangement in ARRANGEMENTS.items()}
    return names["".join(where[thing] for thing in "xyz")] if read else None


READERS = {
    "overwrite": said_then_asked("writes"),
    "reset": reset,
    "recall": said_then_asked("pairs"),
    "selective_copying": selective_copying,
    "in_context_recall": in_context_recall,
    "fuzzy_recall": fuzzy_recall,
    "compression": compression,
    "parity": parity,
    "s3": s3,
}


def answers(task, inputs_T, settings=None):
    """What the reader of ``task`` (its base name) says at every position of one input."""
    text = bytes(inputs_T[1:].tolist()).decode("ascii")
    reader = READERS[task]
    return [reader(text[:t], text[t : t + 1], settings) for t in range(len(inputs_T))]
