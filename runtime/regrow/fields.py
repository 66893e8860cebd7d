"""Read JSON that a stranger wrote: every value is typed, bounded and, when wrong, named by its place.

`loads` accepts strict JSON only (UTF-8, no duplicate key, no NaN or infinity). `Fields` reads one object
of it key by key. Unknown keys are ignored, missing ones are errors. It knows nothing about bundles.
"""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from regrow.errors import BundleError

REMEDY = "the file is damaged or foreign: copy it again or write it anew"
MAX_INT = 2**53  # beyond it JSON readers disagree
MAX_RANK = 8
MAX_DEPTH = 32


def fail(place: str, found: object, expected: str, remedy: str = REMEDY) -> BundleError:
    """The error of a file: place, found, expected, remedy."""
    return BundleError(f"{place}: found {show(found)}, expected {expected}; {remedy}")


class Words(str):
    """Text of ours for `fail`'s `found`: shown as it is, where a plain string is shown quoted."""

    __slots__ = ()


def show(value: object) -> str:
    """A short rendering of a hostile value: no nesting, no raw control characters."""
    if isinstance(value, Words):
        return str(value)
    if isinstance(value, dict):
        return f"an object of {len(value)} keys"
    if isinstance(value, list):
        return f"a list of {len(value)}" if len(value) > 8 or _nested(value) else repr(value)
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _nested(values: list[Any]) -> bool:
    return any(isinstance(v, list | dict) or (isinstance(v, str) and len(v) > 20) for v in values)


def show_name(name: str) -> str:
    """A name from a file for a message: as it is where it is printable, else escaped."""
    return name if name.isprintable() and len(name) <= 80 else repr(name[:80])


def loads(data: bytes, place: str) -> Any:
    """Strict JSON or a BundleError."""
    try:
        text = data.decode("utf-8")
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_constant, parse_float=_finite, parse_int=_integer
        )
    except (ValueError, RecursionError) as error:
        raise fail(place, Words(f"no strict JSON ({str(error)[:120]})"), "UTF-8 JSON") from error


def dumps(value: object, place: str) -> str:
    """Compact ASCII JSON; what strict JSON cannot hold is a BundleError of the writer."""
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise fail(place, Words(str(error)), "plain JSON data", "convert it before writing") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"duplicate key {next(n for n in names if names.count(n) > 1)!r}")
    return made


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} overflows")
    return value


def _integer(text: str) -> int:
    if len(text) > 20:
        raise ValueError(f"{text[:20]}... overflows")
    return int(text)


def check_integer(value: object, place: str, low: int = 0, high: int = MAX_INT) -> int:
    """An int (never a bool or a float) within bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        bounds = f">= {low}" if high == MAX_INT else f"from {low} to {high}"
        raise fail(place, value, f"an integer {bounds}")
    return value


def check_number(value: object, place: str) -> float:
    """A finite number, as float."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise fail(place, value, "a finite number")
    return float(value)


def check_string(value: object, place: str) -> str:
    """A string that can be encoded (JSON escapes can smuggle lone surrogates in)."""
    if not isinstance(value, str) or not _encodable(value):
        raise fail(place, value, "a string")
    return value


def check_text(value: object, place: str) -> str:
    """A non-empty string."""
    text = check_string(value, place)
    if not text:
        raise fail(place, value, "a non-empty string")
    return text


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_list(value: object, place: str) -> list[Any]:
    """A JSON array."""
    if not isinstance(value, list):
        raise fail(place, value, "a list")
    return value


def check_shape(value: object, place: str, low: int = 0) -> tuple[int, ...]:
    """A list of at most eight dimensions, each >= low."""
    dims = check_list(value, place)
    if len(dims) > MAX_RANK:
        raise fail(place, value, f"at most {MAX_RANK} dimensions")
    shape = tuple(check_integer(d, f"{place}[{i}]", low) for i, d in enumerate(dims))
    # numpy refuses the product even where another dimension is zero.
    if math.prod(max(abs(d), 1) for d in shape) > MAX_INT:
        raise fail(place, value, f"at most {MAX_INT} elements")
    return shape


def check_plain(value: object, place: str, depth: int = MAX_DEPTH) -> None:
    """Free JSON data must not be nested so deep that a later reader runs out of stack."""
    if isinstance(value, dict | list):
        if depth == 0:
            raise fail(place, Words("deeper nesting"), f"at most {MAX_DEPTH} levels")
        for item in value.values() if isinstance(value, dict) else value:
            check_plain(item, place, depth - 1)


class Fields:
    """One JSON object and its place, e.g. `keypad.regrow: manifest.parameters[3]`."""

    def __init__(self, value: object, place: str) -> None:
        if not isinstance(value, dict):
            raise fail(place, value, "an object")
        self.values: dict[str, Any] = value
        self.place = place

    def at(self, key: str) -> str:
        """The place of one key."""
        return f"{self.place}.{show_name(key)}"

    def get(self, key: str) -> Any:
        """The raw value of a key that must be there."""
        if key not in self.values:
            raise fail(self.at(key), Words("nothing"), "a value")
        return self.values[key]

    def text(self, key: str) -> str:
        """A non-empty string."""
        return check_text(self.get(key), self.at(key))

    def integer(self, key: str, low: int = 0, high: int = MAX_INT) -> int:
        """An integer within bounds."""
        return check_integer(self.get(key), self.at(key), low, high)

    def number(self, key: str) -> float:
        """A finite number."""
        return check_number(self.get(key), self.at(key))

    def flag(self, key: str) -> bool:
        """true or false."""
        value = self.get(key)
        if not isinstance(value, bool):
            raise fail(self.at(key), value, "true or false")
        return value

    def choice(self, key: str, options: Sequence[str]) -> str:
        """One of the options."""
        value = self.get(key)
        if not isinstance(value, str) or value not in options:
            raise fail(self.at(key), value, f"one of {', '.join(options)}")
        return value

    def shape(self, key: str, low: int = 0) -> tuple[int, ...]:
        """A list of dimensions."""
        return check_shape(self.get(key), self.at(key), low)

    def items(self, key: str) -> Iterator[tuple[Any, str]]:
        """The items of a list, each with its place."""
        at = self.at(key)
        return ((item, f"{at}[{i}]") for i, item in enumerate(check_list(self.get(key), at)))

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of non-empty strings."""
        return tuple(check_text(v, at) for v, at in self.items(key))

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of finite numbers."""
        return tuple(check_number(v, at) for v, at in self.items(key))

    def object(self, key: str) -> "Fields":
        """An object."""
        return Fields(self.get(key), self.at(key))

    def objects(self, key: str) -> "list[Fields]":
        """A list of objects."""
        return [Fields(v, at) for v, at in self.items(key)]

    def free(self, key: str) -> dict[str, Any]:
        """An object whose keys are nobody's business, of bounded depth."""
        value = self.object(key).values
        check_plain(value, self.at(key))
        return value

    def text_map(self, key: str) -> dict[str, str]:
        """An object of strings."""
        inner = self.object(key)
        return {check_text(k, inner.place): inner.text(k) for k in inner.values}

    def count_map(self, key: str) -> dict[str, int]:
        """An object of non-negative integers."""
        inner = self.object(key)
        return {check_text(k, inner.place): inner.integer(k) for k in inner.values}
