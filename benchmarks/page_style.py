"""What the pages of benchmarks look like, in light and dark."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: light-dark(#5c5c5c, #a8a8a8);
  --bar: light-dark(#2a6f97, #6bb0d8); --ours: light-dark(#b8432b, #ee8a72); }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2.5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .5rem; text-align: right;
  vertical-align: top; }
th { vertical-align: bottom; }
th:first-child, td:first-child, td.reason { text-align: left; }
th:first-child, td:first-child { position: sticky; left: 0; background: Canvas; min-width: 8rem; }
td + td { white-space: nowrap; } td.reason { white-space: normal; }
td.reason, .note { color: var(--quiet); }
tr.ours td:first-child { font-weight: 600; color: var(--ours); }
.scroll { overflow-x: auto; } .noisy { color: var(--ours); font-weight: 600; }
svg { max-width: 100%; height: auto; } svg text { fill: currentColor; font-size: 12px; }
svg .axis { stroke: var(--line); } code, li { overflow-wrap: anywhere; }
"""
