"""Checkpoints: everything comes back as it was; what cannot be a learner is refused."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regrow import checkpoint, container
from regrow.checkpoint import Checkpoint
from regrow.errors import BundleError
from regrow.files import atomic_write
from regrow.manifest import InputSpec

GOOD = Checkpoint(
    backbone={"path": "regrow_trainer.backbones.conv4:conv4", "args": {"width": 64, "sizes": [1, 2]}},
    rule={"path": "regrow_trainer.rules.sgd:sgd", "args": {"lr": 0.1}},
    adaptable=("head.*",),
    steps=5,
    loss="cross_entropy",
    batch_norm="support",
    input=InputSpec(),
    n_out=5,
    params={"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(7)},
    masks={"w": np.array([[True, False, True], [True, True, False]])},
    meta={"lr": np.array([0.1], np.float32)},
    extra={"adam.w": np.ones(3, np.float32), "rng": np.arange(9, dtype=np.uint8)},
    provenance={"seed": 1},
    recipe={"data": {"source": "glyphs"}},
    iteration=12,
    update="pruned",
)
GROUPS = ("params", "masks", "meta", "extra")


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    digest = checkpoint.write(path, GOOD)
    assert container.read(path).digest == digest
    made = checkpoint.read(path)
    for field in fields(Checkpoint):
        found, want = getattr(made, field.name), getattr(GOOD, field.name)
        if field.name not in GROUPS:
            assert found == want
            continue
        assert list(found) == list(want)
        for name in want:
            assert (found[name].dtype, found[name].shape) == (want[name].dtype, want[name].shape)
            assert found[name].tobytes() == want[name].tobytes()


def test_the_first_version_knew_one_update_only(tmp_path: Path) -> None:
    path = tmp_path / "a"
    checkpoint.write(path, GOOD)
    file = container.read(path)
    data = {**json.loads(file.metadata[checkpoint.METADATA_KEY]), "format_version": 1}
    del data["update"]
    container.write(path, file.tensors, {checkpoint.METADATA_KEY: json.dumps(data)})
    assert checkpoint.read(path).update == "kept"


def test_groups_do_not_clash(tmp_path: Path) -> None:
    tensor = {"w": np.zeros(2, np.float32)}
    made = replace(GOOD, params=tensor, masks={}, meta={"w": np.ones(1, np.float32)}, extra=tensor)
    checkpoint.write(tmp_path / "a", made)
    found = checkpoint.read(tmp_path / "a")
    assert (found.params["w"].shape, found.meta["w"].shape) == ((2,), (1,))


Edit = Callable[[dict[str, Any]], object]
BAD: list[tuple[Edit, str, str]] = [
    (lambda c: c.update(format_version=3), "format_version", "pip install -U regrow"),
    (lambda c: c.pop("recipe"), "recipe", "found nothing"),
    (lambda c: c["backbone"].update(path=3), "backbone.path", "a string"),
    (lambda c: c["rule"].pop("args"), "rule.args", "found nothing"),
    (lambda c: c.update(loss="hinge"), "loss", "one of cross_entropy, mse"),
    (lambda c: c.update(batch_norm=None), "batch_norm", "one of none"),
    (lambda c: c.update(n_out=0), "n_out", "an integer >= 1"),
    (lambda c: c.update(steps=-1), "steps", "an integer >= 1"),
    (lambda c: c["input"].update(std=-1.0), "input.std", "a number > 0"),
    (lambda c: c.update(adaptable="head"), "adaptable", "a list"),
    (lambda c: c.update(params=["w", "w"]), "params", "each name once"),
    (lambda c: c.update(iteration=1.5), "iteration", "an integer"),
    (lambda c: c.update(update="all"), "update", "one of kept, pruned"),
]


@pytest.mark.parametrize(("edit", "place", "word"), BAD)
def test_wrong_content_is_refused(tmp_path: Path, edit: Edit, place: str, word: str) -> None:
    path = tmp_path / "a"
    checkpoint.write(path, GOOD)
    file = container.read(path)
    data = json.loads(file.metadata[checkpoint.METADATA_KEY])
    edit(data)
    container.write(path, file.tensors, {checkpoint.METADATA_KEY: json.dumps(data)})
    with pytest.raises(BundleError) as caught:
        checkpoint.read(path)
    assert str(caught.value).startswith(f"{path}: checkpoint.{place}: found ")
    assert word in str(caught.value)


@pytest.mark.parametrize(
    ("masks", "word"),
    [
        ({"ghost": np.ones(1, np.bool_)}, "no mask"),
        ({"w": np.ones((3, 2), np.bool_)}, "bool[2, 3]"),
        ({"w": np.ones((2, 3), np.uint8)}, "found uint8[2, 3]"),
    ],
)
def test_writer_refuses_a_mask_of_nothing(tmp_path: Path, masks: Any, word: str) -> None:
    with pytest.raises(BundleError) as caught:
        checkpoint.write(tmp_path / "a", replace(GOOD, masks=masks))
    assert word in str(caught.value)
    assert not (tmp_path / "a").exists()


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "a", GOOD)
    file = container.read(tmp_path / "a")
    tensors = {name: array for name, array in file.tensors.items() if name != "extra.rng"}
    container.write(tmp_path / "a", tensors, file.metadata)
    with pytest.raises(BundleError, match=r"extra\.rng: found no such tensor"):
        checkpoint.read(tmp_path / "a")


def test_a_kill_at_any_byte_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    checkpoint.write(path, GOOD)
    write = atomic_write
    for cut in (0, 1, 64):

        def cut_short(target: Any, chunks: Any, cut: int = cut) -> None:
            def some() -> Any:
                yield b"".join(bytes(c) for c in chunks)[:cut]
                raise KeyboardInterrupt

            write(target, some())

        monkeypatch.setattr(container, "atomic_write", cut_short)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.write(path, replace(GOOD, iteration=13))
        assert checkpoint.read(path).iteration == 12
