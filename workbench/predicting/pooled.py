"""Rows answered by workers: each chunk by whoever is free, its answers kept at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workbench.errors import StoreError
from workbench.fitting.base import FittedMethod
from workbench.predicting.answering import CHUNK_ROWS, RowsAsked
from workbench.predicting.chunks import Chunk, RowAnswer, answer_chunk, chunks_of
from workbench.predicting.parts import AnswerParts
from workbench.progress import Interrupted, Progress, ProgressEvent
from workbench.runs.session import Session
from workbench.serving.asking import Way, fit_way
from workbench.workers.bench import Bench, parts_of
from workbench.workers.placing import Placed
from workbench.workers.pool import Nobody
from workbench.workers.work import UnfitWorker

_SESSION, _WAY = "session of rows", "way of rows"
_STOP_SECONDS = 60.0  # for the batch that is being made


@dataclass(frozen=True)
class ChunkWork:
    """A chunk of rows to be answered by a worker; see `Work`.

    Attributes:
        chunk: The rows.
        base: Which base it needs.
    """

    chunk: Chunk
    base: str
    shared: tuple[str, ...] = (_SESSION, _WAY)

    @property
    def name(self) -> str:
        """Which rows they are, from 1."""
        first = 1 + CHUNK_ROWS * self.chunk.number
        return f"rows {first:,} to {first + len(self.chunk.rows) - 1:,}"

    def do(
        self, bench: Bench, progress: Progress, should_stop: Callable[[], bool]
    ) -> list[RowAnswer]:
        """Return the answers, in order."""
        session = bench.session(_SESSION)

        def fit(way: Way) -> FittedMethod:
            run = way.run
            if run is not None and not run.folder.is_dir():
                raise UnfitWorker(
                    f"{bench.where}: {run.folder} is not there. Put the run into a folder that all "
                    "machines share."
                )
            return fit_way(session, way, bench.store.root)

        fitted = bench.kept(_WAY, fit)
        return answer_chunk(
            session.engine, fitted, self.chunk, progress=progress, should_stop=should_stop
        )


class PooledAnswers:
    """Answers chunks by the workers of a pool.

    Args:
        placed: The workers.
        session: Base, task and wording of the run.
        way: How it answers.
        should_stop: Asked while workers work.
    """

    def __init__(
        self, placed: Placed, session: Session, way: Way, should_stop: Callable[[], bool]
    ) -> None:
        assert placed.pool is not None
        self._pool, self._should_stop = placed.pool, should_stop
        parts = parts_of(session, placed.experiment)
        self._base = parts.base_key
        self._pool.shared.update({_SESSION: parts, _WAY: way})

    def answer_missing(
        self,
        asked: RowsAsked,
        parts: AnswerParts,
        missing: Sequence[int],
        *,
        progress: Progress,
        note: Callable[[str], None],
    ) -> None:
        """Answer the chunks that have no answers yet, each written as soon as it is answered.

        Args:
            asked: The rows.
            parts: Where answers go.
            missing: Numbers of chunks, ascending.
            progress: Told how many rows are answered.
            note: Told what became of workers.

        Raises:
            Interrupted: asked to stop; answered chunks are kept.
            RunError: no worker is left.
            StoreError: answers cannot be written.
            TaskError: the file was changed meanwhile.
        """
        wanted = set(missing)
        chunks = chunks_of(asked.answered_rows(), asked.fields, CHUNK_ROWS)
        left = (chunk for chunk in chunks if chunk.number in wanted)
        num_left, num_asked = len(wanted), 0
        done = asked.num_rows - sum(asked.chunk_size(number) for number in missing)
        is_more = True
        while num_left:
            while is_more and self._pool.is_hungry():
                chunk = next(left, None)
                is_more = chunk is not None
                if chunk is not None:
                    self._pool.submit(ChunkWork(chunk, self._base))
                    num_asked += 1
            if not is_more and num_asked < len(wanted):
                asked.rows.check_unchanged()
                raise StoreError(f"{asked.rows.path}: has fewer rows than when it was opened.")
            if self._should_stop():
                self._pool.stop(Nobody(), seconds=_STOP_SECONDS)
                raise Interrupted(f"{done} of {asked.num_rows} rows are answered")
            answered = self._next(note)
            if answered is None:
                continue
            chunk, answers = answered
            asked.rows.check_unchanged()
            parts.write(chunk.number, answers)
            num_left -= 1
            done += len(answers)
            progress(ProgressEvent("predict", done, asked.num_rows))

    def _next(self, note: Callable[[str], None]) -> tuple[Chunk, list[RowAnswer]] | None:
        """Return a chunk that was answered; None if none was within a moment."""
        ended = self._pool.next(Nobody())
        for text in self._pool.take_notes():
            note(text)
        if ended is None:
            return None
        work, outcome = ended
        if outcome.error is not None:
            raise outcome.error
        assert isinstance(work, ChunkWork)
        answers: list[RowAnswer] = outcome.result
        if len(answers) != len(work.chunk.rows):
            raise StoreError(f"{work.name}: {len(answers)} answers came back.")
        return work.chunk, answers
