"""What an object of a user's is made of, as plain data: the code that it rests on, its fields, the files that it reads.

The code is what `asiarc.core.reach` finds from its class in the user's own sources. A field that is a path, or the text
of one, counts by what lies there; other files that it reads it names in ``inputs``. Objects of installed packages count
by the name of their class.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from asiarc.core.errors import CampaignError
from asiarc.core.reach import Reached, UserCode

_known: dict[int, tuple[object, dict[str, Any]]] = {}


def content_of(thing: object) -> dict[str, Any]:
    """Class, code (digits by definition), fields and inputs, as they are when an object is first asked about: what it
    notes of its work is not what it was declared as. `CampaignError` where one of its ``inputs`` is not there."""
    if id(thing) not in _known:
        inputs = {str(path): file_hash(path) for path in _inputs(thing)}
        _known[id(thing)] = thing, _object(thing, ()) | {"inputs": inputs}
    return _known[id(thing)][1]


def _object(thing: object, around: tuple[int, ...]) -> dict[str, Any]:
    code = _code(type(thing))
    fields = vars(thing) if hasattr(thing, "__dict__") and code.places else {}
    inside = (*around, id(thing))
    return {
        "class": type(thing).__qualname__,
        "code": code.definitions | {"all": code.whole},
        "fields": {name: _plain(fields[name], inside) for name in sorted(fields) if name != "inputs"},
    }


def _plain(value: object, around: tuple[int, ...]) -> Any:
    if id(value) in around:
        return "itself"
    inside = (*around, id(value))
    match value:
        case None | bool() | int() | float():
            return repr(value)
        case str() | Path():
            return [str(value), file_hash(Path(value))] if _is_there(value) else str(value)
        case bytes():
            return value.hex()
        case Mapping():
            return {str(key): _plain(value[key], inside) for key in value}
        case list() | tuple():
            return [_plain(one, inside) for one in value]
        case Set():
            return sorted((_plain(one, inside) for one in value), key=json.dumps)
    if isinstance(value, type) or hasattr(value, "__qualname__"):
        return [value.__qualname__, _code(value).whole]
    return _object(value, around)


def _code(named: Any) -> Reached:
    """What a function or a class with all its methods rests on; nothing where it is an installed package's."""
    code = UserCode(named.__module__)
    bases = named.__mro__ if isinstance(named, type) else [named]
    roots = [root for base in bases for root in _roots(code, base.__module__, base.__qualname__.partition(".")[0])]
    return code.reach(roots)


def _roots(code: UserCode, module: str, name: str) -> list[str]:
    known = code.module(module)
    found = known.definitions if known and name in known.definitions else ()
    return [f"{module}:{one}" for one in found if one == name or one.startswith(f"{name}.")]


def _inputs(thing: object) -> Iterator[Path]:
    declared: Iterable[str | Path] = getattr(thing, "inputs", ())
    home = getattr(sys.modules.get(type(thing).__module__), "__file__", None)
    for given in declared:
        here, beside = Path(given), Path(home or "").parent / given
        if not (here.exists() or beside.exists()):
            raise CampaignError(
                f"inputs of {type(thing).__qualname__} names {str(given)!r}, which is neither here nor beside its file"
            )
        yield here if here.exists() else beside


def _is_there(value: str | Path) -> bool:
    try:
        return Path(value).is_file() or (isinstance(value, Path) and value.is_dir())
    except (OSError, ValueError):  # too long, or no name at all
        return False


def file_hash(path: Path) -> str:
    """Of a file's bytes, or of all files below a folder, with their names."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    hashed = hashlib.blake2b(digest_size=8)
    for file in files:
        content = file.read_bytes()
        hashed.update(json.dumps([file.relative_to(path).as_posix(), len(content)]).encode() + content)
    return hashed.hexdigest()
