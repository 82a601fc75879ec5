"""How often the readings find something in prompts that learned nothing, on the default base.

Writes docs/nulls.md. What was read is kept in runs/nulls.jsonl, so a second call goes on where the
first one ended: python tests/nulls/measure.py [--minutes 25]
"""

import argparse
import datetime
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np
from simulation import Tally, random_change, random_subject

from workbench.atomic import write_text
from workbench.encoding import PromptEncoder
from workbench.models.engine import Engine
from workbench.models.loading import load_base
from workbench.presentation.reading import LEVEL
from workbench.readings.base import Subject, open_vocabulary
from workbench.readings.catalog import READERS, make_reader
from workbench.readings.scoring import Scorer
from workbench.runs.session import Session, open_template
from workbench.tasks.catalog import load_task

BASE, PRECISION, TASK = "smollm2-135m-instruct", "fp32", "support_intents"
NUM_VECTORS, NUM_ITEMS, RANK = 4, 1, 4
# Prompts, by what one takes: from a tenth of a second to half a minute on two cores.
LAST = "verbalisation"  # so that a run that is cut short has read more
NUM_READ = {"nearest": 100, "map": 100, "clusters": 40, "weights": 60, "verbalisation": 20}
OPTIONS = {
    "map": {"method": "pca", "tokens": 100, "path": False},
    "clusters": {"meaning": False, "k": 2},
    "interpolation": {"points": 3},
    "truncation": {"points": 2},
    "attention": {"items": NUM_ITEMS},
    "lens": {"layers": 2},
    "verbalisation": {"max_new_tokens": 3},
}
ROOT = Path(__file__).parents[2]
KEPT, PAGE = ROOT / "runs" / "nulls.jsonl", ROOT / "docs" / "nulls.md"


@dataclass(frozen=True)
class Simulation:
    """The default base and what is read on it."""

    subject: Subject
    norms: np.ndarray
    folder: Path

    @classmethod
    def open(cls, folder: Path) -> "Simulation":
        """Load the base; the norms are those of the first tokens of the task's instruction."""
        engine = Engine(load_base(BASE, precision=PRECISION, device="cpu"))
        task = load_task(TASK, seed=0)
        session = Session(
            engine, PromptEncoder(engine.tokenizer, open_template("plain", task), task)
        )
        vocabulary = open_vocabulary(session)
        subject = Subject(session, vocabulary, Scorer(session, NUM_ITEMS))
        ids = list(subject.instruction_ids[:NUM_VECTORS])
        return cls(subject, np.linalg.norm(vocabulary.embeddings[ids], axis=1), folder)

    def subjects(self, number: int) -> Callable[[str], Subject]:
        """Return the maker of what a reading is given; all share what was scored."""
        scorer = Scorer(self.subject.session, NUM_ITEMS)
        prompt = random_subject(replace(self.subject, scorer=scorer), self.norms, number)

        def one(name: str) -> Subject:
            return self._changes(number) if name == "weights" else prompt

        return one

    def _changes(self, number: int) -> Subject:
        model = self.subject.session.engine.forward.model
        shapes = {
            name: tuple(module.weight.shape)
            for name, module in model.named_modules()
            if name.endswith(("q_proj", "v_proj"))
        }
        mine, theirs = (
            random_change(shapes, RANK, self.folder / f"{number}-{i}", 2 * number + i)
            for i in range(2)
        )
        return replace(self.subject, weights=mine, other_weights=(theirs,))


def kept() -> list[dict[str, Any]]:
    """Return what was read before; a line that was cut off is read again."""
    found = []
    for line in KEPT.read_text(encoding="utf-8").splitlines() if KEPT.is_file() else ():
        with suppress(ValueError):
            found.append(json.loads(line))
    return found


def read_on(until: float, most: int) -> None:
    """Read one prompt after the other by all readings, until a time or until all are read."""
    known = {(line["reading"], line["number"]) for line in kept()}
    KEPT.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, KEPT.open("a", encoding="utf-8") as stream:
        stream.write("\n")  # ends a line that was cut off
        simulation = Simulation.open(Path(folder))
        for number, names in _due(known, most):
            subjects = simulation.subjects(number)
            for name in names:
                if time.monotonic() > until:
                    return
                tally = Tally()
                tally.add(make_reader(name, OPTIONS.get(name)).read(subjects(name)))
                line = {"reading": name, "number": number, "lowest": tally.lowest}
                stream.write(json.dumps(line | {"found": dict(tally.found)}) + "\n")
                stream.flush()


def _due(known: set[tuple[object, object]], most: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the prompts that are left to read, each with the readings."""
    for part in ([name for name in READERS if name != LAST], [LAST]):
        for number in range(max(most, *NUM_READ.values())):
            wanted = [name for name in part if number < NUM_READ.get(name, most)]
            names = [name for name in wanted if (name, number) not in known]
            if names:
                yield number, names


def page(arguments: str) -> str:
    """Return the table of everything that was read."""
    tallies: dict[str, Tally] = {name: Tally() for name in READERS}
    for line in kept():
        tally = tallies[line["reading"]]
        tally.num_read += 1
        tally.lowest = min(tally.lowest, line["lowest"])
        for figure, is_found in line["found"].items():
            tally.judged[figure] += 1
            tally.found[figure] += is_found
    rows = [
        f"| {name} | {figure} | {tally.words(figure)} | {tally.p_value(figure):.2g} | "
        f"{tally.lowest:.2g} |"
        for name, tally in tallies.items()
        for figure in tally.judged
    ]
    missing = [name for name, tally in tallies.items() if not tally.num_read]
    if missing:
        rows.append(f"\nNot read yet: {', '.join(missing)}. `make nulls` goes on from here.")
    return "\n".join([_head(arguments), *rows, ""])


def _head(arguments: str) -> str:
    today = datetime.datetime.now(tz=datetime.UTC).date()
    return f"""# How often readings find something where nothing was learned

Made by `make nulls` on {today} ({arguments}; {BASE}, {PRECISION}, task {TASK}): random vectors of
the norms of the instruction's first {NUM_VECTORS} tokens, with another such prompt beside,
and random low-rank changes of rank {RANK}, each read on {NUM_ITEMS} test item by every reading. At
most {100 * LEVEL:.0f} % should be called better than chance; fewer where controls tie, because ties
count against the figure.

p: one-sided binomial test of more than {100 * LEVEL:.0f} %. Least: the smallest p-value of the
reading's figures, times its controls and one; below 1 controls would have been made up.

| reading | figure | better than chance \\[95 %\\] | p | least |
|---|---|---:|---:|---:|"""


def main() -> None:
    """Read for so many minutes and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--most", type=int, default=60, help="prompts for a reading, at most")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    read_on(time.monotonic() + 60 * arguments.minutes, arguments.most)
    num = max(line["number"] for line in kept()) + 1
    write_text(PAGE, page(f"up to {num} prompts"))
    sys.stdout.write(f"{PAGE}\n")


if __name__ == "__main__":
    main()
