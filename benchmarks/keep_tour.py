"""Read the prompts of `experiments/tour.yaml` and keep what the page's tour shows; `make tour`."""

import sys
from pathlib import Path

from workbench.analysis.answers import read_history
from workbench.presentation.reading import Reading
from workbench.readings.inspector import (
    INSTRUCTION,
    RANDOM,
    READING_VERSION,
    Inspector,
    Learned,
    controls,
)
from workbench.runs.origin import own_experiment
from workbench.runs.store import RunStore, StoredRun
from workbench.serving.desk import ModelDesk
from workbench.tour.story import TOUR_FILE, Facts, Tour, write_tour

_READINGS = {
    "plain": ("nearest", "map", "ablation", "rounding"),
    "other_seed": ("nearest",),
    "cooking": ("nearest", "rounding"),
    "random": ("nearest",),
    "instruction": ("nearest",),
}


def main(folder: Path) -> None:
    """Read the finished runs of a folder and write the tour's file."""
    runs = {
        (run.record.row, run.spec.seed): run
        for run in RunStore(folder).runs()
        if run.record.status == "finished"
    }
    plain, cooking = runs["prompt_tuning", 0], runs["cooking", 0]
    chosen = {
        "plain": Learned("plain", "the soft prompt", "vectors", run=plain),
        "other_seed": Learned("other", "another seed", "vectors", run=runs["prompt_tuning", 1]),
        "cooking": Learned("cooking", "the cooking prompt", "vectors", run=cooking),
        **{one.key.removeprefix("control:"): one for one in controls()},
    }
    assert {f"control:{name}" for name in ("random", "instruction")} == {RANDOM, INSTRUCTION}
    desk = ModelDesk()
    try:
        inspector, experiment = Inspector(desk), own_experiment(plain)
        readings: dict[str, Reading] = {}
        for what, names in _READINGS.items():
            subject = inspector.subject(experiment, chosen[what])
            for name in names:
                print(f"{what}: {name} …", flush=True)
                readings[f"{what}_{name}"] = inspector.read(
                    subject, name, {}, folder=folder / "readings"
                )
        subject = inspector.subject(experiment, chosen["plain"])
        start = subject.session.engine.tokenizer.decode(list(subject.instruction_ids))
        assert subject.prompt is not None
        vectors = subject.prompt.vectors.shape
        base_parameters = subject.session.info.num_parameters
        num_labels = len(subject.session.task.labels)
    finally:
        desk.close()
    facts = _facts(plain, cooking, runs["zero_shot", 0]) | {
        "base_parameters": base_parameters,
        "num_labels": num_labels,
        "start": start,
        "num_vectors": vectors[0],
        "width": vectors[1],
    }
    history = [dict(line) for line in read_history(plain)]
    write_tour(Tour(facts=Facts.model_validate(facts), history=history, readings=readings))
    print(f"{TOUR_FILE}: {TOUR_FILE.stat().st_size:,} bytes")


def _facts(plain: StoredRun, cooking: StoredRun, words: StoredRun) -> dict[str, object]:
    commit = plain.record.provenance.commit if plain.record.provenance else None
    return {
        "base": plain.spec.base.name,
        "precision": plain.spec.base.precision,
        "task": plain.spec.task.name,
        "num_test": plain.spec.task.num_test,
        "steps": plain.spec.options["steps"],
        "sentence": cooking.spec.options["says"],
        "zero_shot": words.record.metrics["accuracy"],
        "plain": plain.record.metrics["accuracy"],
        "cooking": cooking.record.metrics["accuracy"],
        "commit": commit or "",
        "reading_version": READING_VERSION,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
