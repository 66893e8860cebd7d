"""Weights of a bundle by name. What is frozen and stored narrow is floats only while someone holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from weakref import WeakValueDictionary

from regrow.values import Floats


class Parameters(Mapping[str, Floats]):
    """Arrays, or what makes one; a made one is forgotten when nobody has it any more."""

    def __init__(self, items: Mapping[str, Floats | Callable[[], Floats]]) -> None:
        self._items = dict(items)
        self._made: WeakValueDictionary[str, Floats] = WeakValueDictionary()

    def __getitem__(self, name: str) -> Floats:
        item = self._items[name]
        if not callable(item):
            return item
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = item()
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)
