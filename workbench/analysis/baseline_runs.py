"""What one run is worth beside the rows that do not use the base: majority class, neighbours."""

from workbench.analysis.answers import headline_metric_of, read_answers
from workbench.analysis.comparison import difference_of
from workbench.analysis.results import BASELINES, RunDetail
from workbench.analysis.tables import difference_text
from workbench.errors import StoreError
from workbench.presentation.display import one_line, p_value_text
from workbench.presentation.quantities import metric_text
from workbench.runs.store import RunStore, StoredRun


def baselines_beside(run: StoredRun) -> list[StoredRun]:
    """Return the finished baselines of a run's own setting that lie beside it."""
    if run.spec.method in BASELINES:
        return []
    store = RunStore(run.folder.parent)
    plain = {"options": {}, "seed": 0, "contents": {}, "processes": 1}
    specs = [run.spec.model_copy(update={"method": name, **plain}) for name in BASELINES]
    found = (store.look(spec.run_id) for spec in specs)
    return [one for one in found if isinstance(one, StoredRun) and one.record.status == "finished"]


def baseline_text(run: StoredRun, baseline: StoredRun) -> str:
    """Return a baseline's figure and the run's paired difference from it, as one safe line.

    A run whose predictions cannot be read has no difference.
    """
    metric = headline_metric_of(run)
    text = metric_text(metric, baseline.record.metrics.get(metric))
    try:
        ours, theirs = read_answers(run), {one.sample_id: one for one in read_answers(baseline)}
    except StoreError:
        return text
    if {answer.sample_id for answer in ours} != set(theirs):
        return text
    details = [
        RunDetail(answers=tuple(given), history=(), environment={}, provenance=None)
        for given in (ours, [theirs[answer.sample_id] for answer in ours])
    ]
    found = difference_of(*details, against=baseline.record.row)
    if found.value is None:
        return text
    return one_line(
        f"{text}; this run is {difference_text(found)} points from it (paired, "
        f"p {p_value_text(found.p_value)}, n = {found.num_items})"
    )
