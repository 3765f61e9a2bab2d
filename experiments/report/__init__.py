"""Reports of runs and grids: from typed rows to tables, figures and one self-contained page. And the docs' tables.

``write.py`` is where to begin: it writes ``report.html``, ``report.md`` and ``table.csv`` from ``inputs.py`` (what is
reported), ``document.py`` (in which order) and ``page.py`` (how it looks). ``docs_*.py`` are ``experiments.tables``'s.
"""
