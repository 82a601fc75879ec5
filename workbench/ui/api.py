"""The programming interface: named endpoints with types, for `gradio_client` and agents.

On a public page every call needs `visitor`: any secret of 16 to 64 letters, digits, `_` and `-`;
whoever has it owns what was made with it. Locally it is left empty.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

from gradio.events import api

from workbench.analysis.report import report_as_dict, report_texts
from workbench.errors import ConfigError
from workbench.fitting.prediction import score_labels
from workbench.runs.experiment import Experiment
from workbench.runs.labels import read_label
from workbench.service import jobs
from workbench.service.comparisons import open_comparison
from workbench.service.labels import checked_label_name, name_of_training
from workbench.service.uploads import SUFFIXES, ColumnChoice, keep_upload
from workbench.service.ways import checked_experiment, ways_of
from workbench.service.workspace import Workspace
from workbench.serving.asking import Column, fit_way, spec_of
from workbench.tasks.base import Sample
from workbench.ui.addresses import caller_address
from workbench.ui.context import AppContext, SettingValues
from workbench.ui.endpoint_calls import told
from workbench.ui.question import Question, stream_columns
from workbench.ui.train import training_experiment
from workbench.ui.wiring import ASK, BRING, LOOK, MAKE, MODEL

_MOST_TEXTS = 256  # of one call
_LONG_TEXTS = 20  # of one call of a public page: so many of the longest, or more shorter ones
_PIECE = 16  # texts that are scored before others of a public page have their turn
_DEFAULT_WAYS = ["words:zero_shot", "words:few_shot", "words:chain_of_thought"]


class Endpoints:
    """What can be called from outside; the docstrings are shown to those who call."""

    def __init__(self, context: AppContext) -> None:
        self._context = context

    def ask(
        self,
        text: str,
        ways: list[str] | None = None,
        task: str = "support_intents",
        text_b: str = "",
        wording: str = "plain",
        max_new_tokens: int = 24,
        temperature: float = 0.0,
        seed: int = 0,
        precision: str = "nf4",
        visitor: str = "",
    ) -> Iterator[dict[str, Any]]:
        """Answer one text in several ways at once; yields the columns as they grow.

        Args:
            text: What to answer.
            ways: "words:zero_shot", "words:few_shot", "words:few_shot_calibrated",
                "words:chain_of_thought", "run:<run id>", "import:<name>"; null takes three.
            task: Name of a task, or key of an upload.
            text_b: Second text, for tasks with two.
            wording: Name of a wording.
            max_new_tokens: Upper bound of each answer.
            temperature: 0 is greedy.
            seed: What sampling draws from.
            precision: Of the base; a run is asked in its own, on its own task and wording.
            visitor: Secret of the caller on a public page.

        Returns:
            `columns`: label, text, answer, probabilities, prompt and generated tokens, seconds.
            `left_out`: label and reason of each way that cannot answer.
        """
        values = SettingValues(visitor, task, wording, self._context.profile.models[0], precision)
        question = Question(
            (text, text_b), ways or _DEFAULT_WAYS, max_new_tokens, temperature, seed
        )
        for columns, left_out in stream_columns(self._context, values, question):
            yield {
                "columns": [_column(column) for column in columns],
                "left_out": [asdict(way) for way in left_out],
            }

    def score(
        self,
        texts: list[str],
        way: str = "words:zero_shot",
        task: str = "support_intents",
        wording: str = "plain",
        precision: str = "nf4",
        visitor: str = "",
    ) -> list[dict[str, float]]:
        """Return the label probabilities of many texts, one mapping each.

        Args:
            texts: At most 256, for tasks with one text and labels; a public page bounds their
                length altogether too.
            way: One of `ways`, see `ask`.
            task: Name of a task, or key of an upload.
            wording: Name of a wording.
            precision: Of the base; see `ask`.
            visitor: Secret of the caller on a public page.
        """
        context = self._context
        _check_texts(texts, context)
        values = SettingValues(visitor, task, wording, context.profile.models[0], precision)
        workspace, experiment = context.experiment(values)
        chosen = ways_of(workspace, [way], most=1)[0]
        found = context.desk.task(experiment.task)
        if not found.labels or len(found.field_names) != 1:
            raise ConfigError(f"task '{found.name}': score needs labels and one text per item.")

        def work(samples: list[Sample]) -> list[dict[str, float]]:
            session = context.desk.session(experiment)
            fit = partial(fit_way, session, chosen, workspace.folder)
            fitted = context.desk.fitted(spec_of(session, chosen).digest, fit)
            rows = [fitted.condition(sample.fields) for sample in samples]
            predictions = score_labels(session.engine, fitted, samples, rows)
            return [dict(prediction.probabilities or {}) for prediction in predictions]

        samples = [
            Sample(str(number), {found.field_names[0]: text}, target="")
            for number, text in enumerate(texts)
        ]
        most = _PIECE if workspace.is_public else len(samples)
        pieces = [samples[start : start + most] for start in range(0, len(samples), most)]
        return [scores for piece in pieces for scores in context.desk.call(partial(work, piece))]

    def upload_rows(
        self,
        name: str,
        content: str,
        file_type: str = ".csv",
        text_column: str = "text",
        label_column: str = "label",
        text_b_column: str = "",
        kind: str = "classification",
        visitor: str = "",
    ) -> str:
        """Keep labelled rows as a task and return its key.

        Args:
            name: The task's name.
            content: The file as text; a call takes at most 2 MB.
            file_type: ".csv", ".tsv", ".jsonl" or ".json".
            text_column: Column of the text.
            label_column: Column of the label or answer.
            text_b_column: Column of a second text, or empty.
            kind: "classification", "short_answer" or "generation".
            visitor: Secret of the caller on a public page.
        """
        workspace = self._context.workspace(visitor)
        if file_type not in SUFFIXES or file_type == ".parquet":
            raise ConfigError(
                f"file_type {file_type[:20]!r}: .csv, .tsv, .jsonl or .json is needed."
            )
        columns = ColumnChoice(text_column, label_column, text_b_column or None, kind)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"rows{file_type}"
            path.write_bytes(content.encode("utf-8", "surrogatepass"))
            key, _ = keep_upload(workspace, self._context.profile.caps, path, name, columns)
        return key

    def start_training(
        self,
        method: str,
        options: dict[str, Any] | None = None,
        task: str = "support_intents",
        wording: str = "plain",
        seed: int = 0,
        visitor: str = "",
        name: str = "",
    ) -> str:
        """Start a training and return the id of its job; see `job_status`.

        Args:
            method: A trained method, such as "prompt_tuning" or "lora".
            options: The method's options; null takes its defaults.
            task: Name of a task, or key of an upload.
            wording: Name of a wording.
            seed: The run's seed.
            visitor: Secret of the caller on a public page.
            name: What to call the job and its run; no other run may have it.
        """
        context = self._context
        values = SettingValues(visitor, task, wording, context.profile.models[0])
        given = {f"{method}__{key}": value for key, value in (options or {}).items()}
        workspace, experiment = training_experiment(context, values, method, seed, given)
        called = name_of_training(workspace, name)
        title = f"{method} on {context.desk.task(experiment.task).name}"
        return self._submit(workspace, experiment, kind="train", title=title, name=called)

    def start_evaluation(
        self, experiment: dict[str, Any], visitor: str = "", name: str = ""
    ) -> str:
        """Evaluate rows, which makes a comparison; return the id of the job, see `job_status`.

        Args:
            experiment: As in an experiment file. Tasks and wordings are given by key, and
                imported adapters by name; files are uploaded with `upload_rows` first.
            visitor: Secret of the caller on a public page.
            name: What to call the comparison.
        """
        context = self._context
        workspace = context.workspace(visitor)
        checked = checked_experiment(workspace, context.profile, experiment)
        called = checked_label_name(name)
        title = f"{len(checked.methods)} rows on {context.desk.task(checked.task).name}"
        return self._submit(workspace, checked, kind="evaluate", title=title, name=called)

    def job_status(self, job_id: str, visitor: str = "") -> dict[str, Any]:
        """Return how far a job is: state, run, step, figures, finished rows.

        Args:
            job_id: What `start_training` or `start_evaluation` returned.
            visitor: Secret of the caller on a public page.
        """
        workspace = self._context.workspace(visitor)
        if self._context.profile.executor == "process":
            jobs.start_next(workspace.root)
        status = jobs.read_job(workspace, job_id).status
        if workspace.is_public:
            status = status.without_folders()
        return status.model_dump(mode="json")

    def stop_job(self, job_id: str, visitor: str = "") -> str:
        """Ask a job to stop with a checkpoint and return its state.

        Args:
            job_id: What `start_training` or `start_evaluation` returned.
            visitor: Secret of the caller on a public page.
        """
        return jobs.stop(self._context.workspace(visitor), job_id).status.state

    def export_comparison(self, job_id: str, visitor: str = "") -> dict[str, Any]:
        """Return a finished comparison's report as text and `json`.

        The texts are `html`, `markdown`, `latex` and `csv`.

        Args:
            job_id: A finished job.
            visitor: Secret of the caller on a public page.
        """
        comparison, _, _ = open_comparison(self._context.workspace(visitor), job_id)
        return {
            "json": json.loads(json.dumps(report_as_dict(comparison), default=str)),
            **report_texts(comparison),
        }

    def list_runs(self, visitor: str = "") -> list[dict[str, Any]]:
        """Return the caller's runs: id, name, task, method, seed, status, metrics and costs.

        One that cannot be read has the status "damaged", the reason, and nothing else.

        Args:
            visitor: Secret of the caller on a public page.
        """
        readable, broken = self._context.workspace(visitor).all_runs()
        listed: list[dict[str, Any]] = [
            {
                "run_id": run.record.run_id,
                "name": read_label(run.folder).name,
                "task": run.spec.task.name,
                "row": run.record.row,
                "method": run.spec.method,
                "seed": run.spec.seed,
                "status": run.record.status,
                "metrics": {name: asdict(value) for name, value in run.record.metrics.items()},
                "cost": run.record.cost.figures,
            }
            for run in readable
        ]
        listed += [
            {"run_id": run.run_id, "status": "damaged", "reason": run.sentence} for run in broken
        ]
        return listed

    def _submit(
        self,
        workspace: Workspace,
        experiment: Experiment,
        *,
        kind: Literal["train", "evaluate"],
        title: str,
        name: str,
    ) -> str:
        profile = self._context.profile
        if profile.executor == "chunks":
            raise ConfigError(
                "jobs: this Space lends its accelerator to the page only. Use the page, or a Space "
                "with hardware of its own."
            )
        job = jobs.submit(
            workspace,
            profile,
            experiment,
            kind=kind,
            title=title,
            name=name,
            address=caller_address(),
        )
        jobs.start_next(self._context.root)
        return job.status.job_id


def build(context: AppContext) -> None:
    """Register the endpoints; they wait in the same lines as the page's own events."""
    endpoints = Endpoints(context)
    lines: list[tuple[Callable[..., Any], dict[str, Any]]] = [
        (endpoints.ask, MODEL),
        (endpoints.score, MODEL),
        (endpoints.upload_rows, BRING),
        (endpoints.start_training, ASK),
        (endpoints.start_evaluation, ASK),
        (endpoints.job_status, ASK),
        (endpoints.stop_job, ASK),
        (endpoints.export_comparison, MAKE),
        (endpoints.list_runs, LOOK),
    ]
    for function, place in lines:
        api(told(function), **place)
    api(
        told(endpoints.ask),
        api_name="compare",
        api_description="The former name of `/ask`: same arguments, same answers. Call `/ask` "
        "instead.",
        **MODEL,
    )


def _column(column: Column) -> dict[str, Any]:
    prediction, generation = column.prediction, column.generation
    return {
        "label": column.label,
        "text": column.text,
        "answer": None if prediction is None else prediction.answer,
        "probabilities": None if prediction is None else prediction.probabilities,
        "prompt_tokens": column.conditioning.num_tokens,
        "generated_tokens": None if generation is None else len(generation.token_ids),
        "first_token_seconds": column.first_token_seconds,
        "seconds": column.seconds,
    }


def _check_texts(texts: object, context: AppContext) -> None:
    most = context.profile.caps.text_chars
    is_list = isinstance(texts, list) and 1 <= len(texts) <= _MOST_TEXTS
    if not is_list or not all(isinstance(text, str) and text.strip() for text in texts):  # type: ignore[attr-defined]
        raise ConfigError(
            f"texts: a list of 1 to {_MOST_TEXTS} texts is needed, none of them empty."
        )
    if any(len(text) > most for text in texts):  # type: ignore[attr-defined]
        raise ConfigError(f"texts: at most {most} characters each.")
    together = sum(map(len, texts))  # type: ignore[call-overload]
    if context.profile.is_public and together > _LONG_TEXTS * most:
        raise ConfigError(
            f"texts: {together} characters altogether; at most {_LONG_TEXTS * most} here. Send "
            "several calls."
        )
