"""The search for a learning rate: which rates, which one is best on dev, and is it inside the grid.

Pure functions over what was tried, without a deep-learning stack. A method whose best rate is the
lowest or the highest one tried has not been tuned to its end: its result is a lower bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from workbench.errors import StoreError
from workbench.sealed import is_there, read_sealed

GRID_FACTOR = 3.0  # from one rate to the next; about half a power of ten
_DIGITS = 3  # significant ones of a rate; more say nothing


@dataclass(frozen=True)
class Trial:
    """A learning rate tried on dev; the test split plays no part.

    Attributes:
        learning_rate: At the peak.
        is_default: Whether it is the one the method takes when told none.
        run_id: The run that trained with it.
        accuracy: On dev, of the step that was kept; None for tasks without one, and if training
            failed.
        loss: Loss on dev of that step, in nats; None if training failed, as it does when the rate
            is far too high.
        num_items: How many items of dev were scored.
        dev_evaluations: How often dev was scored.
        train_seconds: With those evaluations.
    """

    learning_rate: float
    is_default: bool
    run_id: str
    accuracy: float | None
    loss: float | None
    num_items: int
    dev_evaluations: int
    train_seconds: float

    @property
    def options(self) -> dict[str, object]:
        """The option that repeats the rate: none for the method's own."""
        return {} if self.is_default else {"learning_rate": self.learning_rate}


@dataclass(frozen=True)
class SearchOutcome:
    """What a search tried.

    Attributes:
        trials: From the lowest rate to the highest.
        seed: What all trials draw from.
        num_extended: How often the grid grew because its best rate lay at the edge.
    """

    trials: tuple[Trial, ...]
    seed: int
    num_extended: int = 0

    @property
    def best(self) -> Trial:
        """The trial that won on dev."""
        return best_trial(self.trials)

    @property
    def is_lower_bound(self) -> bool:
        """Whether a rate beyond those tried may be better still."""
        return edge_of(self.trials) is not None

    @property
    def dev_evaluations(self) -> int:
        """How often dev was scored in all."""
        return sum(trial.dev_evaluations for trial in self.trials)

    @property
    def train_seconds(self) -> float:
        """Of all trials together."""
        return sum(trial.train_seconds for trial in self.trials)


def read_outcome(content: Any) -> SearchOutcome | None:
    """Return the outcome that `dataclasses.asdict` wrote into a report; None where there is none.

    Raises:
        KeyError, TypeError: the content is something else.
    """
    if content is None:
        return None
    trials = tuple(Trial(**trial) for trial in content["trials"])
    return SearchOutcome(trials, content["seed"], content["num_extended"])


def grid_around(default: float, num_rates: int) -> list[float]:
    """Return `num_rates` rates (an odd number) with the default in their middle, lowest first."""
    half = num_rates // 2
    return [
        default if power == 0 else _rounded(default * GRID_FACTOR**power)
        for power in range(-half, half + 1)
    ]


def best_trial(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the lowest loss among those that dev cannot tell from the best.

    Accuracies within one standard error of the highest are a tie on so few items (the
    one-standard-error rule of Breiman et al. 1984, section 3.4.3); without accuracies the loss
    decides alone. What is still equal goes to the rate nearest the middle of those tried. Steps of
    one training are chosen likewise, but what was let go does not come back.

    Raises:
        ValueError: every training failed.
    """
    order = sorted(trial.learning_rate for trial in trials)
    middle = (len(order) - 1) / 2
    by_place = sorted(trials, key=lambda t: abs(order.index(t.learning_rate) - middle))
    scores = [(trial.accuracy, trial.loss) for trial in by_place]
    best = best_on_dev(scores, num_items=max(trial.num_items for trial in trials))
    if best is None:
        raise ValueError("no trial has a dev score")
    return by_place[best]


def best_on_dev(
    scores: Sequence[tuple[float | None, float | None]], *, num_items: int
) -> int | None:
    """Return the position of the best accuracy and loss on dev; None if no loss is known.

    The lowest loss among the accuracies within one standard error of the highest; of equal ones
    the first.
    """
    known = [(place, a or 0.0, loss) for place, (a, loss) in enumerate(scores) if loss is not None]
    if not known:
        return None
    highest = max(accuracy for _, accuracy, _ in known)
    spread = sqrt(highest * (1 - highest) / max(num_items, 1))
    tied = [(loss, place) for place, accuracy, loss in known if accuracy >= highest - spread]
    return min(tied)[1]


def edge_of(trials: Sequence[Trial]) -> str | None:
    """Return "lowest" or "highest" if the best rate is that of those tried, else None."""
    best, order = best_trial(trials), sorted(trial.learning_rate for trial in trials)
    if best.learning_rate == order[-1]:
        return "highest"
    return "lowest" if best.learning_rate == order[0] else None


def next_rate(trials: Sequence[Trial], *, least: float, most: float) -> float | None:
    """Return the rate to try beyond the edge where the best one lies; None if it is inside.

    Args:
        trials: At least two.
        least: No lower rate is allowed; None is returned below it.
        most: No higher rate is allowed; None is returned above it.
    """
    edge = edge_of(trials)
    if edge is None:
        return None
    order = sorted(trial.learning_rate for trial in trials)
    at, beside = (order[-1], order[-2]) if edge == "highest" else (order[0], order[1])
    rate = _rounded(at * at / beside)  # as far from the edge as the edge from its neighbour
    return rate if least <= rate <= most else None


def _rounded(rate: float) -> float:
    return float(f"{rate:.{_DIGITS}g}")


def searches_of(folder: Path) -> dict[str, SearchOutcome]:
    """Return the searches for learning rates in a folder's report, by row; none without a report.

    Raises:
        StoreError: the report cannot be read.
    """
    path = folder / "report.json"
    try:
        rows = read_sealed(path, is_digest_needed=False)["rows"] if is_there(path) else []
        found = {row["row"]: read_outcome(row.get("search")) for row in rows}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(
            f"{path}: cannot be read ({error!r}). Run the comparison again."
        ) from error
    return {row: search for row, search in found.items() if search is not None}
