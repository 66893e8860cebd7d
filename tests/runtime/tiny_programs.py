"""The programs of the linear bundle, with the sizes that its graphs share."""

from regrow.program import Op, Program, Value

D, C = 6, 5
MOMENTUM = 0.5


def programs() -> dict[str, Program]:
    """The same model as programs, as an exporter writes them."""
    head = {"head.weight": Value((C, D), role="adaptable"), "head.bias": Value((C,), role="adaptable")}
    x = {"x": Value((-1, D), role="input"), "scale": Value((D,), role="frozen")}
    given = {"y": Value((-1,), "int64", "input"), "active": Value((C,), "bool", "input")}
    rule = {
        "meta:lr": Value((), role="frozen"),
        "mask:head.weight": Value((C, D), "bool", "frozen"),
        "state:velocity": Value((C,), role="state"),
    }
    forward = {
        "mean": Value((1, D)),
        "centred": Value((-1, D)),
        "h": Value((-1, D)),
        "logits": Value((-1, C)),
    }
    loss = {"loss": Value(()), "p": Value((-1, C))}
    linear = Op("linear", ("h", "head.weight", "head.bias"), ("logits",), {})
    features = (Op("sub", ("x", "mean"), ("centred",), {}), Op("mul", ("centred", "scale"), ("h",), {}))
    mean = Op("reduce_mean", ("x",), ("mean",), {"axes": (0,), "keepdims": True})
    entropy = Op("cross_entropy", ("logits", "y", "active"), ("loss", "p"), {})
    update, made = _update()
    stat = {"stat:mean": Value((1, D))}
    at_predict = tuple(
        Op(op.kind, tuple("stat:mean" if n == "mean" else n for n in op.inputs), op.outputs, {})
        for op in features
    )
    return {
        "predict": Program(
            ("x", "scale", "stat:mean", *head),
            ("logits",),
            (*at_predict, linear),
            x | head | forward | {"stat:mean": Value((1, D), role="input")},
        ),
        "prefix": Program(("x", "scale"), ("h", "mean"), (mean, *features), x | forward),
        "step": Program(
            ("h", *given, *head, *rule),
            ("loss", "next:head.weight", "next:head.bias", "next:state:velocity"),
            (linear, entropy, *update),
            forward | given | head | rule | loss | made,
        ),
        "finish": Program(
            ("h", "mean", *given, *head),
            ("loss", "stat:mean"),
            (
                linear,
                Op("cross_entropy", ("logits", "y", "active"), ("loss", ""), {}),
                Op("identity", ("mean",), ("stat:mean",), {}),
            ),
            forward | given | head | loss | stat,
        ),
    }


def _update() -> tuple[tuple[Op, ...], dict[str, Value]]:
    """Gradients and the rule: descent for the weight where it exists, momentum for the bias."""
    product = {"transpose_a": True, "transpose_b": False}
    ops = (
        Op("constant", (), ("one",), {"value": 1.0}),
        Op("cross_entropy_back", ("one", "p", "y"), ("dlogits",), {}),
        Op("matmul", ("dlogits", "h"), ("dw",), product),
        Op("reduce_sum", ("dlogits",), ("db",), {"axes": (0,), "keepdims": False}),
        Op("constant", (), ("momentum",), {"value": MOMENTUM}),
        Op("mul", ("state:velocity", "momentum"), ("v_decayed",), {}),
        Op("add", ("v_decayed", "db"), ("next:state:velocity",), {}),
        Op("mul", ("meta:lr", "dw"), ("w_change",), {}),
        Op("sub", ("head.weight", "w_change"), ("w_moved",), {}),
        Op("select", ("mask:head.weight", "w_moved", "head.weight"), ("next:head.weight",), {}),
        Op("mul", ("meta:lr", "next:state:velocity"), ("b_change",), {}),
        Op("sub", ("head.bias", "b_change"), ("next:head.bias",), {}),
    )
    wide, narrow, number = Value((C, D)), Value((C,)), Value(())
    shapes = {"dlogits": Value((-1, C)), "one": number, "momentum": number}
    shapes |= dict.fromkeys(("dw", "w_change", "w_moved", "next:head.weight"), wide)
    return ops, shapes | dict.fromkeys(
        ("db", "v_decayed", "b_change", "next:head.bias", "next:state:velocity"), narrow
    )
