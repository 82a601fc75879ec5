"""May these runs stand in one table: one base, one task, one wording, the same items."""

from collections.abc import Mapping, Sequence

from workbench.analysis.answers import Answer, first_few
from workbench.errors import StoreError
from workbench.runs.store import StoredRun


def require_finished(runs: Sequence[StoredRun]) -> None:
    """Raise `StoreError` naming every run that is not finished."""
    unfinished = [
        f"{run.record.run_id} ({run.record.status})"
        for run in runs
        if run.record.status != "finished"
    ]
    if unfinished:
        raise StoreError(
            f"compare: not finished ({len(unfinished)}): {first_few(unfinished)}. Run the "
            "experiment again; finished runs are found, the others go on."
        )


def require_one_base(runs: Sequence[StoredRun]) -> None:
    """Raise `StoreError` if a run differs from the first in base, task or template."""
    first, *others = runs
    for other in others:
        ours, theirs = (run.spec.setting.model_dump() for run in (first, other))
        for part in ours:
            differing = _differing(ours[part], theirs[part])
            if differing:
                raise StoreError(
                    f"compare: runs {first.record.run_id} and {other.record.run_id} differ in "
                    f"their {part}: {'; '.join(differing)}. A comparison is one base, one task "
                    "and one template. Compare them in separate reports."
                )


def require_same_items(runs: Sequence[StoredRun], answers: Sequence[Sequence[Answer]]) -> None:
    """Raise `StoreError` if a run's item ids or targets differ from those of the first."""
    first = {answer.sample_id: answer.target for answer in answers[0]}
    for run, given in zip(runs[1:], answers[1:], strict=True):
        other = {answer.sample_id: answer.target for answer in given}
        names = (runs[0].record.run_id, run.record.run_id)
        only = [
            f"only in {name}: {first_few(ids)}"
            for name, ids in zip(
                names,
                ([i for i in first if i not in other], [i for i in other if i not in first]),
                strict=True,
            )
            if ids
        ]
        if only:
            raise StoreError(
                f"compare: runs {names[0]} and {names[1]} answered different items; "
                f"{'; '.join(only)}. Differences are paired on the same items. Delete the older "
                "run and run the experiment again."
            )
        moved = [name for name, target in first.items() if other[name] != target]
        if moved:
            raise StoreError(
                f"compare: runs {names[0]} and {names[1]} have different targets for "
                f"{len(moved)} items ({first_few(moved)}). Delete the older run and run the "
                "experiment again."
            )


def _differing(first: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """Return "key: value against value" for every key that differs."""
    keys = list(dict.fromkeys([*first, *other]))
    return [
        f"{key} {first.get(key)!r} against {other.get(key)!r}"
        for key in keys
        if first.get(key) != other.get(key)
    ]
