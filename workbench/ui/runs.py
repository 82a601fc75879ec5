"""The tab of what was made: open, compare two, share, download, delete, and import adapters."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from workbench.analysis.answers import headline_metric_of, read_history
from workbench.analysis.run_diff import diff_records, diff_specs, run_summary
from workbench.analysis.training_figure import history_plot
from workbench.errors import ConfigError
from workbench.presentation.display import NOTHING, percent
from workbench.presentation.quantities import metric_of
from workbench.room import used_bytes
from workbench.runs.labels import NO_LABEL, read_label
from workbench.runs.store import BrokenRun, StoredRun
from workbench.service import jobs
from workbench.service.imports import keep_import
from workbench.service.labels import label_of_run, label_run
from workbench.service.publishing import adapter_archive, push_adapter
from workbench.service.shown import shown_run
from workbench.ui.choices import ChoiceList
from workbench.ui.context import KEEP, PROBLEM, AppContext, shows_problem, shows_problems
from workbench.ui.rendering import render
from workbench.ui.setup import Setup
from workbench.ui.wiring import AT_ONCE, BRING, LOOK, MAKE, PUSH, QUIET, WAITS, enables, forgets

_COLUMNS = ("name", "task", "row", "seed", "test figure", "status", "started", "run")
_WIDTHS = ("90px", "143px", "193px", "52px", "112px", "88px", "153px", "390px")
_EMPTY = "No run yet. Train a method or evaluate some rows; every run is kept here."


def run_table(context: AppContext, token: object) -> pd.DataFrame:
    """Return the visitor's runs, the newest first, and behind them those that cannot be read."""
    readable, broken = context.workspace(token).all_runs()
    lines = [_line(run) for run in reversed(readable)]
    lines += [_damaged_line(run) for run in broken]
    return pd.DataFrame(lines, columns=list(_COLUMNS))


def on_refresh(context: AppContext, token: object) -> list[Any]:
    """Return the table, and the runs to choose from."""
    table = run_table(context, token)
    ids = table["run"].tolist()
    titles = [
        f"{name}{' · ' if name else ''}{task} · {row} · seed {seed} · {run.rpartition('_')[2][:4]}"
        for name, task, row, seed, run in zip(
            table["name"], table["task"], table["row"], table["seed"], ids, strict=True
        )
    ]
    choices = list(zip(titles, ids, strict=True))
    return [
        gr.Dataframe(value=table, visible=bool(ids)),
        gr.Dropdown(choices=choices),
        gr.Dropdown(choices=[("none", ""), *choices]),
        "" if ids else render("hint", text=_EMPTY),
    ]


@shows_problem
def on_open(context: AppContext, token: object, run_id: str | None, other: str | None) -> str:
    """Return a run's page, or two runs side by side."""
    if not run_id:
        return render("hint", text="Choose a run in the list, or click one in the table.")
    workspace = context.workspace(token)
    run, is_public = workspace.run(run_id), workspace.is_public
    if other and other != run_id:
        return diff_html(run, workspace.run(other), is_public=is_public)
    return run_html(run, is_public=is_public)


def run_html(run: StoredRun, *, is_public: bool) -> str:
    """Return everything there is to say about one run, or all that strangers may know."""
    run = shown_run(run) if is_public else run
    history = read_history(run)
    drawing = history_plot([(run.record.row, history)], name="run") if history else None
    name = read_label(run.folder).name
    return render("run", run=run, name=name, facts=run_summary(run), drawing=drawing)


def diff_html(first: StoredRun, second: StoredRun, *, is_public: bool) -> str:
    """Return what differs between two runs: what was asked, and what came out."""
    if is_public:
        first, second = shown_run(first), shown_run(second)
    return render(
        "diff",
        first=first.record.run_id,
        second=second.record.run_id,
        names=[read_label(run.folder).name for run in (first, second)],
        specs=diff_specs(first.spec, second.spec),
        figures=diff_records(first.record, second.record),
    )


def _unnamed() -> gr.Textbox:
    return gr.Textbox(value="", interactive=False)


@shows_problems(_unnamed, _unnamed, lambda: gr.Button(interactive=False), str)
def on_label(context: AppContext, token: object, run_id: str | None) -> list[Any]:
    """Return name and note of the chosen run, to be changed and kept, and nothing to say of them.

    What is wrong with a run is said where it is opened.
    """
    label, is_one = NO_LABEL, bool(run_id)
    if is_one:
        label = label_of_run(context.workspace(token), run_id)
    boxes = [gr.Textbox(value=text, interactive=is_one) for text in (label.name, label.note)]
    return [*boxes, gr.Button(interactive=is_one), ""]


@shows_problems(*(KEEP,) * 6, PROBLEM)
def on_name(
    context: AppContext, token: object, run_id: str | None, name: object, remark: object
) -> list[Any]:
    """Give a run its name and note, or take both away; see `build` for the order."""
    if not run_id:
        raise ConfigError("name: choose a run in the list first.")
    label = label_run(context.workspace(token), run_id, name, remark)
    shown = on_refresh(context, token)
    done = f"Its name is {label.name}." if label.name else "It has no name."
    return [*shown, label.name, label.note, render("hint", text=done)]


@shows_problems(KEEP, PROBLEM)
def on_download(context: AppContext, token: object, run_id: str | None) -> list[Any]:
    """Return the run's adapter as a zip file."""
    workspace = context.workspace(token)
    run = workspace.run(run_id)
    path = adapter_archive(run, context.exports_of(workspace, used_bytes(run.adapter_folder)))
    return [gr.File(value=str(path), visible=True), ""]


@shows_problem
def on_share(context: AppContext, token: object, run_id: str | None) -> str:
    """Return the link that opens a run."""
    workspace = context.workspace(token)
    query = f"?run={workspace.run(run_id).record.run_id}"
    query += f"&key={workspace.share(run_id)}" if context.profile.is_public else "&tab=runs"
    return render("link", query=query, is_public=context.profile.is_public)


@shows_problem
def on_unshare(context: AppContext, token: object, run_id: str | None) -> str:
    """Take the link of a run back."""
    was_shared = context.workspace(token).stop_sharing(run_id)
    done = "Its link no longer opens it." if was_shared else "It was not shared."
    return render("hint", text=done)


@shows_problems(KEEP, KEEP, KEEP, KEEP, PROBLEM, lambda: False)
def on_delete(context: AppContext, token: object, run_id: str | None, is_sure: object) -> list[Any]:
    """Delete a run after it was confirmed."""
    if is_sure is not True:
        raise ConfigError("delete: tick 'Yes, delete it' first. A deleted run is gone.")
    context.workspace(token).delete_run(run_id)
    shown = on_refresh(context, token)
    shown[1] = gr.Dropdown(choices=shown[1].choices, value=None)
    return [*shown, render("hint", text=f"Deleted {run_id}."), False]


@shows_problems(PROBLEM, lambda: False)
def on_clear(context: AppContext, token: object, is_sure: object) -> list[Any]:
    """Delete all that the visitor keeps beside runs, after it was confirmed."""
    if is_sure is not True:
        raise ConfigError("delete: tick 'Yes, delete them' first. Deleted files are gone.")
    workspace = context.workspace(token)
    jobs.delete_ended(workspace)
    freed, left = workspace.delete_files(), workspace.stored_bytes()
    text = f"Deleted {freed / 1e6:.1f} MB of files. Your runs take {left / 1e6:.1f} MB."
    return [render("hint", text=text), False]


@shows_problem
def on_import(context: AppContext, token: object, file: str | None, name: object = "") -> str:
    """Check and keep an adapter trained elsewhere."""
    if file is None:
        raise ConfigError("import: choose a zip file with the two files of a PEFT adapter.")
    workspace = context.workspace(token)
    workspace.check_space(context.profile.caps.stored_bytes)
    folder, called, summary = keep_import(workspace, Path(file), name)
    return render("imported", name=called, key=folder.name, summary=summary)


@shows_problem
def on_push(
    context: AppContext,
    token: object,
    run_id: str | None,
    repo_id: str,
    login: gr.OAuthToken | None,
) -> str:
    """Upload the run's adapter to the visitor's own account on the Hub."""
    if login is None:
        raise ConfigError("push: log in to the Hub with the button first.")
    run = context.workspace(token).run(run_id)
    address = push_adapter(run, str(repo_id).strip(), token=login.token)
    return render("hint", text=f"Uploaded as a private repository: {address}")


def on_select(event: gr.SelectData) -> Any:
    """Return the run of the clicked line."""
    line: Sequence[object] = event.row_value or []
    return line[-1] if line else gr.skip()


def build(context: AppContext, setup: Setup, tab: gr.Tab) -> None:
    """Lay out the tab and wire it."""
    token = setup.values["token"]
    empty = gr.HTML(render("hint", text=_EMPTY))
    table = gr.Dataframe(
        headers=list(_COLUMNS),
        interactive=False,
        show_search="filter",
        visible=False,
        max_height=320,
        label="Runs",
        elem_id="wb-runs",
        wrap=True,
        column_widths=list(_WIDTHS),
    )
    run, other = _build_chosen(context, setup)
    listed: list[Any] = [table, run, other, empty]
    naming = gr.Column()
    view = gr.HTML(elem_id="wb-run-view")
    with gr.Row():
        download = gr.Button(
            "Download adapter", elem_id="wb-download", min_width=140, interactive=False
        )
        share = gr.Button("Share by link", elem_id="wb-share", min_width=120, interactive=False)
        unshare = gr.Button(
            "Stop sharing",
            elem_id="wb-unshare",
            min_width=120,
            interactive=False,
            visible=context.profile.is_public,  # locally no key to take back
        )
        is_sure = gr.Checkbox(False, label="Yes, delete it", min_width=120, elem_id="wb-sure")
        delete = gr.Button(
            "Delete run", variant="stop", elem_id="wb-delete", min_width=100, interactive=False
        )
    note = gr.HTML(elem_id="wb-run-note")
    file = gr.File(visible=False, label="Adapter in PEFT's format, with its model card")
    gr.on([tab.select, setup.loaded], partial(on_refresh, context), token, listed, **AT_ONCE)
    looked: dict[str, Any] = {"inputs": [token, run, other], "outputs": view}
    opens = looked | {"fn": partial(on_open, context), **QUIET, **LOOK}
    # Not on `change`: an address changes both at once, and the answer to the first may come last.
    gr.on([run.input, other.input, setup.loaded], trigger_mode="always_last", **opens)
    selected = table.select(on_select, None, run, **AT_ONCE)
    selected.then(**opens)
    download.click(partial(on_download, context), [token, run], [file, note], **QUIET, **MAKE)
    share.click(partial(on_share, context), [token, run], note, **AT_ONCE)
    unshare.click(partial(on_unshare, context), [token, run], note, **AT_ONCE)
    both = [token, run, is_sure]
    deleted = delete.click(partial(on_delete, context), both, [*listed, note, is_sure], **AT_ONCE)
    deleted.then(**opens)
    with naming:
        _build_name(context, setup, listed, view, [selected, deleted])
    for button in (download, share, unshare, delete):
        enables(run, button)
    forgets([run.change, is_sure.input], note)  # an error takes the tick away, and stays
    _build_import(context, token)
    _build_space(context, token)
    if context.has_login:
        _build_push(context, token, run)


def _build_chosen(context: AppContext, setup: Setup) -> tuple[gr.Dropdown, gr.Dropdown]:
    """Lay out the lists of runs to open and to hold beside; return both."""
    usual: dict[str, Any] = {"interactive": True, "min_width": 260}
    with gr.Row(elem_id="wb-chosen-runs"):
        run = ChoiceList([], label="Run", elem_id="wb-run", **usual)
        other = ChoiceList(
            [("none", "")], value="", label="Side by side with", elem_id="wb-beside-run", **usual
        )
    for name, part in {"run": run, "beside": other}.items():
        setup.address.keep(name, part, tab="runs", show=partial(_show_run, context))
    return run, other


def _show_run(context: AppContext, token: str, asked: Sequence[str], _: object) -> dict[str, Any]:
    """Return the run that an address asks for, in a list that is filled later; "" is none.

    Raises:
        StoreError: it is not among the visitor's.
    """
    value = asked[0] if asked else ""
    choices = [("none", "")]
    if value:
        choices.append((value, context.workspace(token).run(value).record.run_id))
    return gr.update(choices=choices, value=value)


def _build_name(
    context: AppContext, setup: Setup, listed: Sequence[Any], view: gr.HTML, chosen: Sequence[Any]
) -> None:
    """Lay out what a person calls the chosen run, and wire it.

    Args:
        context: What the tabs share.
        setup: The setting.
        listed: Outputs of `on_refresh`.
        view: Where runs are opened.
        chosen: Events, besides a visitor's own choice, after which another run is the chosen one.
    """
    with gr.Accordion("Name this run", open=False, elem_id="wb-naming"):
        with gr.Row():
            name = gr.Textbox(
                "",
                interactive=False,
                label="Name",
                info="Stands in every list; empty takes it away.",
                max_length=60,
                elem_id="wb-run-name",
                min_width=200,
            )
            remark = gr.Textbox(
                "",
                interactive=False,
                label="Note",
                info="What to remember. Whoever has the run's link reads both.",
                max_length=2000,
                elem_id="wb-run-remark",
                scale=2,
                min_width=260,
            )
        keep = gr.Button("Keep name and note", elem_id="wb-keep-name", interactive=False)
        note = gr.HTML(elem_id="wb-naming-note")
    token, (_, run, other, _) = setup.values["token"], listed
    # Until its name is there the boxes say what another run is called. Not on `change`: a list
    # that is filled again says that it changed, and somebody may be writing.
    waits: dict[str, Any] = {"outputs": [name, remark, keep], "js": WAITS, **AT_ONCE}
    begun = [gr.on([run.input, setup.loaded], None, None, **waits)]
    begun += [event.then(None, None, **waits) for event in chosen]
    for event in begun:
        event.then(partial(on_label, context), [token, run], [name, remark, keep, note], **AT_ONCE)
    gr.on(
        [keep.click, name.submit],
        partial(on_name, context),
        [token, run, name, remark],
        [*listed, name, remark, note],
        **AT_ONCE,
    ).then(partial(on_open, context), [token, run, other], view, **QUIET, **LOOK)
    forgets([name.change, remark.change], note)


def _build_import(context: AppContext, token: gr.BrowserState) -> None:
    with gr.Accordion("Import an adapter trained elsewhere", open=False, elem_id="wb-import"):
        gr.Markdown(
            "A zip file with `adapter_config.json` and `adapter_model.safetensors`, as PEFT's "
            "`save_pretrained` writes them, of LoRA or prompt tuning on this base model. It then "
            "appears among the ways to answer and the rows to evaluate."
        )
        name = gr.Textbox(
            "",
            label="Name",
            info="Type it before the file is chosen; else the adapter is called after its file.",
            placeholder="optional",
            max_length=60,
            elem_id="wb-import-name",
        )
        file = gr.File(label="Zip file", file_types=[".zip"], height=110, elem_id="wb-import-file")
        note = gr.HTML(elem_id="wb-import-note")
    file.upload(partial(on_import, context), [token, file, name], note, **QUIET, **BRING)


def _build_space(context: AppContext, token: gr.BrowserState) -> None:
    if not context.profile.is_public:
        return
    with gr.Accordion("Your space on this server", open=False, elem_id="wb-space"):
        gr.Markdown(
            "Each visitor has some. Beside runs, which you delete above, uploaded rows, edited "
            "wordings, imported adapters, kept readings and comparisons take it up. Without them "
            "runs keep their figures, and cannot be opened on uploaded rows."
        )
        with gr.Row():
            is_sure = gr.Checkbox(False, label="Yes, delete them", elem_id="wb-clear-sure")
            clear = gr.Button("Delete all files but runs", variant="stop", elem_id="wb-clear")
        note = gr.HTML(elem_id="wb-clear-note")
    clear.click(partial(on_clear, context), [token, is_sure], [note, is_sure], **AT_ONCE)


def _build_push(context: AppContext, token: gr.BrowserState, run: gr.Dropdown) -> None:
    with gr.Accordion("Push the adapter to your Hub account", open=False):
        gr.LoginButton()
        repo_id = gr.Textbox(label="Repository", placeholder="me/my-adapter")
        push = gr.Button("Push as a private repository")
        note = gr.HTML()

    def upload(  # Gradio finds the login by its annotation
        visitor: object, run_id: str | None, name: str, login: gr.OAuthToken | None
    ) -> str:
        return on_push(context, visitor, run_id, name, login)

    push.click(upload, [token, run, repo_id], note, **QUIET, **PUSH)


def _line(run: StoredRun) -> list[object]:
    metric = headline_metric_of(run)
    figure = run.record.metrics.get(metric)
    value = percent(None if figure is None else figure.value)
    return [
        read_label(run.folder).name,
        run.spec.task.name,
        run.record.row,
        run.spec.seed,
        value if metric == "accuracy" else f"{metric_of(metric).title} {value}",
        run.status_text,
        run.record.started[:16].replace("T", " "),
        run.record.run_id,
    ]


def _damaged_line(run: BrokenRun) -> list[object]:
    name, status = read_label(run.folder).name, f"damaged: {run.reason}"
    return [name, *[NOTHING] * 4, status, NOTHING, run.run_id]
