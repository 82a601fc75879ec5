"""Every file of a comparison torn in every way, in a finished folder and in an unfinished one."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from torture.harness import (
    Kill,
    copied,
    count_writes,
    damages,
    evaluate,
    results,
    run_command,
)


@dataclass
class TornTally:
    """What became of torn files.

    Attributes:
        tried: Torn files by kind, such as "predictions.jsonl", and damage.
        equal: Those after which the same command came to the unbroken results, bit by bit.
        faults: What happened to the others: file, damage and what was printed last.
    """

    tried: Counter[tuple[str, str]] = field(default_factory=Counter)
    equal: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def num_tried(self) -> int:
        """Torn files in all."""
        return self.tried.total()


def tear_finished(experiment: Path, folder: Path, *, share: float, seed: int) -> TornTally:
    """Tear each file of a finished comparison in each way, and make it again.

    Args:
        experiment: What is made.
        folder: Where; it need not exist.
        share: Of all cases, how many are tried: 1 is all of them.
        seed: Of which cases are tried and where bits flip.
    """
    whole = folder / "whole"
    ended = run_command(evaluate(experiment, whole), whole)
    assert ended.code == 0, ended.text
    return _torn(experiment, whole, _numbers(whole), folder / "torn", share, seed)


def tear_unfinished(
    experiment: Path, folder: Path, *, stops: int, share: float, seed: int
) -> TornTally:
    """Kill a comparison at several moments, tear each file that is there, and let it go on.

    Args:
        experiment: What is made.
        folder: Where; it need not exist.
        stops: At how many moments; a checkpoint is there at each of them.
        share: Of all cases, how many are tried: 1 is all of them.
        seed: Of the moments, of which cases are tried and where bits flip.
    """
    generator, whole = np.random.default_rng(seed), folder / "whole"
    writes = count_writes(evaluate(experiment, whole), whole)
    wanted, tally = _numbers(whole), TornTally()
    found = 0
    while found < stops:
        out = folder / f"stopped-{found}"
        write = int(generator.integers(1, writes + 1))
        shutil.rmtree(out, ignore_errors=True)
        killed = run_command(evaluate(experiment, out), out, Kill(write=write)).code
        has_checkpoint = any(out.rglob("checkpoint*.safetensors"))
        if killed == 0 or not has_checkpoint:
            continue
        found += 1
        more = _torn(experiment, out, wanted, folder / "torn", share, seed + found)
        tally.tried += more.tried
        tally.equal += more.equal
        tally.faults += more.faults
    return tally


def _torn(
    experiment: Path, whole: Path, wanted: dict[str, str], place: Path, share: float, seed: int
) -> TornTally:
    generator, tally = np.random.default_rng(seed), TornTally()
    for name in _files(whole):
        for damage, _ in damages(whole / name, generator):
            if generator.random() >= share:
                continue
            torn = copied(whole, place)
            dict(damages(torn / name, generator))[damage]()
            tally.tried[_kind(name), damage] += 1
            ended = run_command(evaluate(experiment, torn), torn)
            listed = run_command(["runs", str(torn)], torn)
            problem = _problem(ended.code, ended.text + listed.text, _numbers(torn), wanted)
            if ended.code == 0 and listed.code != 0:
                problem = f"the list ended with {listed.code}: {listed.text[-300:]}"
            if problem:
                tally.faults.append(f"{name}, {damage}: {problem}")
            else:
                tally.equal += 1
    return tally


def _numbers(out: Path) -> dict[str, str]:
    """Return what an experiment came to; that something was torn is said in warnings."""
    return results(out, with_warnings=False)


def _problem(code: int, text: str, found: dict[str, str], wanted: dict[str, str]) -> str:
    if "Traceback" in text:
        return f"a traceback: {text[-300:]}"
    if code:
        return f"ended with {code}: {text[-300:]}"
    names = sorted(n for n in found | wanted if found.get(n) != wanted.get(n))
    return f"other results in {', '.join(names[:3])}" if names else ""


def _files(folder: Path) -> Sequence[str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path.relative_to(folder).as_posix() for path in files]


def _kind(name: str) -> str:
    """Return what a file is: its name, "0000002" and "member_0" apart."""
    parts = name.rsplit("/", maxsplit=1)[-1].split(".")
    return "path/*.safetensors" if parts[0].isdecimal() else ".".join(parts)
