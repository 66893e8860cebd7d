"""Metrics of a run as JSON lines, one per record, and to TensorBoard where asked for."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from regrow.errors import UnsupportedError
from regrow.files import atomic_write


class Metrics:
    """Appends to a file; lines after `iteration`, which a resumed run will repeat, are dropped first."""

    def __init__(self, path: Path, iteration: int, tensorboard: bool = False) -> None:
        if tensorboard and find_spec("tensorboard") is None:
            raise UnsupportedError(
                "train --tensorboard: needs tensorboard, which is not installed; pip install tensorboard"
            )
        kept = [r for r in read(path) if r["iteration"] <= iteration]
        atomic_write(path, "".join(json.dumps(r) + "\n" for r in kept).encode())
        self._file = path.open("a", encoding="utf-8")
        self._board: Any = None
        if tensorboard:
            writer = import_module("torch.utils.tensorboard").SummaryWriter
            self._board = writer(str(path.parent / "tensorboard"), purge_step=iteration + 1)

    def __enter__(self) -> Metrics:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def write(self, record: dict[str, Any]) -> None:
        """One record with its `iteration` and `kind`; on disk before this returns."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        if self._board is not None:
            for key, value in record.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{record['kind']}/{key}", value, record["iteration"])


def read(path: Path) -> list[dict[str, Any]]:
    """The whole records of a file; a line cut off by a kill is not one."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records
