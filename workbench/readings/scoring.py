"""Scores of prompts on one fixed set of a task's items, remembered by content."""

from collections.abc import Callable, Sequence

from workbench.fitting.learning import Outcome, score_answers
from workbench.models.base import Conditioning, Prefix
from workbench.models.engine import Engine
from workbench.runs.session import Session


class Scorer:
    """Scores prompts on the first items of the test split, which nothing was chosen on.

    Args:
        session: Base, task and wording.
        num_items: How many items at most.
    """

    def __init__(self, session: Session, num_items: int = 64) -> None:
        self._session = session
        self.samples = session.task.test[:num_items]
        start = session.encoder.start()
        self._own_ids = [session.encoder.own_ids(s.fields, start) for s in self.samples]
        self._outcomes: dict[tuple[str, str | None], Outcome] = {}

    def belongs_to(self, engine: Engine) -> bool:
        """Return whether the scores are of the base in this engine."""
        return self._session.engine is engine

    @property
    def num_items(self) -> int:
        """How many items prompts are scored on (N)."""
        return len(self.samples)

    def rows(self, prefix: Prefix, adapter: str | None = None) -> list[Conditioning]:
        """Return the items conditioned by a prefix."""
        return [Conditioning(prefix, ids, adapter) for ids in self._own_ids]

    def outcome(self, prefix: Prefix, adapter: str | None = None) -> Outcome:
        """Return what a prompt does on the items; computed once for each content."""
        key = (prefix.digest, adapter)
        if key not in self._outcomes:
            rows = self.rows(prefix, adapter)
            session = self._session
            self._outcomes[key] = score_answers(session.engine, session.encoder, rows, self.samples)
        return self._outcomes[key]

    def outcome_in_turn(self, prefixes: Sequence[Prefix]) -> Outcome:
        """Return what the items do after the prefixes in turn: item i after prefix i mod n."""
        own = [prefixes[i % len(prefixes)] for i in range(self.num_items)]
        rows = [Conditioning(one, ids) for one, ids in zip(own, self._own_ids, strict=True)]
        session = self._session
        return score_answers(session.engine, session.encoder, rows, self.samples)

    def outcomes(
        self, prefixes: Sequence[Prefix], step: Callable[[int, int], None]
    ) -> list[Outcome]:
        """Return the outcome of each prefix, telling `step` how many of all are done."""
        found = []
        for number, prefix in enumerate(prefixes):
            step(number, len(prefixes))
            found.append(self.outcome(prefix))
        step(len(prefixes), len(prefixes))
        return found
