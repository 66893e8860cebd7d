"""Render `report.html` from results and charts: one file, no script, nothing fetched from elsewhere."""

from collections.abc import Callable, Iterable, Mapping
from html import escape
from importlib import resources

from regrow.demo.pictures import data_uri
from regrow.demo.results import Accuracy, Estimate, Peer, Picture, Range, Results

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>regrow: what the demo measured</title>
<style>
{style}</style></head>
<body>
"""


def render(results: Results, charts: Mapping[str, str]) -> str:
    """The whole page as text."""
    style = resources.files("regrow.demo").joinpath("page.css").read_text(encoding="utf-8")
    parts: list[Callable[[Results, Mapping[str, str]], str]]
    parts = [_top, _episode, _accuracy, _learning, _size, _speed, _origin]
    body = "\n".join(part(results, charts) for part in parts)
    return HEAD.format(style=style) + body + "\n</body></html>\n"


def pick(results: Results, model: str, shots: int) -> Accuracy:
    """The accuracy row of one model at one number of shots."""
    return next(r for r in results["accuracy"] if (r["model"], r["shots"]) == (model, shots))


def sparsity(results: Results) -> float:
    """The share of weights that pruning removed, as a fraction."""
    return 1 - results["sizes"]["kept"] / results["sizes"]["weights"]


def device(results: Results) -> Peer:
    """The first engine of ours: what the headline figures are about."""
    return next(p for p in results["peers"] if "torch" not in p["name"])


def _top(results: Results, charts: Mapping[str, str]) -> str:
    cells = "".join(f"<div><b>{escape(b)}</b><span>{escape(s)}</span></div>" for b, s in _facts(results))
    return (
        f"<header><h1>A network with {sparsity(results):.0%} of its weights pruned, taught new classes</h1>"
        '<p class="lead">Meta-trained and pruned with torch, exported once, then adapted to classes it had '
        "never seen, by a process without torch. Every figure below was measured in this run.</p></header>"
        f'<section class="facts">{cells}</section>'
    )


def _facts(results: Results) -> list[tuple[str, str]]:
    one = pick(results, "pruned", min(r["shots"] for r in results["accuracy"]))
    ours, sizes = device(results), results["sizes"]
    before, after = 100 * one["before"]["mean"], 100 * one["after"]["mean"]
    return [
        (f"{after:.1f} %", f"right on unseen classes after {_examples(one['shots'])}; {before:.1f} % before"),
        (
            f"{sizes['onnx_dense'] / sizes['bundle_pruned']:.1f} x",
            f"smaller: {kilobytes(sizes['bundle_pruned'])} on disk, the dense model as ONNX is "
            f"{kilobytes(sizes['onnx_dense'])}",
        ),
        (
            f"{ours['adapt_ms']['median']:.1f} ms",
            f"to learn {results['n_way']} classes from {results['support']} examples on this processor",
        ),
        (f"{ours['peak_bytes']['median'] / 1e6:.0f} MB", "peak memory of the whole adapting process"),
    ]


def _episode(results: Results, charts: Mapping[str, str]) -> str:
    episode = results["episode"]
    right = sum(q["predicted"] == q["label"] for q in episode["queries"])
    labels = sorted({p["label"] for p in episode["support"]})
    rows = ""
    for label in labels:
        shown = "".join(_sample(p) for p in episode["support"] if p["label"] == label)
        asked = "".join(_sample(p) for p in episode["queries"] if p["label"] == label)
        rows += f'<div class="row"><div class="shown">{shown}</div>{asked}</div>'
    return _section(
        "What it was shown, and what it then saw",
        f"One episode of unseen classes: {_examples(episode['shots'])} (left), then "
        f"{len(episode['queries'])} new drawings, one at a time. Under each stands what the pruned model "
        f"predicted: {right} are right.",
        rows,
    )


def _sample(picture: Picture) -> str:
    label, predicted = escape(picture["label"]), picture["predicted"]
    image = f'<div class="frame"><img alt="class {label}" src="{data_uri(picture)}"></div>'
    if predicted is None:
        return f'<div class="sample">{image}<b>{label}</b></div>'
    if predicted == picture["label"]:
        return f'<div class="sample right">{image}<b>{label} ✓</b></div>'
    return f'<div class="sample wrong">{image}<b>{escape(predicted)} ✗</b></div>'


def _accuracy(results: Results, charts: Mapping[str, str]) -> str:
    names = list(results["accuracy"][0]["controls"])
    rows = [
        (
            r["model"],
            f"{r['shots']}",
            percent(r["before"]),
            percent(r["after"]),
            *(percent(r["controls"][name]) for name in names),
        )
        for r in results["accuracy"]
    ]
    return _section(
        "Accuracy, before and after",
        f"{results['accuracy'][0]['episodes']} episodes of {results['n_way']} classes that no training saw, "
        "the same ones for both models. Queries are predicted one at a time, as a device meets them. Pale "
        "bars are before adaptation; whiskers are 95 % intervals.",
        _chart(charts, "accuracy") + _table(("model", "shots", "before", "after", *names), rows),
    )


def _learning(results: Results, charts: Mapping[str, str]) -> str:
    return _section(
        "Learning to learn",
        f"Accuracy on validation classes while meta-training. Both models saw {results['iterations']} "
        "meta-iterations in total; the pruned one spent its last part recovering under its mask.",
        _chart(charts, "learning"),
    )


def _size(results: Results, charts: Mapping[str, str]) -> str:
    sizes = results["sizes"]
    return _section(
        "Size",
        f"{sizes['kept']:,} of {sizes['weights']:,} weights are left. A bundle holds the weights, the "
        "program that adapts them, and an episode to test itself with.",
        _chart(charts, "size"),
    )


def _speed(results: Results, charts: Mapping[str, str]) -> str:
    rows = [
        (
            p["name"],
            interval(p["adapt_ms"]),
            interval(p["predict_ms"]),
            interval(p["cold_ms"]),
            short(p["above_import_bytes"]["median"] / 1e6),
            short(p["peak_bytes"]["median"] / 1e6),
        )
        for p in results["peers"]
    ]
    head = ("", "adapt, ms", "predict, ms", "cold start, ms", "above import, MB", "peak, MB")
    return _section(
        "Time and memory",
        f"The same {results['support']} examples on every engine, in turns, one thread each; medians with "
        "95 % intervals. Memory is that of a fresh process that adapts once: all of it, and what it took "
        "beyond importing its libraries.",
        _chart(charts, "latency") + _chart(charts, "memory") + _table(head, rows),
    )


def _origin(results: Results, charts: Mapping[str, str]) -> str:
    commit = results["commit"] or "not in git"
    facts = [*results["machine"].items(), *results["versions"].items(), ("commit", commit)]
    rows = [(escape(k), escape(v)) for k, v in facts]
    text = (
        "The device's part ran in processes in which importing torch is an error."
        if results["torch_free"]
        else "torch could be imported while the device's part ran."
    )
    commands = escape("\n".join(results["commands"]))
    return (
        _section("Where the figures come from", f"{text} To get them again:", f"<pre>{commands}</pre>")
        + _table(("", ""), rows)
        + f"<footer>Written by <code>regrow demo</code> on {escape(results['date'])}; recipe "
        f"{escape(results['recipe'])}; {sum(results['seconds'].values()):.0f} s of work in all.</footer>"
    )


def _section(title: str, text: str, inside: str) -> str:
    words = escape(text).replace(" %", "&nbsp;%")  # a line must not begin with the sign
    return f"<section><h2>{escape(title)}</h2><p>{words}</p>{inside}</section>"


def _chart(charts: Mapping[str, str], name: str) -> str:
    return f'<div class="chart">{charts[name]}</div>'


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(f"<th>{escape(h)}</th>" for h in head)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'


def percent(estimate: Estimate) -> str:
    """`91.2 ± 0.8 %`."""
    return f"{100 * estimate['mean']:.1f} ± {100 * estimate['half_width']:.1f} %"


def interval(value: Range, scale: float = 1.0) -> str:
    """`4.21 (4.1 to 4.4)`."""
    median, low, high = (short(scale * v) for v in (value["median"], value["low"], value["high"]))
    return f"{median} ({low} to {high})"


def short(value: float) -> str:
    """Three significant digits, never an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def kilobytes(count: int) -> str:
    """`52 kB`: thousands of bytes, as disks are sold."""
    return f"{count / 1000:,.0f} kB"


def _examples(shots: int) -> str:
    return "one example per class" if shots == 1 else f"{shots} examples per class"
