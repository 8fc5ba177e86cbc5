"""Work done once: what pure functions gave, kept by everything that determines it.

A `Kept` table gives back what it holds or has it made. The tables are bounded, so that a process that
runs thousands of machines stays as small as after the first few, and a value that was dropped is made
again, to the same bits. `reuse(False)` makes everything anew; results do not change. `stored_in` adds a
memo on disk that processes share, for values that are few bytes and took long (measured rates).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

V = TypeVar("V")

BESIDE = {"cli", "report", "validate", "sweep", "reproduce.py", "checks.py"}
"""Files and folders of the package that no simulated number depends on."""
COUNTS = {"sweep/work.py"}
"""Files in them that a stored result does depend on."""


class Memo(Protocol):
    """Where values are kept between processes: text by the digest of what determines it."""

    def get(self, digest: str) -> str | None: ...
    def put(self, digest: str, text: str) -> None: ...


class _Now:
    """The switch, and the memo in use."""

    on = True
    memo: Memo | None = None


@contextmanager
def reuse(on: bool) -> Iterator[None]:
    """Inside, kept values are used (True) or everything is made anew (False)."""
    before, _Now.on = _Now.on, on
    try:
        yield
    finally:
        _Now.on = before


def stored_in(memo: Memo | None) -> None:
    """From now on, tables that have a text form also keep their values there; None: in memory only."""
    _Now.memo = memo


@lru_cache(maxsize=1)
def code_digest() -> str:
    """SHA-256 of the package's own code that a simulated number can depend on."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        if place.parts[0] not in BESIDE or place.as_posix() in COUNTS:
            digest.update(place.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


class Kept(Generic[V]):
    """A bounded table of what a function gave; what was used longest ago goes first.

    name: of the function, for the memo. most: sum of weights that are held. weigh: of a value (default 1).
    to_text, from_text: the exact text form of a value; with it a memo is asked, too. The key is then
    described by `str`, so it must print everything that determines the value (frozen dataclasses of plain
    values do).
    """

    def __init__(
        self,
        name: str,
        *,
        most: int,
        weigh: Callable[[V], int] = lambda value: 1,
        to_text: Callable[[V], str] | None = None,
        from_text: Callable[[str], V] | None = None,
    ) -> None:
        self.name, self.most, self.weigh = name, most, weigh
        self.to_text, self.from_text = to_text, from_text
        self.held: OrderedDict[Hashable, V] = OrderedDict()
        self.weight = 0
        TABLES.append(self)

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of this key: held, from the memo, or made now."""
        if not _Now.on:
            return make()
        if key in self.held:
            self.held.move_to_end(key)
            return self.held[key]
        value = self._from_memo(key, make)
        self.held[key] = value
        self.weight += self.weigh(value)
        while self.weight > self.most and len(self.held) > 1:
            _, old = self.held.popitem(last=False)
            self.weight -= self.weigh(old)
        return value

    def _from_memo(self, key: Hashable, make: Callable[[], V]) -> V:
        memo = _Now.memo
        if memo is None or self.to_text is None or self.from_text is None:
            return make()
        digest = hashlib.sha256(f"{code_digest()} {self.name} {key}".encode()).hexdigest()
        text = memo.get(digest)
        if text is not None:
            return self.from_text(text)
        value = make()
        memo.put(digest, self.to_text(value))
        return value

    def clear(self) -> None:
        """Forget everything that is held in memory."""
        self.held.clear()
        self.weight = 0


TABLES: list[Kept[Any]] = []
"""Every table of the process."""


def clear() -> None:
    """Empty every table of the process; a memo on disk stays."""
    for table in TABLES:
        table.clear()


def kept(
    *,
    most: int,
    to_text: Callable[[V], str] | None = None,
    from_text: Callable[[str], V] | None = None,
) -> Callable[[Callable[..., V]], Callable[..., V]]:
    """A decorator: a pure function of hashable positional arguments, kept in a table of `most` values."""

    def decorate(function: Callable[..., V]) -> Callable[..., V]:
        table: Kept[V] = Kept(function.__qualname__, most=most, to_text=to_text, from_text=from_text)

        def look(*args: Hashable) -> V:
            return table.get(args, lambda: function(*args))

        look.__doc__, look.__name__, look.__qualname__ = (
            function.__doc__, function.__name__, function.__qualname__,
        )  # fmt: skip
        look.__module__ = function.__module__
        return cast(Callable[..., V], look)

    return decorate
