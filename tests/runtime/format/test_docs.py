"""docs/bundle.md shows a real file. This builds it, and fails where page and code disagree.

`python tests/runtime/format/test_docs.py` writes the page's generated block anew.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow import bundle, container, encoding, fields, manifest, values
from regrow.manifest import InputSpec, Manifest, OutputSpec, Policy, RuleSpec, SelfTest, TensorSpec

PAGE = Path(__file__).parents[3] / "docs" / "bundle.md"
BEGIN, END = "<!-- generated: begin -->\n", "<!-- generated: end -->\n"
# A zlib stream of one stored block: other builds of zlib may compress differently, so the bytes are fixed.
PROGRAM = b'{"inputs":["x"],"outputs":["x"],"values":{"x":[[-1,4],"float32","input"]},"ops":[]}'
STORED = bytes.fromhex("7801") + b"\x01" + len(PROGRAM).to_bytes(2, "little")


def golden() -> tuple[Manifest, dict[str, Any]]:
    """The smallest bundle that has one tensor of every kind."""
    sparse = np.zeros((4, 10), np.float32)
    sparse.flat[[3, 4, 17, 39]] = [1.0, -0.0, 0.5, -2.0]
    kept = np.zeros(sparse.shape, np.bool_)
    kept.flat[[3, 4, 17, 39]] = True
    masked = np.array([1, 0, 0.5, 0, 0, 2, 0, -1], np.float32)
    steps = np.array([[0.25, -31.75], [127.0, 0.5]], np.float32)
    packed = [
        bundle.pack_parameter("head.bias", np.array([0.25, -1.0], np.float32), "all"),
        bundle.pack_parameter("conv.weight", sparse, "kept", kept),
        bundle.pack_parameter("norm.weight", masked, "none", masked != 0, "fp16"),
        bundle.pack_parameter("head.weight", steps, "all", None, "int8"),
    ]
    tensors: dict[str, Any] = {name: array for _, parts in packed for name, array in parts.items()}
    tensors["meta.lr"] = np.array(0.1, np.float32)
    tensors["program.predict"] = np.frombuffer(_stored(PROGRAM), np.uint8)
    made = Manifest(
        name="golden",
        task="classification",
        input=InputSpec(shape=(4,), kind="vector"),
        output=OutputSpec((2,), labels=("no", "yes")),
        parameters=tuple(entry for entry, _ in packed),
        statistics=(),
        state=(),
        rule=RuleSpec("sgd", "regrow_trainer.rules.sgd:sgd", {}, 5, (TensorSpec("lr", ()),)),
        policy=Policy("none", 2, 2, 1.0),
        programs={"predict": "program.predict"},
        graphs={},
        peak_bytes={"2": 4096},
        selftest=SelfTest(1, 2, 2, (0.75, 0.5), (0.25, -0.25), 0.0001),
        verification={},
        provenance={},
    )
    return made, tensors


def _stored(data: bytes) -> bytes:
    a, b = 1, 0
    for byte in data:
        a = (a + byte) % 65521
        b = (b + a) % 65521
    inverse = (len(data) ^ 0xFFFF).to_bytes(2, "little")
    return STORED + inverse + data + (b << 16 | a).to_bytes(4, "big")


def dump(data: bytes) -> Iterator[str]:
    """Every byte of the file, section by section, except the middle of the header."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    yield from _lines(data, 0, 8, f"header length: {start - 8}")
    yield from _lines(data, 8, 24, "the header: JSON ...")
    yield from _lines(data, start - 16, start, f"... padded with spaces, so that data starts at {start}")
    for name, entry in header.items():
        if name != container.METADATA:
            begin, end = (start + offset for offset in entry["data_offsets"])
            yield from _lines(data, begin, end, f"{name}  {entry['dtype']} {entry['shape']}")


def _lines(data: bytes, begin: int, end: int, note: str) -> Iterator[str]:
    for i in range(begin, end, 16):
        row = data[i : min(i + 16, end)].hex(" ")
        yield f"{i:08x}  {row:<47}  {note if i == begin else ''}".rstrip()


def block(data: bytes) -> str:
    """The generated part of the page."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    shown = json.loads(header[container.METADATA][bundle.METADATA_KEY])
    text = ",\n".join(f" {json.dumps(key)}: {_spread(value)}" for key, value in shown.items())
    dumped = "\n".join(dump(data))
    title = '`__metadata__["regrow"]` of that file, spread out:'
    return f"```text\n{dumped}\n```\n\n{title}\n\n```json\n{{\n{text}\n}}\n```\n"


def _spread(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return json.dumps(value)
    return "[\n" + ",\n".join(f"  {json.dumps(item)}" for item in value) + "\n ]"


def write_golden(folder: Path) -> bytes:
    bundle.write(folder / "golden.regrow", *golden())
    return (folder / "golden.regrow").read_bytes()


def test_the_page_shows_these_very_bytes(tmp_path: Path) -> None:
    page = PAGE.read_text("utf-8")
    shown = page.split(BEGIN)[1].split(END)[0]
    assert shown == block(write_golden(tmp_path)), f"run: python {Path(__file__).name}"


def test_the_shown_file_reads_as_written(tmp_path: Path) -> None:
    write_golden(tmp_path)
    made = bundle.read(tmp_path / "golden.regrow")
    assert made.manifest == golden()[0]
    assert [p.encoding for p in made.manifest.parameters] == ["dense", "rice", "bitmask", "dense"]
    assert made.params["conv.weight"].reshape(-1)[[3, 17, 39]].tolist() == [1.0, 0.5, -2.0]
    assert np.signbit(made.params["conv.weight"].flat[4])
    assert made.params["norm.weight"].tolist() == [1, 0, 0.5, 0, 0, 2, 0, -1]
    assert made.params["head.weight"].tolist() == [[0.25, -31.75], [127, 0]]
    assert made.program("predict").outputs == ("x",)


@pytest.mark.parametrize(
    "limit",
    [
        f"{container.MAX_HEADER // 2**20} MiB",
        f"{bundle.MAX_BLOB // 2**20} MiB",
        f"{fields.MAX_RANK} dimensions",
        f"{fields.MAX_DEPTH} levels",
        "2^53",
        "2^28",
        "2^-126 to 2^120",
        "-127 to 127",
        f"`format_version` {manifest.FORMAT_VERSION}",
    ],
)
def test_the_page_states_the_limits_of_the_code(limit: str) -> None:
    assert (fields.MAX_INT, encoding.MAX_SPARSE) == (2**53, 2**28)
    assert (values.MIN_SCALE, values.MAX_SCALE) == (2.0**-126, 2.0**120)
    assert limit in " ".join(PAGE.read_text("utf-8").split())


def test_the_page_names_every_key_of_the_manifest() -> None:
    prose = PAGE.read_text("utf-8").split(BEGIN)[0]
    for key in golden()[0].to_json():
        assert f"`{key}`" in prose


def main() -> None:
    """Write the generated block of the page anew."""
    page = PAGE.read_text("utf-8")
    head, tail = page.split(BEGIN)[0], page.split(END)[1]
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(head + BEGIN + block(write_golden(Path(folder))) + END + tail, "utf-8")


if __name__ == "__main__":
    main()
