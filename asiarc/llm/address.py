"""Where models are asked and with what key: cleaned of what people paste by accident, refused by name where that cannot
help, before anything is sent."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from ipaddress import ip_address
from math import log2
from urllib.parse import SplitResult, urljoin, urlsplit

from asiarc.llm.exchange import ModelError

KEYS = ("ASIARC_API_KEY", "OPENAI_API_KEY")
PATHS = re.compile(r"(?:/chat)?/completions/*\Z|/(?:embeddings|models|responses)/*\Z|/+\Z")  # what is added to a base
LEAST_BITS = 48  # of a text that can be a key


def key_from(environment: Mapping[str, str] = os.environ) -> str | None:
    """The key of the environment, or None."""
    return next((environment[name] for name in KEYS if environment.get(name, "").strip()), None)


def sound_key(key: str | None) -> str | None:
    """A key without white space round it; `ModelError` where no header can carry it."""
    key = (key or "").strip()
    odd = next((i for i, c in enumerate(key) if not "!" <= c <= "~"), None)
    if odd is not None:
        raise ModelError(
            "key rejected",
            f"the key holds {key[odd]!a} at character {odd + 1} of {len(key)}, and only visible ASCII can be "
            f"sent; nothing was. Set {KEYS[0]} to the key alone, without quotes or a name before it",
        )
    return key or None


def can_be_key(text: str | None) -> bool:
    """Whether a text is long and odd enough to be a secret; a placeholder ("local", "x") or a name in code is not."""
    if not text or len(text) < 16 or (text.isidentifier() and sum(c.isdigit() for c in text) < 3):
        return False
    bits = -sum(n * log2(n / len(text)) for n in Counter(text).values())
    return bits >= LEAST_BITS


def sound_url(given: str) -> str:
    """The base address that is meant: with a scheme, without what the client adds. `ModelError` where it is none."""
    text = given.strip()
    try:
        parts = urlsplit(text if "://" in text else f"{'http' if _is_near(text) else 'https'}://{text}")
        odd = re.search(r"[\s\\?#@]", text) or parts.port == 0  # `port` raises where it is no number
        sound = parts.scheme in ("http", "https") and parts.hostname and not odd
    except ValueError:
        sound, parts = False, urlsplit("")
    if not sound:
        shown = re.sub(r"[^/]*@", "(hidden)@", text)
        raise ModelError(
            "wrong address",
            f"{shown!r} is no base address of an API; give one like http://localhost:8000/v1, and a key in {KEYS[0]}",
        )
    return f"{parts.scheme}://{parts.netloc}{PATHS.sub('', parts.path)}".rstrip("/")


def _is_near(text: str) -> bool:
    """Whether an address without a scheme is of a server of one's own: this machine, or a port."""
    parts = urlsplit(f"//{text}")
    return is_loopback(parts.hostname or "") or parts.port not in (None, 443)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, so that no proxy stands before it and no key is needed."""
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower().rstrip(".") == "localhost" or host.lower().rstrip(".").endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def moved_to(base: str, location: str, path: str) -> str | None:
    """The base that a redirect of `path` leads to, where it is the same host and no less secure; else None."""
    old = urlsplit(base)
    try:
        new = urlsplit(urljoin(f"{base}{path}", location))
        is_upgrade = (old.scheme, new.scheme) == ("http", "https")
        same = new.hostname == old.hostname and (is_upgrade or _door(new) == _door(old))
    except ValueError:
        return None
    trimmed = new.path.rstrip("/")
    if not same or new.username is not None or not trimmed.endswith(path):
        return None
    return f"{new.scheme}://{new.netloc}{trimmed.removesuffix(path)}"


def _door(parts: SplitResult) -> tuple[str, int]:
    return parts.scheme, parts.port or {"https": 443}.get(parts.scheme, 80)
