"""Seconds of readings: nearest tokens, the first map and the kept one, and everything else."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from measuring import Figure
from workbench.readings.base import Subject
from workbench.readings.catalog import readers_of
from workbench.readings.inspector import Inspector, learned_adapters
from workbench.readings.vectors.neighbours import Vocabulary, nearest
from workbench.runs.experiment import Experiment
from workbench.service.ways import EXAMPLES
from workbench.serving.desk import ModelDesk

_FOLDER = Path(__file__).parents[1] / "workbench" / "examples"
_REPEATS = 7
_LARGE = 262_144  # tokens, as Gemma 3 has them


def measure(folder: Path) -> list[Figure]:
    """Return seconds on the default base and the example prompt; call it in a fresh process."""
    desk = ModelDesk()
    try:
        return _measure(desk, folder)
    finally:
        desk.close()


def _measure(desk: ModelDesk, folder: Path) -> list[Figure]:
    inspector, experiment = Inspector(desk), Experiment()
    name = next(iter(EXAMPLES))
    (chosen,) = learned_adapters({f"example:{name}": (name, _FOLDER / name)})
    subject = inspector.subject(experiment, chosen)
    vectors = np.resize(subject.soft_prompt.vectors, (20, subject.soft_prompt.vectors.shape[1]))
    figures = [_search(subject.vocabulary, vectors), _large_search(vectors)]

    def read(reading: str) -> float:
        began = time.perf_counter()
        inspector.read(subject, reading, {}, folder=folder)
        return time.perf_counter() - began

    read("nearest")  # what is computed once per base
    figures.append(
        Figure(
            "readings: seconds of nearest tokens, controls included, made anew",
            _median(lambda: _fresh(inspector, subject, folder)),
            target=0.2,
            details=f"{len(subject.soft_prompt)} vectors and their controls",
        )
    )
    first, kept = read("map"), read("map")
    figures += [
        Figure(
            "readings: seconds to the first map (UMAP)",
            first,
            target=30.0,
            details="3,000 tokens; numba compiles",
        ),
        Figure("readings: seconds to a kept map", kept, target=1.0),
    ]
    for reading in readers_of("vectors"):
        if reading not in ("nearest", "map", "similarity", "interpolation"):
            figures.append(
                Figure(
                    f"readings: seconds of {reading}",
                    read(reading),
                    details=f"{len(subject.soft_prompt)} vectors, {subject.scorer.num_items} items",
                )
            )
    return figures


def _search(vocabulary: Vocabulary, vectors: np.ndarray) -> Figure:
    nearest(vocabulary, vectors)
    return Figure(
        "readings: seconds of nearest tokens by three measures, 20 vectors",
        _median(lambda: nearest(vocabulary, vectors)),
        target=0.05,
        details=f"{len(vocabulary.embeddings)} x {vectors.shape[1]}",
    )


def _large_search(vectors: np.ndarray) -> Figure:
    table = np.random.default_rng(0).normal(size=(_LARGE, vectors.shape[1])).astype(np.float32)
    vocabulary = Vocabulary(table, [""] * _LARGE, np.ones(_LARGE, dtype=bool))
    nearest(vocabulary, vectors)
    return Figure(
        "readings: seconds of the same in a vocabulary of 262,144 tokens",
        _median(lambda: nearest(vocabulary, vectors)),
        details=f"in blocks; {table.nbytes / 2**20:.0f} MiB",
    )


def _fresh(inspector: Inspector, subject: Subject, folder: Path) -> None:
    for file in folder.glob("nearest-*.json"):
        file.unlink()
    inspector.read(subject, "nearest", {}, folder=folder)


def _median(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
