"""A grid that is killed on the way: how long it takes by the clock, and whether a finished cell is lost or done twice.

::

    python -m experiments.benchmarks.killed_grid grid=evaluation kills=2 jobs=2 folder=runs/killed

The grid is computed from nothing in a folder of its own. Each time another drawn number of cells is finished, the
program gets SIGKILL in the middle of the others, its processes must end by themselves, and the same command resumes it.
Rows and report are then in ``<folder>/grid``. Needs Linux (``/proc``).
"""

import random
import sys
import time
from pathlib import Path

from evaluation.rows import FailedRow
from experiments.benchmarks.kills import hung, start
from experiments.folder import environment, write_json
from experiments.grid.cells import cells_of
from experiments.grid.compute import known_rows
from experiments.grid.spec import read_grid


def finished(store: Path) -> dict[str, int]:
    """The finished cells, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in store.glob("*.json")}


def main(arguments: list[str]) -> int:
    """Computes the grid and writes the result; 1 if a cell was lost, done twice or failed, or a process hung."""
    given = dict(argument.partition("=")[::2] for argument in arguments)
    if not given.keys() >= {"grid", "folder"}:
        raise SystemExit("give grid=<name> and folder=<a new folder>")
    name, kills, jobs, seed = (
        given["grid"],
        int(given.get("kills", 2)),
        given.get("jobs", "2"),
        int(given.get("seed", 0)),
    )
    folder = Path(given["folder"])
    if folder.exists():
        raise SystemExit(f"folder: {folder} exists; nothing may be computed before, so give a new one")
    folder.mkdir(parents=True)
    store, log = folder / "store", folder / "log"
    spec = read_grid(name)
    asked = {cell.key for cell in cells_of(spec, name)}
    points = sorted(random.Random(seed).sample(range(1, len(asked)), kills))
    options = [f"grid={name}", f"jobs={jobs}", f"store={store}", f"run_dir={folder / 'grid'}"]
    command = [sys.executable, "-m", "experiments", "grid", *options]
    clock = time.perf_counter()
    rounds, kept = [], []
    for point in points:
        process, mark = start(command, log)
        while process.poll() is None and len(finished(store)) < point:
            time.sleep(0.1)
        if process.poll() is not None:
            raise SystemExit(f"the grid ended by itself with {process.returncode}; see {log}")
        process.kill()
        process.wait()
        left = hung(mark)
        kept.append(finished(store))
        rounds.append({"finished": len(kept[-1]), "hung": left, "seconds": time.perf_counter() - clock})
        print(f"kill {len(rounds)}: {rounds[-1]}", flush=True)
    code = start(command, log)[0].wait()
    seconds, now = time.perf_counter() - clock, finished(store)
    rows = known_rows(folder / "grid", store)
    result = {
        "benchmark": "killed_grid",
        "command": f"python -m experiments.benchmarks.killed_grid grid={name} kills={kills} jobs={jobs} folder=<new>",
        "note": given.get("note", ""),
        "grid": name,
        "seed": seed,
        "jobs": int(jobs),
        "cells": len(asked),
        "kills": len(rounds),
        "hung": sum(bool(found["hung"]) for found in rounds),
        "lost": len({cell for then in kept for cell in then.keys() - now.keys()}),
        "done_twice": len({cell for then in kept for cell, when in then.items() if now.get(cell, when) != when}),
        "missing": len([key for key in asked if isinstance(rows.get(key), FailedRow | None)]),
        "seconds": seconds,
        "seconds_of_cells": sum(row.seconds for key in asked if not isinstance(row := rows.get(key), FailedRow | None)),
        "rounds": rounds,
        "environment": environment(),
    }
    path = Path("results") / "killed_grid_cpu.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, result)
    faults = {fault: result[fault] for fault in ("hung", "lost", "done_twice", "missing") if result[fault]}
    print(
        f"{len(asked)} cells in {seconds / 60:.1f} min, {len(rounds)} kills; {faults or 'none lost'}; written to {path}"
    )
    return 1 if faults or code else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
