"""Kill and tear on the tiny base, at full length, and write docs/torture.md.

python tests/torture/measure.py [--kills 100] [--share 1.0] [--seed 0]
"""

import argparse
import datetime
import json
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from torture.harness import experiment_file
from torture.kills import Tally, kill_comparisons, kill_jobs
from torture.tears import TornTally, tear_finished, tear_unfinished
from workbench.atomic import write_text

_PAGE = Path(__file__).parents[2] / "docs" / "torture.md"
_KEPT = Path(__file__).parents[2] / "runs" / "torture"  # a second call goes on from there
_STOPS = 4  # moments at which an unfinished comparison is torn
_SPAWNED = 10  # kills, in a hundred, of processes that the page's queue starts itself
_HEAD = """# Killed and torn

Written by `make torture` ({day}, {machine}): seed {seed}, a share of {share:g} of
the torn files.

A small model, real processes, real files. Each comparison has nine runs: words, a soft prompt, a
LoRA with a search for its learning rate, and an ensemble. Half of the kills come at a random
moment, half before a random change of a file. "Equal" means bit by bit: predictions, adapters,
paths, records and report are those of a comparison that nothing happened to, times apart.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything, print the figures and write the page; 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--share", type=float, default=1.0, help="of the torn files to try")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    spawned = given.kills * _SPAWNED // 100
    children = (given.kills - spawned) // 3
    comparisons = given.kills - spawned - children
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        experiment, seed = experiment_file(place), given.seed
        killed = [
            _kept(
                f"comparisons-{comparisons}-{seed}",
                Tally,
                kill_comparisons,
                experiment,
                place / "kills",
                kills=comparisons,
                seed=seed,
            ),
            _kept(
                f"jobs-{children}-{seed}",
                Tally,
                kill_jobs,
                experiment,
                place / "jobs",
                kills=children,
                seed=seed,
            ),
            _kept(
                f"processes-{spawned}-{seed}",
                Tally,
                kill_jobs,
                experiment,
                place / "own",
                kills=spawned,
                seed=seed,
                spawned=True,
            ),
        ]
        torn = {
            "finished": _kept(
                f"finished-{given.share}-{seed}",
                TornTally,
                tear_finished,
                experiment,
                place / "finished",
                share=given.share,
                seed=seed,
            ),
            "unfinished": _kept(
                f"unfinished-{given.share}-{seed}",
                TornTally,
                tear_unfinished,
                experiment,
                place / "unfinished",
                stops=_STOPS,
                share=given.share / _STOPS,
                seed=seed,
            ),
        }
    head = _HEAD.format(
        day=datetime.datetime.now(datetime.UTC).date(),
        machine=f"{platform.system()}, Python {platform.python_version()}",
        seed=given.seed,
        share=given.share,
    )
    page = "\n".join([head, *_kill_table(killed), "", *_torn_table(torn)]) + "\n"
    sys.stdout.write(page)
    faults = [fault for one in (*killed, *torn.values()) for fault in one.faults]
    sys.stdout.writelines(f"{fault}\n" for fault in faults)
    write_text(_PAGE, page)
    return 1 if faults else 0


def _kept(name: str, kind: Any, make: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Return a part as it was measured before, or measure and keep it."""
    path = _KEPT / f"{name}.json"
    if path.is_file():
        stored = json.loads(path.read_text())
        counter = "killed" if kind is Tally else "tried"
        stored[counter] = Counter(
            {tuple(k) if isinstance(k, list) else k: number for k, number in stored[counter]}
        )
        return kind(**stored)
    tally = make(*given, **named)
    stored = dict(vars(tally))
    for counter in stored.keys() & {"killed", "tried"}:
        stored[counter] = [[key, number] for key, number in stored[counter].items()]
    write_text(path, json.dumps(stored))
    sys.stdout.write(f"{name}: {stored}\n")
    sys.stdout.flush()
    return tally


def _kill_table(tallies: Sequence[Tally]) -> list[str]:
    total = sum((tally.killed for tally in tallies), Counter[str]())
    lines = ["| killed | kills (SIGKILL) |", "|---|---|"]
    lines += [f"| {kind} | {number} |" for kind, number in sorted(total.items())]
    ended, equal = (sum(getattr(tally, name) for tally in tallies) for name in ("ended", "equal"))
    lost = sum(tally.lost for tally in tallies)
    return [
        *lines,
        "",
        f"Tries: {total.total()} kills. Survived: {equal} of the {ended} comparisons and jobs that "
        f"were killed ended equal to the unbroken one. Lost: {lost} finished runs.",
    ]


def _torn_table(tallies: dict[str, TornTally]) -> list[str]:
    tried = sum((tally.tried for tally in tallies.values()), Counter[tuple[str, str]]())
    names = sorted({damage for _, damage in tried})
    lines = [f"| file torn | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for kind in sorted({kind for kind, _ in tried}):
        cells = " | ".join(str(tried[kind, name]) for name in names)
        lines.append(f"| `{kind}` | {cells} |")
    number, equal = sum(tried.values()), sum(tally.equal for tally in tallies.values())
    return [
        *lines,
        "",
        f"Tries: {number} torn files, in a finished comparison and in {_STOPS} that were killed "
        f"half-way. Survived: after {equal} of them the same command came to the results of the "
        f"unbroken run, without a traceback, and the list of runs could be read. Lost: "
        f"{number - equal}.",
    ]


if __name__ == "__main__":
    sys.exit(main())
