"""The part of Evaluate that looks across base models: finished runs side by side, nothing made."""

from functools import partial
from typing import Any

import gradio as gr

from workbench.analysis.curves.figure import curve_plot
from workbench.analysis.curves.report import sentences_of
from workbench.analysis.curves.sizes import NOTES
from workbench.analysis.curves.stored_bases import AcrossBases, across_bases, bases_view
from workbench.errors import StoreError
from workbench.ui.choices import ChoiceList
from workbench.ui.context import KEEP, PROBLEM, AppContext, guarded, shows_problems
from workbench.ui.rendering import render
from workbench.ui.setup import Setup
from workbench.ui.wiring import LOOK, QUIET

_EMPTY = (
    "No two base models have a finished run of the same task, wording and precision yet. Choose "
    "another base model above and evaluate the same rows; they appear here side by side."
)
_BETWEEN = (
    "Differences between bases are paired by item too. They say more about the bases than about "
    "the row, and no p-value is given."
)
_MOST_TRAINED = ("the row that trains most", "")


@guarded(lambda _error: gr.skip())  # what follows shows the same error
def on_bases(context: AppContext, token: object, chosen: str | None) -> Any:
    """Return what was asked of several bases, to choose from: what was chosen, or the newest."""
    found = _found(context, token)
    keys = [one.key for one in found]
    value = next((key for key in (chosen, *keys) if key in keys), None)
    return gr.Dropdown(choices=[(one.title, one.key) for one in found], value=value)


@shows_problems(PROBLEM, KEEP)
def on_across(
    context: AppContext, token: object, key: str | None, against: object, is_between: object
) -> list[Any]:
    """Return the rows of each base with the figure over their sizes, and rows to hold against.

    Differences are within a base; those between bases are shown where they are asked for.
    """
    if not key:
        return [render("hint", text=_EMPTY), gr.skip()]
    found = next((one for one in _found(context, token) if one.key == key), None)
    if found is None:
        raise StoreError(
            f"bases: {str(key)[:40]!r} is none of what your runs share. Fold this part and open it "
            "again, and choose from the list."
        )
    view = bases_view(found, against=str(against) if against else None)
    curves = view.curves
    names = [line.name for line in curves.lines if not line.is_baseline]
    shown = render(
        "across_bases",
        view=view,
        title=found.title,
        sentences=sentences_of(curves),
        drawing=curve_plot(curves, name="across").svg_drawing(has_wide=True),
        is_between=bool(is_between),
        notes=[_BETWEEN, *NOTES[1:]] if is_between else NOTES,
    )
    choices = [_MOST_TRAINED, *((name, name) for name in names)]
    return [shown, gr.Dropdown(choices=choices, value=against if against in names else "")]


def build(context: AppContext, setup: Setup) -> None:
    """Lay out the part, folded, and wire it; files are read once it is opened."""
    token = setup.values["token"]
    has_several = not context.profile.is_public or len(context.profile.models) > 1
    with gr.Accordion(
        "Across base models", open=False, visible=has_several, elem_id="wb-across"
    ) as drawer:
        with gr.Row():
            key = ChoiceList(
                [],
                label="Finished on several base models",
                info="The same task, wording and precision. Nothing is trained here.",
                elem_id="wb-across-runs",
                interactive=True,
                scale=3,
                min_width=280,
            )
            against = ChoiceList(
                [_MOST_TRAINED],
                value="",
                label="Hold the others against",
                info="On the same base model.",
                elem_id="wb-across-against",
                interactive=True,
                scale=2,
                min_width=200,
            )
            is_between = gr.Checkbox(
                False,
                label="Differences between base models too",
                elem_id="wb-across-between",
                min_width=160,
            )
        view = gr.HTML(elem_id="wb-across-view")
    look: dict[str, Any] = {
        "fn": partial(on_across, context),
        "inputs": [token, key, against, is_between],
        "outputs": [view, against],
        **QUIET,
        **LOOK,
    }
    opened = drawer.expand(partial(on_bases, context), [token, key], key, **QUIET, **LOOK)
    opened.then(**look)
    gr.on([key.input, against.input, is_between.input], **look)


def _found(context: AppContext, token: object) -> list[AcrossBases]:
    return across_bases(context.workspace(token).runs())
