"""Kinds of value that a setting can have: how one is read from text, what is legal, and what it is called in help.

A field of a group of settings is declared as `setting(default, kind, help)`: command line, checks and documentation are
all made from that. Each kind has `parse(text)`, which gives () where the text unsets the setting, and `check(value)`;
both raise ValueError with a message that goes after the setting's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, field
from numbers import Integral, Real
from typing import Any, Protocol


class Kind(Protocol):
    """What every kind can do."""

    @property
    def metavar(self) -> str:
        """What stands for the value in help; "" for a flag, which takes none."""

    def parse(self, text: str) -> Any:
        """The value that a text stands for."""

    def check(self, value: Any) -> None:
        """Raise ValueError for a value of another type or out of range."""


@dataclass(frozen=True)
class Setting:
    """All there is to say of a setting, beside its default."""

    name: str
    kind: Kind
    help: str
    flags: tuple[str, ...]  # of the command line, the first the one it is called by
    optional: bool  # whether it can be None

    @property
    def label(self) -> str:
        """What errors call it: --resize-list -> resize_list."""
        return self.flags[0].strip("-").replace("-", "_")

    def read(self, value: Any) -> Any:
        """A value as given, as text or already as one, None for (). Raises ValueError."""
        value = self.kind.parse(value) if isinstance(value, str) else value
        return None if isinstance(value, tuple) and value == () else value

    def check(self, value: Any) -> None:
        """Raise ValueError for a value that the setting cannot have."""
        if value is None and self.optional:
            return
        try:
            self.kind.check(value)
        except ValueError as error:
            raise ValueError(f"{self.label} {error}") from error


def setting(default: Any, kind: Kind, text: str, *flags: str, optional: bool = False) -> Any:
    """A field of a group of settings. flags: where the command line calls it otherwise than by its name.

    optional: it can be None though its default is not.
    """
    return field(default=default, metadata={"of": (kind, text, flags, optional or default is None)})


def declared(entry: Field[Any]) -> Setting:
    """The setting that a field was declared as."""
    kind, text, flags, optional = entry.metadata["of"]
    return Setting(entry.name, kind, text, flags or ("--" + entry.name.replace("_", "-"),), optional)


@dataclass(frozen=True)
class Whole:
    """A whole number."""

    low: int
    high: int
    metavar: str = "N"

    def parse(self, text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()):
            raise ValueError(f"'{text}' is not a whole number")
        return int(text)

    def check(self, value: Any) -> None:
        if not _is_whole(value):
            raise ValueError(f"{value!r} is not a whole number")
        check_range(value, self.low, self.high)


@dataclass(frozen=True)
class Number:
    """A number, or the one value `also`."""

    low: float
    high: float
    also: float | None = None
    metavar: str = "X"

    def parse(self, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"'{text}' is not a number") from None

    def check(self, value: Any) -> None:
        if not isinstance(value, Real) or isinstance(value, bool):
            raise ValueError(f"{value!r} is not a number")
        if value != self.also:
            check_range(float(value), self.low, self.high)


@dataclass(frozen=True)
class Bytes(Whole):
    """A number of bytes: 300k -> 300000, 1.5M -> 1500000."""

    metavar: str = "SIZE"

    def parse(self, text: str) -> int:
        match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([kKmMgG]?)i?[bB]?", text.strip())
        if not match:
            raise ValueError(f"'{text}' is not a size such as 300k, 1.5M or 200000")
        return round(float(match[1]) * {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}[match[2].lower()])


@dataclass(frozen=True)
class Wholes:
    """Whole numbers with spaces, commas, underscores or an x between: '5 3 2', '5,3,2', '5_3_2', '2x4'."""

    low: int
    high: int
    metavar: str
    example: str
    least: int = 1  # how many
    most: int | None = None
    unset: str | None = None  # the text for none at all
    alone: bool = False  # whether one number may stand by itself, not in a tuple

    def parse(self, text: str) -> tuple[int, ...] | int:
        if text.strip() == self.unset:
            return ()
        parts = [part for part in re.split(r"[\s,_x]+", text.strip()) if part]
        if not parts or not all(re.fullmatch("[0-9]{1,18}", part) for part in parts):
            raise ValueError(f"'{text}' is not a list of whole numbers such as {self.example}")
        found = tuple(map(int, parts))
        if self.alone and len(found) == 1:
            return found[0]
        self._check_count(found, text)
        return found

    def check(self, value: Any) -> None:
        if self.alone and _is_whole(value):
            value = (value,) * self.least
        if not isinstance(value, tuple) or not all(map(_is_whole, value)):
            raise ValueError(f"{value!r} is not whole numbers such as {self.example}")
        self._check_count(value, value)
        for number in value:
            check_range(number, self.low, self.high)

    def _check_count(self, found: Sequence[int], given: Any) -> None:
        if not self.least <= len(found) <= (self.most or len(found)):
            count = f"{self.least}" if self.least == self.most else f"{self.least} or more"
            raise ValueError(f"'{given}' is not {count} whole numbers such as {self.example}")


@dataclass(frozen=True)
class Choice:
    """One of several names."""

    names: Sequence[str]
    metavar: str = "NAME"

    def parse(self, text: str) -> str:
        return text

    def check(self, value: Any) -> None:
        if value not in self.names:
            raise ValueError(f"'{value}' is unknown: choose from {', '.join(self.names)}")


@dataclass(frozen=True)
class Choices:
    """So many of several names, with spaces, commas or underscores between."""

    names: Sequence[str]
    count: int
    metavar: str
    example: str

    def parse(self, text: str) -> tuple[str, ...]:
        return tuple(text.replace(",", " ").replace("_", " ").split())

    def check(self, value: Any) -> None:
        if not isinstance(value, tuple) or len(value) != self.count:
            raise ValueError(f"'{value}' is not {self.count} names, such as {self.example}")
        for name in value:
            Choice(self.names).check(name)


@dataclass(frozen=True)
class Text:
    """Any text."""

    metavar: str = "NAME"

    def parse(self, text: str) -> str:
        return text

    def check(self, value: Any) -> None:
        if not isinstance(value, str) or not value:
            raise ValueError(f"{value!r} is no name")


@dataclass(frozen=True)
class Flag:
    """Yes or no."""

    metavar: str = ""

    def parse(self, text: str) -> bool:
        if text not in ("yes", "no"):
            raise ValueError(f"'{text}' is neither yes nor no")
        return text == "yes"

    def check(self, value: Any) -> None:
        if not isinstance(value, bool):
            raise ValueError(f"{value!r} is neither True nor False")


@dataclass(frozen=True)
class Spelled:
    """A value with a spelling of its own: `read` is the inverse of str and raises ValueError."""

    read: Callable[[str], Any]
    metavar: str = "NAME"

    def parse(self, text: str) -> Any:
        return self.read(text)

    def check(self, value: Any) -> None:
        try:
            same = not isinstance(value, str) and self.read(str(value)) == value
        except ValueError:
            same = False
        if not same:
            raise ValueError(f"{value!r} is not of a kind that text stands for")


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_range(number: float, low: float, high: float) -> None:
    """Raise ValueError for a number that is not in low..high."""
    if not low <= number <= high:
        raise ValueError(f"{number} is out of range: from {low} to {high}")
