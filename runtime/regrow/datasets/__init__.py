"""Real data: where it is found, read from its official files, prepared once for fast reading. numpy only.

A dataset is one row of `catalog.DATASETS` and one reader; episodes are drawn from it like from any source.
"""
