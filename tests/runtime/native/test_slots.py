"""Saved values survive a loss of power at every byte: the old ones or the new are restored, never a mix."""

import ctypes
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
NATIVE = ROOT / "runtime" / "native"
PAGE, OWNER = 32, 0x1122334455667788
OK, E_NULL, E_COUNT, E_FLASH, E_EMPTY = 0, 1, 9, 11, 12
READ = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32)


class Callbacks(ctypes.Structure):
    _fields_ = (("context", ctypes.c_void_p), ("page", ctypes.c_uint32), ("read", READ), ("write", READ))


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or not NATIVE.exists():
        pytest.skip("needs a C compiler and the core's sources")
    library = tmp_path_factory.mktemp("slots") / "slots.so"
    flags = ("-std=gnu99", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Wconversion", "-Werror")
    subprocess.run([compiler, *flags, str(NATIVE / "slots.c"), "-o", str(library)], check=True)
    made = ctypes.CDLL(str(library))
    given = (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint32)
    made.regrow_save.argtypes = made.regrow_restore.argtypes = given
    made.regrow_slots_bytes.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    made.regrow_slots_bytes.restype = ctypes.c_uint32
    return made


class Flash:
    """Pages in memory. After `power` bytes have changed, nothing does any more; a page that was being erased
    or written then holds `torn` bytes where it was not yet done, or what was there."""

    def __init__(self, core: ctypes.CDLL, size: int, page: int = PAGE) -> None:
        self.core, self.page = core, page
        self.struct = Callbacks(None, page, READ(self._read), READ(self._write))
        self.cells = np.full(core.regrow_slots_bytes(ctypes.byref(self.struct), size), 0xFF, np.uint8)
        self.power, self.changed = 1 << 60, 0
        self.torn: np.ndarray | None = None
        self.unreadable: range = range(0)

    def _read(self, context: int, at: int, to: int, count: int) -> int:
        if set(range(at, at + count)) & set(self.unreadable):
            return 1
        ctypes.memmove(to, self.cells[at : at + count].tobytes(), count)
        return 0

    def _write(self, context: int, at: int, source: int, count: int) -> int:
        assert at % self.page == 0
        assert count <= self.page
        content = np.full(self.page, 0xFF, np.uint8)
        wanted = np.frombuffer(ctypes.string_at(source, count), np.uint8)
        for new in (content.copy(), np.concatenate([wanted, content[count:]])):
            done = min(self.page, max(0, self.power - self.changed))
            self.cells[at : at + done] = new[:done]
            self.changed += done
            if done < self.page:
                if self.torn is not None:
                    self.cells[at + done : at + self.page] = self.torn[done : self.page]
                return 1
        return 0

    def save(self, data: bytes, owner: int = OWNER) -> int:
        return int(self.core.regrow_save(ctypes.byref(self.struct), owner, data, len(data)))

    def restore(self, size: int, owner: int = OWNER) -> tuple[int, bytes]:
        data = ctypes.create_string_buffer(b"\xaa" * size, size)
        status = int(self.core.regrow_restore(ctypes.byref(self.struct), owner, data, size))
        return status, data.raw


def random_bytes(seed: int, size: int) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes()


@pytest.mark.parametrize("torn", ["as it was", "erased", "garbage"])
@pytest.mark.parametrize("size", [4, 100])
def test_power_may_fail_at_every_byte(core: ctypes.CDLL, size: int, torn: str) -> None:
    saved = [random_bytes(i, size) for i in range(4)]
    whole = Flash(core, size)
    whole.save(saved[0])
    for old, new in pairwise(saved):
        before, whole.changed = whole.cells.copy(), 0
        assert whole.save(new) == OK
        total, outcomes = whole.changed, set()
        for power in range(total):
            cut = Flash(core, size)
            cut.cells[:] = before
            cut.power = power
            cut.torn = {"as it was": None, "erased": np.full(PAGE, 255, np.uint8)}.get(
                torn, np.frombuffer(random_bytes(power, PAGE), np.uint8)
            )
            assert cut.save(new) == E_FLASH
            status, found = cut.restore(size)
            assert status == OK, power
            assert found in (old, new), power
            outcomes.add(found)
            # And life goes on: the next save works and is what is read from then on.
            cut.power, cut.changed = 1 << 60, 0
            assert cut.save(saved[0]) == OK
            assert cut.restore(size) == (OK, saved[0])
        assert old in outcomes
        assert whole.restore(size) == (OK, new)


def test_the_first_save_leaves_nothing_or_all(core: ctypes.CDLL) -> None:
    data = random_bytes(1, 70)
    for power in range(6 * 2 * PAGE):
        cut = Flash(core, 70)
        cut.power = power
        done = cut.save(data)
        expected = (OK, data) if done == OK else (E_EMPTY, b"\xaa" * 70)
        assert cut.restore(70) in (expected, (OK, data))


def test_every_changed_bit_of_the_newest_slot_brings_the_older_back(core: ctypes.CDLL) -> None:
    old, new = random_bytes(1, 40), random_bytes(2, 40)
    flash = Flash(core, 40)
    assert (flash.save(old), flash.save(new)) == (OK, OK)
    half = len(flash.cells) // 2
    used = [*range(half, half + 32), *range(half + PAGE, half + PAGE + 40)]
    for at in used:
        for bit in range(8):
            flash.cells[at] ^= np.uint8(1 << bit)
            assert flash.restore(40) == (OK, old), (at, bit)
            flash.cells[at] ^= np.uint8(1 << bit)
    assert flash.restore(40) == (OK, new)


def test_a_slot_that_cannot_be_read_is_no_reason_to_lose_the_other(core: ctypes.CDLL) -> None:
    old, new = random_bytes(1, 40), random_bytes(2, 40)
    flash = Flash(core, 40)
    assert (flash.save(old), flash.save(new)) == (OK, OK)
    half = len(flash.cells) // 2
    flash.unreadable = range(half, 2 * half)
    assert flash.restore(40) == (OK, old)
    flash.unreadable = range(2 * half)
    assert flash.restore(40)[0] == E_FLASH
    flash.unreadable = range(half + PAGE, 2 * half)
    assert flash.save(new) == E_FLASH
    assert flash.restore(40) == (OK, old)


def test_the_sequence_wraps_around(core: ctypes.CDLL) -> None:
    flash = Flash(core, 8)
    assert flash.save(b"first...") == OK
    words = flash.cells[:32].view(np.uint32)
    words[1] = 0xFFFFFFFF
    words[7] = _crc(words[:7].tobytes())
    for text in (b"second..", b"third...", b"fourth.."):
        assert flash.save(text) == OK
        assert flash.restore(8) == (OK, text)


def _crc(data: bytes) -> int:
    import zlib

    return zlib.crc32(data)


def test_what_belongs_to_another_model_is_not_taken(core: ctypes.CDLL) -> None:
    flash = Flash(core, 40)
    assert flash.save(random_bytes(1, 40)) == OK
    assert flash.restore(40, OWNER + 1) == (E_EMPTY, b"\xaa" * 40)
    assert flash.restore(40, OWNER + (1 << 32))[0] == E_EMPTY
    assert flash.restore(36)[0] == E_EMPTY


def test_sizes_that_make_no_sense_are_refused(core: ctypes.CDLL) -> None:
    flash = Flash(core, 40)
    assert core.regrow_slots_bytes(ctypes.byref(flash.struct), 2**32 - 1) == 0
    small = Flash(core, 40, page=16)
    assert len(small.cells) == 0
    assert small.save(b"x" * 40) == E_COUNT
    assert core.regrow_save(None, OWNER, b"x", 1) == E_NULL
