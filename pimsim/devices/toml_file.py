"""A TOML file that a user wrote: its tables, and errors that name file, line and key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, NoReturn

from pimsim.errors import SpecError

MOST_BYTES = 1 << 20
_WANTED = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


class TomlFile:
    """A file that is being read: its text, for line numbers, and its tables."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
            if len(data) > MOST_BYTES:
                raise SpecError(f"{path}: larger than {MOST_BYTES} bytes; a part is a few lines")
            self.text = data.decode("utf-8").replace("\r\n", "\n")
            self.raw: dict[str, Any] = tomllib.loads(self.text)
        except OSError as error:
            raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise SpecError(f"{path}: not UTF-8: {error}") from None
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise SpecError(f"{path}: not TOML: {error}") from None

    def fail(self, key: str, text: str) -> NoReturn:
        """Raise about a key, which may lie in a table (`timings.RCD`), and name its line."""
        last = re.escape(key.rpartition(".")[2])
        found = re.search(rf"(?m)(^|[\s{{,\[.\"]){last}(\"?\s*=|\])", self.text)
        line = self.text.count("\n", 0, found.end()) + 1 if found else 1
        raise SpecError(f"{self.path}:{line}: {text}")

    def table(self, key: str) -> dict[str, Any]:
        value = self.raw.get(key, {})
        if not isinstance(value, dict):
            self.fail(key, f"{key}={value!r}; wanted a table")
        return value

    def typed(self, key: str, value: Any, kind: type) -> Any:
        """The value if it has the type; whole numbers are numbers."""
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            self.fail(key, f"{key}={value!r}; wanted {_WANTED[kind]}")
        return value
