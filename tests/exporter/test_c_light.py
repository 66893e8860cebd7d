"""C from a bundle where torch never was, by an installed regrow as by a checkout."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from regrow import bundle
from regrow.engines import core
from regrow_exporter.c_writer import folder
from regrow_exporter.c_writer.text import identifiers, items, string
from tests.exporter.c_make import dumped, make, tool
from tests.runtime import tiny

if not core.PATH.exists():
    pytest.skip("the native core is not built: no C compiler here", allow_module_level=True)


def test_a_bundle_becomes_c_that_learns_as_the_engine_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool("cc")
    tiny.write(tmp_path / "m.regrow", max_loss_rise=1.0, labels=("größe", '"b"', "c\\d", "??/", "*/"))
    bound = folder.write_folder(bundle.read(tmp_path / "m.regrow"), tmp_path / "c")
    found = dumped(make(tmp_path / "c"), bound)
    library = core.library()
    monkeypatch.setattr(library, "regrow_width", lambda: 0)
    adapted, _ = folder.reference(bound, "native")
    assert found["head.weight"].tobytes() == adapted.params["head.weight"].tobytes()
    assert found["state:velocity"].tobytes() == adapted.state["velocity"].tobytes()
    assert found["stat:mean"].tobytes() == adapted.statistics["mean"].tobytes()
    assert (found["head.weight"] != bound.changing["head.weight"]).any()


def test_literals_give_their_bits_back() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 5000, np.uint64).astype(np.uint32).view(np.float32)
    finite = np.concatenate([bits[np.isfinite(bits)], np.array([0, -0.0, 1, -1, 1e-45, 3e38], np.float32)])
    back = np.array([np.float32(text.removesuffix("f")) for text in items(finite)])
    assert back.tobytes() == finite.tobytes()
    assert all("." in text or "e" in text for text in items(finite))
    assert items(np.array([np.inf, -np.inf, np.nan], np.float32)) == ["INFINITY", "-INFINITY", "NAN"]
    assert items(np.array([-(2**63), 2**63 - 1], np.int64)) == ["INT64_MIN", str(2**63 - 1)]


def test_names_become_identifiers_without_clashes() -> None:
    names = ["a.b", "a_b", "a:b", "1x", "for", "größe", "", "head.weight"]
    made = identifiers(names)
    assert len(set(made.values())) == len(names)
    assert all(name.isascii() and name.isidentifier() for name in made.values())
    assert made["for"] == "v_for"


def test_strings_cannot_leave_their_quotes() -> None:
    assert string('a"b\\c\n') == r'"a\"b\\c\012"'
    assert "??/" not in string("??/")
