"""A grid of wordings, texts and ways against scoring the same rows in one batch."""

from dataclasses import replace
from pathlib import Path

from material import encoder_for, fit
from measuring import Figure, interleave
from workbench.encoding import PromptEncoder
from workbench.models.engine import Engine
from workbench.runs.session import Session
from workbench.serving.grid import FittedColumn, Grid, GridColumn, fill
from workbench.tasks.base import Task

_TEXTS = 20
_REPEATS = 3
_INSTRUCTIONS = ("", "Read the text.", "Say what it is.", "Read the text and say what it is.")


def measure(engine: Engine, task: Task, folder: Path) -> list[Figure]:
    """Return the time of four wordings in three ways on twenty texts over that of their rows."""
    session = Session(engine, encoder_for(engine, task))
    columns = _columns(session, folder)
    grid = Grid(task, task.test[:_TEXTS])
    fitted = [column.fitted for column in columns for _ in grid.samples]
    samples = grid.samples * len(columns)
    rows = [one.condition(sample.fields) for one, sample in zip(fitted, samples, strict=True)]
    choices = [one.encoder.choice_ids() for one in fitted]

    def table() -> None:
        engine.prefixes.clear()  # so that the shared prefixes are computed on both sides
        *_, last = fill(session, grid, columns)
        if len(last.cells) < len(rows):
            raise RuntimeError(f"{len(last.cells)} of {len(rows)} cells answered")

    def one_batch() -> None:
        engine.prefixes.clear()
        engine.score(rows, choices)

    timings = interleave({"table": table, "rows": one_batch}, _REPEATS)
    ratio, lowest, highest = timings.ratio("table", "rows")
    return [
        Figure(
            f"grid: {len(columns)} columns x {_TEXTS} texts, filled cell by cell / the same rows",
            ratio,
            target=1.3,
            lowest=lowest,
            highest=highest,
            details=(
                f"{task.name}, {len(_INSTRUCTIONS)} wordings x zero_shot, few_shot, lora, prefixes "
                f"computed; table {timings.median('table'):.2f} s, rows scored in one call "
                f"{timings.median('rows'):.2f} s"
            ),
        )
    ]


def _columns(session: Session, folder: Path) -> list[FittedColumn]:
    """Return a column for each wording and way; all wordings ask one adapter, trained one step."""
    known, columns = session.encoder, []
    trained = fit(session.engine, known, "lora", folder, steps=1)
    for number, instruction in enumerate(_INSTRUCTIONS):
        told = f"{instruction} {known.template.instruction}".strip()
        template = known.template.model_copy(update={"instruction": told})
        encoder = PromptEncoder(known.tokenizer, template, known.task)
        plain = fit(session.engine, encoder, "zero_shot", folder)
        ways = {
            "zero_shot": plain,
            "few_shot": fit(session.engine, encoder, "few_shot", folder, k=4),
            "lora": replace(plain, adapter=trained.adapter),
        }
        for name, fitted in ways.items():
            columns.append(FittedColumn(GridColumn(session.info.name, str(number), name), fitted))
    return columns
