"""Published tables run again, with the published figure beside ours; `python -m benchmarks.papers`.

A table is a file with a `TABLE` (`table.py` says what that is) and a line in `tables.py`. Its jobs train
through `Work.trained`, which keeps, shares and resumes runs (`work.py`), and give a score per episode.
`judge.py` decides what they say, `record.py` writes it down, `page.py` and `charts.py` show it.
"""
