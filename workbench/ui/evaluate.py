"""The tab that measures: many rows on the test split, then what the numbers say and how sure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import gradio as gr

from workbench.analysis.comparison import Comparison
from workbench.analysis.confusion import confusion_of
from workbench.analysis.cost_figure import cost_plot
from workbench.analysis.disagreement import (
    BrowsedItem,
    BrowseMode,
    browse,
    disagreement_csv,
    mode_counts,
)
from workbench.analysis.figures import calibration_plot, forest_plot
from workbench.analysis.headline import headline
from workbench.analysis.leaderboard import leaderboard
from workbench.analysis.report import write_report
from workbench.analysis.tables import subtitle
from workbench.atomic import write_bytes, write_text
from workbench.errors import ConfigError, WorkbenchError
from workbench.presentation.drawing import Drawing, Plot
from workbench.presentation.quantities import COSTS, metric_of
from workbench.service import jobs
from workbench.service.comparisons import list_comparisons, open_comparison
from workbench.service.ways import experiment_of, is_quick, rows_of, way_choices
from workbench.ui import job_panel
from workbench.ui.context import (
    KEEP,
    PROBLEM,
    AppContext,
    SettingValues,
    guarded,
    or_skip,
    shows_problem,
    shows_problems,
    told_to_caller,
)
from workbench.ui.rendering import render
from workbench.ui.setup import Setup

_PAGE = 20  # items of the browser at once
_EMPTY = "No evaluation yet. Choose rows above and press Evaluate; the table appears here."


@or_skip(2)
def on_rows(
    context: AppContext, chosen: Sequence[str], offered: Sequence[str], **setting: object
) -> list[Any]:
    """Return the rows that can be evaluated with the setting, and all that were ever offered.

    What was chosen stays; what is offered for the first time, such as a run just trained, is added
    unless it takes minutes.
    """
    workspace, experiment = context.experiment(SettingValues(**setting))
    choices = way_choices(workspace, context.desk, experiment)
    keys = [key for _, key in choices]
    value = [key for key in keys if key in chosen or (key not in offered and is_quick(key))]
    most = context.profile.caps.methods
    shown = gr.Dropdown(choices=choices, value=value[:most], multiselect=True)
    return [shown, [*dict.fromkeys([*offered, *keys])]]


@shows_problems(*job_panel.KEPT, PROBLEM)
def on_evaluate(
    context: AppContext,
    *,
    rows: Sequence[str],
    seeds: object,
    limit_test: object,
    **setting: object,
) -> Iterator[list[Any]]:
    """Start an evaluation and show how far it is."""
    values = SettingValues(**setting)
    workspace, shared = context.setting(values)
    if not rows:
        raise ConfigError("rows: none chosen. Choose at least one.")
    numbers = parse_seeds(seeds)
    experiment = experiment_of(
        workspace,
        context.profile,
        shared,
        methods=rows_of(workspace, rows, seeds=numbers),
        seeds=numbers[:1],
        limit_test=_limit(limit_test),
    )
    name = context.desk.task(experiment.task).name
    title = f"{len(experiment.methods)} rows on {name}"
    job = jobs.submit(workspace, context.profile, experiment, kind="evaluate", title=title)
    yield from job_panel.follow(context, "evaluate", values.token, job)


def parse_seeds(text: object) -> list[int]:
    """Return the seeds in "0, 1, 2".

    Raises:
        ConfigError: not whole numbers from 0 up, or one twice.
    """
    parts = [part.strip() for part in str(text or "0").split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise ConfigError(f"seeds: {str(text)[:40]!r}; whole numbers like 0, 1, 2 are needed.")
    seeds = [int(part) for part in parts]
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds: {text}; one of them stands there twice.")
    return seeds


def on_list(context: AppContext, token: object, chosen: str | None, job_id: str | None) -> Any:
    """Return the finished comparisons; that of the shown job, else the chosen or the newest."""
    entries = list_comparisons(context.workspace(token))
    keys = [entry.key for entry in entries]
    value = next((key for key in (job_id, chosen, *keys) if key in keys), None)
    return gr.Dropdown(choices=[(entry.title, entry.key) for entry in entries], value=value)


@shows_problems(PROBLEM, lambda: gr.Column(visible=False), *(KEEP,) * 5)
def on_open(context: AppContext, token: object, key: str | None) -> list[Any]:
    """Return everything the results part shows of a comparison; see `build` for the order."""
    hidden = gr.Column(visible=False)
    if not key:
        return [render("hint", text=_EMPTY), hidden, *([gr.skip()] * 5)]
    comparison, _, _ = open_comparison(context.workspace(token), key)
    names = list(dict.fromkeys(row.row for row in comparison.rows))
    metrics = dict.fromkeys(name for row in comparison.rows for name in row.metrics)
    best = leaderboard(comparison)[0].name
    own = [row.row for row in comparison.rows if not row.is_baseline] or names
    return [
        results_html(comparison),
        gr.Group(visible=True),
        gr.Dropdown(
            choices=[(metric_of(name).title, name) for name in metrics],
            value=comparison.headline_metric,
        ),
        gr.Dropdown(choices=names, value=best if best in own else own[-1]),
        gr.Dropdown(choices=names, value=own[-1]),
        gr.Dropdown(choices=names, value=comparison.reference),
        gr.Dropdown(choices=mode_choices(comparison, own[-1], comparison.reference)),
    ]


def results_html(comparison: Comparison) -> str:
    """Return headline, leaderboard and the main figure of a comparison."""
    return render(
        "results",
        headline=headline(comparison),
        subtitle=subtitle(comparison),
        rows=leaderboard(comparison),
        reference=comparison.reference,
        metric=comparison.headline_metric,
        drawing=forest_plot(comparison).svg_drawing(),
        warnings=comparison.warnings,
    )


@shows_problem
def on_cost(context: AppContext, token: object, key: str | None, cost: str, quality: str) -> str:
    """Return quality against a cost, with the Pareto front."""
    if not key:
        return ""
    comparison, _, _ = open_comparison(context.workspace(token), key)
    plot = _cost_plot(comparison, cost, quality)
    if plot is None:
        title = COSTS[cost].title
        return render("hint", text=f"All rows have the same {title}: nothing to draw.")
    return render("drawing", drawing=plot.svg_drawing())


@shows_problem
def on_row(context: AppContext, token: object, key: str | None, row: str | None) -> str:
    """Return calibration and confusion matrix of a row."""
    if not key or not row:
        return ""
    comparison, _, _ = open_comparison(context.workspace(token), key)
    name = _choice(row, _row_names(comparison), "row")
    calibration = calibration_plot(comparison, [name])
    drawing: Drawing | None = None if calibration is None else calibration.svg_drawing()
    return render("row_detail", drawing=drawing, confusion=confusion_of(comparison, name))


def mode_choices(comparison: Comparison, row: str, against: str) -> list[tuple[str, str]]:
    """Return the ways to browse items, each with how many it shows."""
    counts = mode_counts(comparison, row=row, against=against)
    total = comparison.task.num_test
    return [(f"{mode.label}: {count} of {total}", mode.value) for mode, count in counts.items()]


@shows_problems(PROBLEM, KEEP)
def on_browse(
    context: AppContext,
    *,
    token: object,
    key: str | None,
    mode: str,
    row: str | None,
    against: str | None,
    search: str,
    page: object,
) -> list[Any]:
    """Return a page of items, and the modes with their counts for the chosen rows."""
    if not key or not row or not against:
        return ["", gr.skip()]
    comparison, _, _ = open_comparison(context.workspace(token), key)
    items = _items(context, token, key, mode=mode, row=row, against=against, search=search)
    number = int(page) if isinstance(page, int | float) and 1 <= page < 1e6 else 1
    last = max(1, -(-len(items) // _PAGE))
    number = min(number, last)
    view = render(
        "items",
        items=items[(number - 1) * _PAGE : number * _PAGE],
        names=list(items[0].answers) if items else [],
        total=len(items),
        page=number,
        last=last,
    )
    return [view, gr.Dropdown(choices=mode_choices(comparison, row, against), value=mode)]


@guarded(told_to_caller)  # there is no place for a box among files
def on_export(
    context: AppContext,
    *,
    token: object,
    key: str | None,
    mode: str,
    row: str | None,
    against: str | None,
    cost: str,
    quality: str,
) -> Any:
    """Return the files of a comparison: report in four forms, items as CSV, figures as PNG."""
    if not key:
        return None
    workspace = context.workspace(token)
    comparison, _, _ = open_comparison(workspace, key)
    items = _items(context, token, key, mode=mode, row=row, against=against, search="")
    plots = {
        f"{comparison.headline_metric}.png": forest_plot(comparison),
        "cost.png": _cost_plot(comparison, cost, quality),
        "calibration.png": calibration_plot(comparison),
    }
    target = context.exports / workspace.folder.name / key
    files = write_report(comparison, target)
    paths = [files.html, files.markdown, files.csv, files.json]
    write_text(target / "items.csv", disagreement_csv(items))
    paths.append(target / "items.csv")
    for name, plot in plots.items():
        if plot is not None:
            write_bytes(target / name, plot.png())
            paths.append(target / name)
    return gr.Files(value=[str(path) for path in paths], visible=True)


def build(context: AppContext, setup: Setup, tab: gr.Tab) -> None:
    """Lay out the tab and wire it."""
    with gr.Row():
        rows = gr.Dropdown(
            [],
            label="Rows of the table",
            info="Trained runs are found again and cost nothing.",
            multiselect=True,
            elem_id="wb-rows",
            scale=5,
            min_width=280,
        )
        seeds = gr.Textbox("0", label="Seeds", info="Draws of demonstrations.", min_width=110)
        limit = gr.Textbox("", label="Most test items", placeholder="all", min_width=110)
    offered = gr.State([])
    start = gr.Button("Evaluate", variant="primary", elem_id="wb-evaluate")
    trouble = gr.HTML()
    panel = job_panel.build(context, setup, "evaluate", tab)
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    gr.on(
        [*setup.changes, tab.select, setup.loaded],
        partial(on_rows, context),
        inputs_kwargs={"chosen": rows, "offered": offered, **setup.values},
        outputs=[rows, offered],
        queue=False,
        **quiet,
    )
    start.click(
        partial(on_evaluate, context),
        inputs_kwargs={"rows": rows, "seeds": seeds, "limit_test": limit, **setup.values},
        outputs=[*panel.outputs, trouble],
        concurrency_id="train",
        concurrency_limit=4,
        trigger_mode="once",
        **quiet,
    )
    _build_results(context, setup, panel, tab)


_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}


def _build_results(
    context: AppContext, setup: Setup, panel: job_panel.JobPanel, tab: gr.Tab
) -> None:
    """Lay out what is shown of a finished comparison, and wire it."""
    token = setup.values["token"]
    key = gr.Dropdown([], label="Comparison", elem_id="wb-comparison", interactive=True)
    results = gr.HTML(render("hint", text=_EMPTY), elem_id="wb-results")
    with gr.Column(visible=False) as details, gr.Tabs(elem_id="wb-details"):
        with gr.Tab("Quality against cost"):
            cost, quality = _build_cost(context, token, key)
        with gr.Tab("Calibration and confusion"):
            row = gr.Dropdown([], label="Row to look at", elem_id="wb-row")
            row_view = gr.HTML(elem_id="wb-row-view")
        with gr.Tab("Items"):
            browsed = _build_items(context, token, key)
        with gr.Tab("Files"):
            export = gr.Button("Prepare files to download", elem_id="wb-export")
            files = gr.Files(visible=False, label="Report, items and figures", elem_id="wb-files")
    gr.on(
        [panel.view.change, tab.select, setup.loaded],
        partial(on_list, context),
        [token, key, panel.choice],
        key,
        **_QUIET,
    )
    key.change(
        partial(on_open, context),
        [token, key],
        [results, details, quality, row, browsed["row"], browsed["against"], browsed["mode"]],
        **_QUIET,
    )
    row.change(partial(on_row, context), [token, key, row], row_view, **_QUIET)
    export.click(
        partial(on_export, context),
        inputs_kwargs={**browsed, "cost": cost, "quality": quality},
        outputs=files,
        **_QUIET,
    )


def _build_cost(
    context: AppContext, token: gr.BrowserState, key: gr.Dropdown
) -> tuple[gr.Dropdown, gr.Dropdown]:
    """Lay out quality against cost; return both choices."""
    with gr.Row():
        costs = [(cost.axis_title, name) for name, cost in COSTS.items()]
        cost = gr.Dropdown(costs, value="trained_parameters", label="Cost", elem_id="wb-cost")
        quality = gr.Dropdown([("accuracy", "accuracy")], value="accuracy", label="Quality")
    view = gr.HTML(elem_id="wb-cost-view")
    gr.on(
        [key.change, cost.change, quality.change],
        partial(on_cost, context),
        [token, key, cost, quality],
        view,
        **_QUIET,
    )
    return cost, quality


def _build_items(context: AppContext, token: gr.BrowserState, key: gr.Dropdown) -> dict[str, Any]:
    """Lay out the browser of items; return what says which items, as inputs of handlers."""
    with gr.Row():
        mode = gr.Dropdown(
            [(m.label, m.value) for m in BrowseMode],
            value=BrowseMode.DISAGREE.value,
            label="Items",
            elem_id="wb-mode",
        )
        row = gr.Dropdown([], label="Row", elem_id="wb-browse-row")
        against = gr.Dropdown([], label="Against", elem_id="wb-against")
        search = gr.Textbox(label="Search", elem_id="wb-search")
        page = gr.Number(1, label="Page", precision=0, min_width=80)
    items = gr.HTML(elem_id="wb-items")
    shown = {"token": token, "key": key, "mode": mode, "row": row, "against": against}
    gr.on(
        [mode.input, row.change, against.change, search.change, page.change],
        partial(on_browse, context),
        inputs_kwargs={**shown, "search": search, "page": page},
        outputs=[items, mode],
        trigger_mode="always_last",
        **_QUIET,
    )
    return shown


def _items(
    context: AppContext,
    token: object,
    key: str,
    *,
    mode: str,
    row: str | None,
    against: str | None,
    search: str,
) -> list[BrowsedItem]:
    """Return the items of a mode with their texts, where the task can still be had."""
    comparison, experiment, _ = open_comparison(context.workspace(token), key)
    chosen = _choice(mode, list(BrowseMode), "items")
    for name in (row, against):
        if name is not None:
            _choice(name, _row_names(comparison), "row")
    texts: dict[str, Mapping[str, str]] = {}
    with suppress(WorkbenchError):
        task = context.desk.task(experiment.task)
        texts = {sample.id: sample.fields for sample in task.test}
    return browse(
        comparison,
        BrowseMode(chosen),
        row=row,
        against=against,
        text_of=texts,
        search=str(search or "")[:200],
    )


def _cost_plot(comparison: Comparison, cost: object, quality: object) -> Plot | None:
    """Return quality against a cost; None if all rows cost the same.

    Raises:
        ConfigError: no cost, or no metric of the rows.
    """
    metrics = {name for row in comparison.rows for name in row.metrics}
    if quality == "accuracy":  # what the list shows before a comparison is opened
        quality = comparison.headline_metric
    return cost_plot(
        comparison,
        cost=_choice(cost, COSTS, "cost"),
        quality=_choice(quality, metrics, "quality"),
    )


def _row_names(comparison: Comparison) -> set[str]:
    return {row.row for row in comparison.rows}


def _choice(value: object, known: Collection[str], kind: str) -> str:
    """Return what was chosen from a list.

    Raises:
        ConfigError: it does not stand there.
    """
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"{kind}: {str(value)[:40]!r} is none. Choose one from the list.")
    return value


def _limit(value: object) -> int | None:
    """Return the most test items; empty takes all.

    Raises:
        ConfigError: no number from 1 up.
    """
    text = "" if value is None else str(value).strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise ConfigError(f"most test items: {text[:40]!r}; a number from 1 up is needed.")
    return int(text)
