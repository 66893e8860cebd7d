"""The planner's figure, by hand on a program small enough to count."""

from regrow import plan
from regrow.program import Op, Program, Value


def programs():
    x, w = Value((-1, 4), role="input"), Value((4,), role="adaptable")
    wide, narrow = Value((-1, 4)), Value((4,))
    prefix = Program((), (), (), {})
    step = Program(
        ("x", "w"),
        ("next:w",),
        (
            Op("mul", ("x", "w"), ("a",), {}),
            Op("tanh", ("a",), ("b",), {}),
            Op("reduce_sum", ("b",), ("g",), {"axes": (0,), "keepdims": False}),
            Op("sub", ("w", "g"), ("next:w",), {}),
        ),
        {"x": x, "w": w, "a": wide, "b": wide, "g": narrow, "next:w": narrow},
    )
    return {"prefix": prefix, "step": step, "finish": prefix, "predict": prefix}


def test_peak_counts_inputs_carried_twice_and_the_widest_moment():
    # x 16n, w twice 32, a and b alive together 32n.
    assert plan.peak_bytes(programs(), 1) == 16 + 32 + 32
    assert plan.peak_bytes(programs(), 10) == 160 + 32 + 320


def test_value_bytes_follow_the_batch_and_the_dtype():
    assert plan.value_bytes(Value((-49, 2), "float32"), 3) == 49 * 3 * 2 * 4
    assert plan.value_bytes(Value((5,), "bool"), 3) == 5
