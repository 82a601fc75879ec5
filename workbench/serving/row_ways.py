"""The rows of an experiment as ways to answer a text: trained ones with the runs they have."""

from workbench.errors import DamagedFile
from workbench.fitting.base import needs_run
from workbench.methods.catalog import make_method
from workbench.runs.execute import find_run
from workbench.runs.experiment import Experiment
from workbench.runs.search import searches_of
from workbench.runs.session import Session
from workbench.runs.store import RunStore
from workbench.serving.asking import LeftOut, Way


def ways_of_rows(
    session: Session, experiment: Experiment, store: RunStore
) -> tuple[list[Way], list[LeftOut]]:
    """Return one way per row with its first seed, and the rows that have no run and need one.

    Args:
        session: Base, task and wording.
        experiment: Its rows, checked.
        store: Where finished runs are found. A row that looks for its learning rate answers with
            the one that the report there names.

    Raises:
        ConfigError: a row's method or options are wrong.
        StoreError: the report cannot be read.
    """
    ways, missing = [], []
    searches = searches_of(store.root)
    for row in experiment.methods:
        name, given = experiment.method_of(row)
        if row in searches and experiment.search_of(row) is not None:
            given |= searches[row].best.options
        method, seed = make_method(name, given), experiment.seeds_of(row)[0]
        try:
            run = find_run(session, store, method, seed)
        except DamagedFile as error:
            missing.append(LeftOut(row, str(error)))
            continue
        if run is not None or not needs_run(type(method)):
            ways.append(Way(row, name, given, seed, run))
        else:
            reason = f"not trained yet in {store.root}."
            missing.append(LeftOut(row, reason, is_untrained=True))
    return ways, missing
