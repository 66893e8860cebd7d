"""The native core as a shared library: found beside the package, loaded once, its names asked for."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

from regrow.errors import UnsupportedError

PATH = Path(__file__).resolve().parent.parent / "_core.so"


class Block(ctypes.Structure):
    """Memory the core may use."""

    _fields_ = (("data", ctypes.c_void_p), ("bytes", ctypes.c_uint64))


@cache
def library() -> ctypes.CDLL:
    """The loaded core with its signatures."""
    try:
        made = ctypes.CDLL(str(PATH))
    except OSError as error:
        raise UnsupportedError(
            f"engine native: {PATH.name} could not be loaded ({error}), expected a core built for this "
            "machine; build it with `python runtime/native/build.py` or choose engine='onnx'"
        ) from error
    plan = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32)
    made.regrow_run.argtypes = plan
    made.regrow_run.restype = ctypes.c_int
    made.regrow_run_width.argtypes = (ctypes.c_uint32, *plan)
    made.regrow_run_width.restype = ctypes.c_int
    made.regrow_arena_bytes.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    made.regrow_arena_bytes.restype = ctypes.c_uint64
    made.regrow_name.argtypes = (ctypes.c_char_p, ctypes.c_uint32)
    made.regrow_name.restype = ctypes.c_char_p
    made.regrow_width.argtypes = ()
    made.regrow_width.restype = ctypes.c_uint32
    return made


@cache
def names(table: str) -> dict[str, int]:
    """The core's own list: "status", "op", "map", "map_back", "binary" or "width"."""
    made: dict[str, int] = {}
    while (name := library().regrow_name(table.encode(), len(made))) is not None:
        made[name.decode()] = len(made)
    return made


def widest() -> str:
    """What the core calls the vectors of this machine."""
    width: int = library().regrow_width()
    return list(names("width"))[width]


def code(table: str, name: str) -> int:
    """The number of an op or function."""
    return names(table)[name]


def text(status: int) -> str:
    """What a status says."""
    return list(names("status"))[status]
