"""Sessions: what adapting, predicting, undoing, resetting and saving do to the state, against numpy fp64."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import regrow
from regrow.session import Session

Make = Callable[..., regrow.Model]
Looks = Callable[[regrow.Session], tuple[Any, ...]]


def start(tiny: ModuleType) -> dict[str, Any]:
    w = tiny.weights()
    return {"weight": w["head.weight"], "bias": w["head.bias"], "velocity": np.zeros(tiny.C)}


def test_adapt_is_what_numpy_computes(tiny: ModuleType, model: regrow.Model) -> None:
    x, y = tiny.support()
    session = model.session()
    report = session.adapt(x, y)
    state, losses = tiny.reference(x, y, np.ones(tiny.C, bool), start(tiny))
    np.testing.assert_allclose(report.losses, losses[:5], rtol=1e-5)
    assert report.loss == pytest.approx(losses[5], rel=1e-5)
    np.testing.assert_allclose(session.parameters["head.weight"], state["weight"], atol=1e-6)
    np.testing.assert_allclose(session.parameters["head.bias"], state["bias"], atol=1e-6)
    assert (session.predict(x).labels == y).mean() > (model.session().predict(x).labels == y).mean()


def test_the_report_says_what_happened(tiny: ModuleType, model: regrow.Model) -> None:
    x, y = tiny.support()
    report = model.session().adapt(x, y, steps=3)
    assert (report.steps, report.samples, report.engine, len(report.losses)) == (3, 20, model.engine.name, 3)
    assert report.elapsed_ms > 0
    assert report.peak_bytes == model.peak_bytes(20) > 0
    assert report.memory == ("exact" if model.engine.exact_memory else "estimated")
    assert report.exact == model.engine.exact_memory


def test_adapt_continues_with_the_optimiser_state(tiny: ModuleType, model: regrow.Model) -> None:
    x, y = tiny.support()
    session = model.session()
    session.adapt(x, y)
    session.adapt(x, y)
    once, _ = tiny.reference(x, y, np.ones(tiny.C, bool), start(tiny))
    twice, _ = tiny.reference(x, y, np.ones(tiny.C, bool), once)
    np.testing.assert_allclose(session.parameters["head.bias"], twice["bias"], atol=1e-6)
    np.testing.assert_allclose(session.parameters["head.weight"], twice["weight"], atol=1e-6)
    assert session.adaptations == 2
    assert session.counts == {str(i): 8 for i in range(5)}


def test_pruned_positions_stay_as_they_were(tiny: ModuleType, model: regrow.Model) -> None:
    session = model.session()
    session.adapt(*tiny.support())
    weight = session.parameters["head.weight"]
    assert (weight[~tiny.kept()] == 0).all()
    assert (weight[tiny.kept()] != tiny.weights()["head.weight"][tiny.kept()]).all()


def test_undo_steps_back_one_adapt_at_a_time(tiny: ModuleType, model: regrow.Model, looks: Looks) -> None:
    x, y = tiny.support()
    session = model.session()
    seen = [looks(session)]
    for shift in (0.0, 0.5, 1.0):
        session.adapt(x + np.float32(shift), y)
        seen.append(looks(session))
    assert len({s[3] for s in seen}) == 4
    for expected in reversed(seen[:-1]):
        session.undo()
        assert looks(session) == expected
    with pytest.raises(regrow.AdaptError, match="no adaptation left"):
        session.undo()
    assert looks(session) == seen[0]


def test_undo_keeps_a_bounded_history(tiny: ModuleType, model: regrow.Model) -> None:
    x, y = tiny.support(ways=2, shots=1)
    session = model.session()
    for _ in range(Session.undo_depth + 2):
        session.adapt(x, y, steps=1)
    for _ in range(Session.undo_depth):
        session.undo()
    assert session.adaptations == 2
    with pytest.raises(regrow.AdaptError):
        session.undo()


def test_reset_is_the_bundle_again(
    tiny: ModuleType, model: regrow.Model, looks: Looks, tmp_path: Path
) -> None:
    fresh = looks(model.session())
    session = model.session()
    session.adapt(*tiny.support())
    session.save(tmp_path / "a.delta")
    again = model.session(tmp_path / "a.delta")
    for one in (session, again):
        assert looks(one) != fresh
        one.reset()
        assert looks(one) == fresh


def test_sessions_do_not_see_each_other_nor_touch_the_bundle(
    tiny: ModuleType, model: regrow.Model, looks: Looks
) -> None:
    before = {name: array.tobytes() for name, array in model.bundle.params.items()}
    file = Path(model.bundle.path).read_bytes()
    one, other = model.session(), model.session()
    untouched = looks(other)
    one.adapt(*tiny.support())
    assert looks(other) == untouched
    assert {name: array.tobytes() for name, array in model.bundle.params.items()} == before
    assert Path(model.bundle.path).read_bytes() == file
    with pytest.raises(ValueError, match="read-only"):
        one.parameters["head.bias"][0] = 1


def test_a_saved_session_comes_back_bit_for_bit(
    tiny: ModuleType, model: regrow.Model, looks: Looks, tmp_path: Path
) -> None:
    x, y = tiny.support()
    session = model.session()
    names = np.array(["oak", "elm", "ash", "fir", "yew"])[y]
    session.adapt(x, names)
    session.save(tmp_path / "ana.delta")
    again = model.session(tmp_path / "ana.delta")
    assert looks(again) == looks(session)
    assert again.counts == {"oak": 4, "elm": 4, "ash": 4, "fir": 4, "yew": 4}
    # The optimiser state came along, too: the next adaptation is the same.
    session.adapt(x, names)
    again.adapt(x, names)
    assert looks(again) == looks(session)
    with pytest.raises(regrow.AdaptError, match="no adaptation left"):
        model.session(tmp_path / "ana.delta").undo()


def test_a_fresh_session_can_be_saved(model: regrow.Model, looks: Looks, tmp_path: Path) -> None:
    model.session().save(tmp_path / "empty.delta")
    assert looks(model.session(tmp_path / "empty.delta")) == looks(model.session())


def test_a_delta_of_another_bundle_is_refused(tiny: ModuleType, make: Make, tmp_path: Path) -> None:
    model, other = make(), make("other", seed=5)
    model.session().save(tmp_path / "ana.delta")
    with pytest.raises(regrow.BundleError) as caught:
        other.session(tmp_path / "ana.delta")
    assert model.digest in str(caught.value)
    assert other.digest in str(caught.value)


def test_a_failed_save_leaves_the_old_file_and_the_session(
    tiny: ModuleType, model: regrow.Model, looks: Looks, tmp_path: Path
) -> None:
    session = model.session()
    before = looks(session)
    with pytest.raises(regrow.RegrowError, match="create the directory"):
        session.save(tmp_path / "missing" / "a.delta")
    assert looks(session) == before


def test_fewer_ways_rule_the_other_outputs_out(tiny: ModuleType, model: regrow.Model) -> None:
    x, y = tiny.support(ways=3)
    session = model.session()
    report = session.adapt(x, y)
    active = np.arange(tiny.C) < 3
    state, losses = tiny.reference(x, y, active, start(tiny))
    assert report.loss == pytest.approx(losses[-1], rel=1e-5)
    np.testing.assert_allclose(session.parameters["head.weight"], state["weight"], atol=1e-6)
    made = session.predict(tiny.support(ways=5)[0])
    assert np.isneginf(made.logits[:, 3:]).all()
    assert made.probabilities is not None
    assert (made.probabilities[:, 3:] == 0).all()
    np.testing.assert_allclose(made.probabilities.sum(1), 1, rtol=1e-5)
    assert set(made.labels.tolist()) <= {0, 1, 2}


def test_a_class_may_come_later(tiny: ModuleType, model: regrow.Model) -> None:
    x, y = tiny.support()
    session = model.session()
    session.adapt(x[y < 2], y[y < 2])
    session.adapt(x[y == 2], y[y == 2])
    assert session.counts == {"0": 4, "1": 4, "2": 4}
    assert np.isfinite(session.predict(x).logits).sum(1).tolist() == [3] * len(x)


def test_names_take_outputs_in_order_of_appearance(tiny: ModuleType, model: regrow.Model) -> None:
    x, y = tiny.support(ways=3)
    session, numbered = model.session(), model.session()
    words = [["zebra", "ant", "mole"][i] for i in y]
    session.adapt(x, words)
    numbered.adapt(x, y)
    # The name is only a name: numbers are learned alike.
    np.testing.assert_array_equal(session.parameters["head.weight"], numbered.parameters["head.weight"])
    names = session.predict(x).labels
    assert names.tolist() == [["zebra", "ant", "mole"][i] for i in numbered.predict(x).labels]
    session.adapt(x[:4], ["ant"] * 4)
    assert session.counts == {"zebra": 4, "ant": 8, "mole": 4}


def test_a_bundle_with_labels_fixes_what_they_mean(tiny: ModuleType, make: Make) -> None:
    model = make(labels=("a", "b", "c", "d", "e"))
    x, y = tiny.support()
    session = model.session()
    pair = (y == 1) | (y == 3)
    session.adapt(x[pair], np.array(list("abcde"))[y[pair]])
    assert session.counts == {"b": 4, "d": 4}
    assert set(session.predict(x).labels.tolist()) == {"b", "d"}
    session.adapt(x, y)  # numbers mean the same outputs
    assert session.counts == {"a": 4, "b": 8, "c": 4, "d": 8, "e": 4}
    with pytest.raises(regrow.SampleError, match=r"unknown class 'f'.*a, b, c, d, e"):
        session.adapt(x[:2], ["a", "f"])


def test_one_query_at_a_time_is_the_batch(tiny: ModuleType, model: regrow.Model) -> None:
    x, y = tiny.support(shots=30)
    session = model.session()
    session.adapt(x[::10], y[::10])
    batch = session.predict(x)
    single = np.concatenate([session.predict(row[None]).logits for row in x])
    assert len(x) > 2 * 64  # more than one chunk
    np.testing.assert_allclose(single, batch.logits, rtol=1e-5, atol=1e-6)


def test_a_fresh_session_predicts_from_the_stored_statistics(tiny: ModuleType, model: regrow.Model) -> None:
    x, _ = tiny.support()
    w = tiny.weights()
    expected = (x * w["scale"]) @ w["head.weight"].T + w["head.bias"]
    np.testing.assert_allclose(model.session().predict(x).logits, expected, rtol=1e-5, atol=1e-5)


def test_inputs_are_scaled_as_the_bundle_says(tiny: ModuleType, make: Make) -> None:
    shifted, plain = make("shifted", mean=0.25).session(), make().session()
    x = np.arange(12, dtype=np.uint8).reshape(2, 6)
    expected = plain.predict(x.astype(np.float32) / np.float32(255) - np.float32(0.25)).logits
    np.testing.assert_array_equal(shifted.predict(x).logits, expected)


def test_transductive_predictions_warn_where_the_batch_is_small(tiny: ModuleType, make: Make) -> None:
    session = make(batch_norm="transductive").session()
    x, y = tiny.support()
    session.adapt(x, y)
    with pytest.warns(UserWarning, match="poor batch statistics"):
        session.predict(x[:2])
    assert session.predict(x).logits.shape == (20, 5)
