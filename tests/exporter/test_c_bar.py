"""What learning costs on a Cortex-M, as recorded: the page says it, targets hold, no change makes it more."""

import json
import shutil

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from benchmarks import metal, metal_table
from regrow_exporter.c_writer import write_c

# Instructions are counted in fortieths of a microsecond; nothing else varies while the compiler is the same.
SLACK = 1.01


@pytest.fixture(scope="module")
def record():
    return json.loads(metal.RECORD.read_text())


def test_the_page_is_the_record(record):
    text = metal_table.PAGE.read_text(encoding="utf-8")
    assert metal_table.replaced(text, record) == text, "run python -m benchmarks.metal --table"
    assert len(record["rows"]) == len(metal.NETWORKS) * 2 * len(metal.BOARDS) * len(metal.FLAGS)


def test_the_core_of_a_conv4_is_small(record):
    rows = [
        r for r in record["rows"] if "conv4" in r["network"] and r["board"] == "m7" and r["flags"] == "-Os"
    ]
    assert len(rows) == 4
    assert all(row["core_text"] <= metal_table.CORE_TEXT_LIMIT for row in rows)


@pytest.mark.parametrize(
    ("board", "sparsity"),
    [
        ("m7", 0.9),
        *(pytest.param(*p, marks=pytest.mark.slow) for p in (("m55", 0.9), ("m7", 0.0), ("m55", 0.0))),
    ],
)
def test_nothing_became_worse(board, sparsity, record, tmp_path):
    if lacking := [t for t in ("make", *record["tools"]) if shutil.which(t) is None]:
        pytest.skip(f"needs {', '.join(lacking)} (docs/metal.md names the packages)")
    if metal.tools() != record["tools"]:
        pytest.skip(f"counts of {record['tools']} say nothing of those of {metal.tools()}")
    name = "conv4, 8 filters"
    wanted = {"network": name, "sparsity": sparsity, "board": board, "flags": "-Os"}
    (before,) = (row for row in record["rows"] if wanted.items() <= row.items())
    folder = tmp_path / "c"
    write_c(metal.write_model(name, sparsity, tmp_path / "m.regrow"), folder, metal.SAMPLES)
    now = metal.measured(folder, board, "-Os")
    worse = {k: (before[k], now[k]) for k in now if now[k] > SLACK * before[k] + 64}
    assert not worse, f"{worse}; where that is the price of something, python -m benchmarks.metal"
