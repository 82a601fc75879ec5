"""What is shown of a finished comparison: table, figures, items, and files to take."""

from functools import partial
from typing import Any

import gradio as gr

from workbench.analysis.captions import caption_of
from workbench.analysis.comparison import Comparison
from workbench.analysis.confusion import confusion_of
from workbench.analysis.cost_figure import cost_plot
from workbench.analysis.disagreement import disagreement_csv
from workbench.analysis.figures import calibration_plot, forest_plot
from workbench.analysis.headline import headline
from workbench.analysis.leaderboard import leaderboard
from workbench.analysis.report import write_report
from workbench.analysis.tables import heading
from workbench.atomic import write_text
from workbench.presentation.drawing import Drawing, Plot
from workbench.presentation.figure_files import write_figure
from workbench.presentation.quantities import COSTS, metric_of
from workbench.service.comparisons import list_comparisons, open_comparison
from workbench.ui import item_browser, job_panel
from workbench.ui.choices import ChoiceList
from workbench.ui.context import (
    KEEP,
    PROBLEM,
    AppContext,
    guarded,
    shows_problem,
    shows_problems,
    told_to_caller,
)
from workbench.ui.item_browser import items_of, mode_choices
from workbench.ui.raw_values import choice_of
from workbench.ui.rendering import render
from workbench.ui.setup import Setup
from workbench.ui.wiring import AT_ONCE, LOOK, MAKE, QUIET

_EMPTY = "No comparison yet. Choose rows above and press Evaluate; the table appears here."


def on_list(
    context: AppContext,
    token: object,
    chosen: str | None,
    job_id: str | None,
    awaited: str | None,
) -> list[Any]:
    """Return the finished comparisons, and the shown job if its comparison is yet to come.

    What was awaited is opened once it is there. Else what is chosen stays, such as what a link asks
    for; without it, the comparison of the shown job is opened, or the newest.
    """
    entries = list_comparisons(context.workspace(token))
    keys = [entry.key for entry in entries]
    order = (job_id, chosen) if job_id == awaited else (chosen, job_id)
    value = next((key for key in (*order, *keys) if key in keys), None)
    update: dict[str, Any] = {"choices": [(entry.title, entry.key) for entry in entries]}
    if value != chosen:  # else somebody who chooses another one meanwhile would lose that
        update["value"] = value
    return [gr.update(**update), None if job_id in keys else job_id]


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
        subtitle=heading(comparison),
        rows=leaderboard(comparison),
        reference=comparison.reference,
        metric=comparison.headline_metric,
        drawing=forest_plot(comparison).svg_drawing(has_wide=True),
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
    return render("drawing", drawing=plot.svg_drawing(has_wide=True))


@shows_problem
def on_row(context: AppContext, token: object, key: str | None, row: str | None) -> str:
    """Return calibration and confusion matrix of a row."""
    if not key or not row:
        return ""
    comparison, _, _ = open_comparison(context.workspace(token), key)
    name = choice_of(row, {found.row for found in comparison.rows}, "row")
    calibration = calibration_plot(comparison, [name])
    drawing: Drawing | None = (
        None if calibration is None else calibration.svg_drawing(has_wide=True)
    )
    return render("row_detail", drawing=drawing, confusion=confusion_of(comparison, name))


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
    """Return the files of a comparison: report in all its forms, items as CSV, figures in three."""
    if not key:
        return None
    workspace = context.workspace(token)
    comparison, _, _ = open_comparison(workspace, key)
    items = items_of(context, token, key, mode=mode, row=row, against=against, search="")
    plots = {
        comparison.headline_metric: forest_plot(comparison),
        "cost": _cost_plot(comparison, cost, quality),
        "calibration": calibration_plot(comparison),
    }
    target = context.exports_of(workspace) / key
    paths = list(write_report(comparison, target).values())
    caption = caption_of(comparison).text
    write_text(target / "items.csv", disagreement_csv(items))
    paths.append(target / "items.csv")
    for name, plot in plots.items():
        if plot is not None:
            paths += write_figure(plot, target, name, caption=caption)
    return gr.Files(value=[str(path) for path in paths], visible=True)


def build(context: AppContext, setup: Setup, panel: job_panel.JobPanel, tab: gr.Tab) -> None:
    """Lay out what is shown of a finished comparison, and wire it."""
    token = setup.values["token"]
    key = ChoiceList([], label="Comparison", elem_id="wb-comparison", interactive=True)
    setup.address.keep("comparison", key, tab="evaluate", known=partial(_keys, context))
    awaited = gr.State(None)
    results = gr.HTML(render("hint", text=_EMPTY), elem_id="wb-results")
    with gr.Column(visible=False) as details, gr.Tabs(elem_id="wb-details"):
        with gr.Tab("Quality against cost"):
            cost, quality = _build_cost(context, token, key)
        with gr.Tab("Calibration and confusion"):
            row = ChoiceList([], label="Row to look at", elem_id="wb-row")
            row_view = gr.HTML(elem_id="wb-row-view")
        with gr.Tab("Items"):
            browsed = item_browser.build(context, token, key)
        with gr.Tab("Files"):
            export = gr.Button("Prepare files to download", elem_id="wb-export")
            files = gr.Files(visible=False, label="Report, items and figures", elem_id="wb-files")
    listed = [key, awaited]
    look = partial(on_list, context)
    after = [panel.view.change, tab.select, setup.loaded]
    gr.on(after, look, [token, key, panel.choice, awaited], listed, **AT_ONCE)
    panel.choice.input(look, [token, key, panel.choice, panel.choice], listed, **AT_ONCE)
    key.change(
        partial(on_open, context),
        [token, key],
        [results, details, quality, row, browsed["row"], browsed["against"], browsed["mode"]],
        **QUIET,
        **LOOK,
    )
    row.change(partial(on_row, context), [token, key, row], row_view, **QUIET, **LOOK)
    export.click(
        partial(on_export, context),
        inputs_kwargs={**browsed, "cost": cost, "quality": quality},
        outputs=files,
        **QUIET,
        **MAKE,
    )


def _keys(context: AppContext, token: object) -> list[str]:
    return [entry.key for entry in list_comparisons(context.workspace(token))]


def _build_cost(
    context: AppContext, token: gr.BrowserState, key: gr.Dropdown
) -> tuple[gr.Dropdown, gr.Dropdown]:
    """Lay out quality against cost; return both choices."""
    with gr.Row():
        costs = [(cost.axis_title, name) for name, cost in COSTS.items()]
        cost = gr.Dropdown(costs, value="trained_parameters", label="Cost", elem_id="wb-cost")
        quality = ChoiceList([("accuracy", "accuracy")], value="accuracy", label="Quality")
    view = gr.HTML(elem_id="wb-cost-view")
    gr.on(
        [key.change, cost.change, quality.change],
        partial(on_cost, context),
        [token, key, cost, quality],
        view,
        **QUIET,
        **LOOK,
    )
    return cost, quality


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
        cost=choice_of(cost, COSTS, "cost"),
        quality=choice_of(quality, metrics, "quality"),
    )
