"""Tasks shared over processes: the same meta-gradients as in one, and a run may go on with another number."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pydantic")

from regrow import checkpoint
from regrow.errors import RegrowError, UnsupportedError
from regrow.progress import Progress
from regrow_trainer import metrics, training
from regrow_trainer.device import backend, pick
from regrow_trainer.ranks import ALONE, Ranks
from regrow_trainer.recipe import load_recipe
from regrow_trainer.training import train

# The outer step is plain, so that a difference in weights is a difference in gradients.
RECIPE = """
name = "shared"
data = { train = "sine:train", validation = "sine:val", test = "sine:test", n_way = 1, k_shot = 5 }
backbone = { name = "mlp", args = { hidden = [8] } }
rule = { name = "meta_sgd", args = { lr = 0.02 } }
learner = { loss = "mse", batch_norm = "none", steps = 2 }
validation = { every = 2, episodes = 5 }
[train]
strategy = "second_order"
iterations = 6
tasks = 7
chunk = 2
lr = 0.05
rule_lr = 0.001
optimiser = "sgd"
schedule = "constant"
"""
MAIN = """
import sys, pathlib
from regrow_trainer.recipe import load_recipe
from regrow_trainer.training import train
train(load_recipe(sys.argv[1]), pathlib.Path(sys.argv[2]), resume=True, workers=1)
"""


def test_every_task_is_taken_by_exactly_one() -> None:
    for count in (1, 5, 16):
        for world in (1, 2, 3, 5):
            parts = [Ranks(rank, world).part(count) for rank in range(world)]
            taken = [i for first, number in parts for i in range(first, first + number)]
            assert taken == list(range(count))


def test_alone_nothing_is_sent() -> None:
    tree = {"a": torch.ones(2)}
    assert ALONE.total(tree) is tree


def test_a_process_without_work_is_refused(make_recipe: Callable[..., Any]) -> None:
    with pytest.raises(RegrowError, match=r"train.tasks is 3, expected at least one for each of 4"):
        Ranks(0, 4).check(make_recipe("sine"))


def test_processors_talk_through_gloo_and_gpus_through_nccl(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a machine with GPUs would do, as far as one without can tell."""
    assert pick("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert (pick("cpu"), backend(pick("cpu"))) == (torch.device("cpu"), "gloo")
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setenv("LOCAL_RANK", "1")
        assert pick("auto") == pick("cuda") == torch.device("cuda", 1)
        assert backend(pick("cuda")) == "nccl"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnsupportedError, match="torch finds no GPU"):
        pick("cuda")


@pytest.mark.parametrize("strategy", ["second_order", pytest.param("unrolled", marks=pytest.mark.slow)])
def test_two_processes_go_on_where_one_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    recipe = tmp_path / "shared.toml"
    recipe.write_text(RECIPE.replace("second_order", strategy))
    whole = train(load_recipe(recipe), tmp_path / "whole", workers=1)

    class Interrupting(Progress):
        def update(self, done: int, **figures: float) -> None:
            if done == 3:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "Progress", Interrupting)
        with pytest.raises(KeyboardInterrupt):
            train(load_recipe(recipe), tmp_path / "parts", workers=1)
    script = tmp_path / "go_on.py"
    script.write_text(MAIN)
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*line, str(script), str(recipe), str(tmp_path / "parts")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, wanted = (checkpoint.read(tmp_path / name / "last.safetensors") for name in ("parts", "whole"))
    assert found.iteration == wanted.iteration == 6
    for group in ("params", "meta"):
        for name, value in getattr(wanted, group).items():
            np.testing.assert_allclose(getattr(found, group)[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    told, expected = (metrics.read(tmp_path / name / "metrics.jsonl") for name in ("parts", "whole"))
    assert [r["iteration"] for r in told] == [r["iteration"] for r in expected]
    assert told[-1]["loss"] == pytest.approx(expected[-1]["loss"], rel=1e-5)
    assert (
        checkpoint.read(whole.best).iteration
        == checkpoint.read(tmp_path / "parts" / "best.safetensors").iteration
    )
