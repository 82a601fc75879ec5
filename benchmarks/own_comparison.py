"""A person's own comparison, from the command to the report, and where its time goes.

700 labelled news texts of about 60 tokens (600 to learn from, 100 to choose on) and 400 to report
on, four rows, 150 steps for what is trained: `workbench evaluate` as somebody would type it.

Run alone, with fewer steps and rows: python benchmarks/own_comparison.py --steps 10 --rows lora
"""

import argparse
import csv
import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from measuring import Figure
from workbench.runs.store import RunStore, StoredRun

ROWS = ("zero_shot", "few_shot", "prompt_tuning", "lora")
_TARGET_SECONDS = 780.0
_STEPS = 150
_SIZES = {"train": 600, "dev": 100, "test": 400}
_SHARE = 0.2  # of a training, what its looks at dev may take

# Who did what, and about what, by label; drawn together they make texts that nobody wrote.
_WHO: Mapping[str, tuple[str, ...]] = {
    "world": ("The foreign minister", "A United Nations envoy", "The opposition leader"),
    "sports": ("The visiting captain", "The defending champion", "A nineteen-year-old striker"),
    "business": ("The retailer", "A regional lender", "The chip maker's board"),
    "science": ("A team of astronomers", "The space agency", "Researchers at the institute"),
}
_DID: Mapping[str, tuple[str, ...]] = {
    "world": ("arrived in the capital for talks on the ceasefire", "rejected the border treaty",
              "called for new elections before the end of the year"),
    "sports": ("won the final in extra time before a full stadium", "missed a penalty in the rain",
               "broke the national record by two tenths of a second"),
    "business": ("cut its forecast for the quarter and shed a tenth of its value",
                 "agreed to buy a smaller rival in shares", "raised its prices for the third time"),
    "science": ("measured the faint light of a young planet", "lost contact with a probe near Mars",
                "grew a crystal that conducts at room temperature"),
}  # fmt: skip
_WHY: Mapping[str, tuple[str, ...]] = {
    "world": ("after a week of protests in the northern provinces", "while troops moved south"),
    "sports": ("in front of a silent crowd", "four days before the season ends"),
    "business": ("as investors waited for the central bank", "to calm its bondholders"),
    "science": ("with an instrument built over ten years", "in a paper published on Thursday"),
}
_THEN = (
    "Officials declined to comment on {day}, but two people familiar with the matter said that a "
    "decision was expected within {number} days.",
    "It was the {ordinal} time this year, and observers had not expected it so soon; a statement "
    "followed late on {day} evening.",
    "More than {number} reporters gathered outside on {day}, where a spokeswoman read a short note "
    "and took no questions.",
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_ORDINALS = ("second", "third", "fourth", "fifth", "sixth")


def measure(folder: Path) -> list[Figure]:
    """Return the seconds of the whole, and what looks at dev take of each training."""
    return _figures(folder, ROWS, _STEPS, [])


def write_files(folder: Path) -> dict[str, Path]:
    """Write the three files, each text once; return their paths by split."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, seen = random.Random(0), set[str]()
    paths = {split: folder / f"{split}.csv" for split in _SIZES}
    for split, size in _SIZES.items():
        labels = itertools.islice(itertools.cycle(_WHO), size)
        with paths[split].open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["text", "label"])
            for label in labels:
                while (text := _text(label, rng)) in seen:
                    pass
                seen.add(text)
                writer.writerow([text, label])
    return paths


def _text(label: str, rng: random.Random) -> str:
    parts = (rng.choice(part[label]) for part in (_WHO, _DID, _WHY))
    then = rng.choice(_THEN).format(
        day=rng.choice(_DAYS), number=rng.randint(3, 90), ordinal=rng.choice(_ORDINALS)
    )
    desk = f"Reporting by correspondent {rng.randint(100, 999)} for the morning edition."
    return f"{' '.join(parts)}. {then} {desk}"


def _figures(folder: Path, rows: Sequence[str], steps: int, more: Sequence[str]) -> list[Figure]:
    files, out = write_files(folder / "data"), folder / "out"
    command = [sys.executable, "-m", "workbench", "evaluate", "--out", str(out)]
    command += [part for split, path in files.items() for part in (f"--{split}", str(path))]
    command += ["--methods", ",".join(rows)]
    for row in {"prompt_tuning", "lora"} & set(rows):
        command += ["--set", f"methods.{row}.steps={steps}"]
    began = time.perf_counter()
    subprocess.run([*command, *more], check=True, stdout=sys.stderr)
    seconds = time.perf_counter() - began
    runs = {run.record.row: run for run in RunStore(out).runs() if run.record.row in rows}
    spent = {row: _parts(runs[row]) for row in rows}
    rest = seconds - sum(sum(parts.values()) for parts in spent.values())
    told = "; ".join(f"{row} {_told(parts)}" for row, parts in spent.items())
    products = next(iter(runs.values())).spec.base.compute_dtype
    size = ", ".join(f"{number} {split}" for split, number in _SIZES.items())
    whole = Figure(
        f"own comparison: seconds of {len(rows)} rows",
        seconds,
        target=_TARGET_SECONDS if len(rows) == len(ROWS) and steps == _STEPS else None,
        details=f"{size}; {steps} steps of 8; products in {products}; {told}; start, base, "
        f"demonstrations, baselines and report {rest:.0f} s",
    )
    return [whole, *(_look_share(row, parts) for row, parts in spent.items() if "steps" in parts)]


def _parts(run: StoredRun) -> dict[str, float]:
    """Return the seconds of a run by what they were spent on."""
    cost, parts = run.record.cost, dict[str, float]()
    entries = run.history()
    if entries:
        before = itertools.pairwise(entries)
        looks = [b["seconds"] - a["seconds"] for a, b in before if "dev_loss" in b]
        parts = {"looks": sum(looks), "steps": entries[-1]["seconds"] - sum(looks)}
    items = len(run.predictions())
    return parts | {"test": (cost.milliseconds_per_item or 0.0) * items / 1000}


def _told(parts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in parts.items())


def _look_share(row: str, parts: Mapping[str, float]) -> Figure:
    return Figure(
        f"own comparison: looks at dev / steps of {row}",
        parts["looks"] / parts["steps"],
        target=_SHARE,
        details=_told(parts),
    )


def main() -> None:
    """Measure what is asked for, in a folder that is kept if one is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=_STEPS)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--out", type=Path, default=None, help="kept; default: a temporary folder")
    parser.add_argument("--set", action="append", default=[], help="as of workbench evaluate")
    asked = parser.parse_args()
    more = [part for setting in asked.set for part in ("--set", setting)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.out or Path(scratch)
        for figure in _figures(folder, asked.rows.split(","), asked.steps, more):
            print(figure.row())


if __name__ == "__main__":
    main()
