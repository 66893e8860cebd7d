"""Published tables run again, with the published figure beside ours; `python -m benchmarks.papers`."""
