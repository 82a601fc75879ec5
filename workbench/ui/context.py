"""What every tab is given, and how a tab shows that something went wrong."""

import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cached_property, wraps
from inspect import isgeneratorfunction
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar, cast

import gradio as gr

from workbench.errors import WorkbenchError, without_folders
from workbench.readings.inspector import Inspector
from workbench.runs.experiment import Experiment
from workbench.service.profile import Profile
from workbench.service.space import make_room
from workbench.service.ways import Setting, experiment_of
from workbench.service.workspace import Workspace, open_workspace
from workbench.serving.desk import ModelDesk
from workbench.ui.addresses import caller_address
from workbench.ui.newcomers import Newcomers
from workbench.ui.rendering import render

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_DOWNLOAD_BYTES = 5_000_000  # a report or a reading with tables and figures
_KEY = secrets.token_bytes(16)  # lets nobody tell an address by the name of its folder

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AppContext:
    """One running app.

    Attributes:
        root: Folder of all runs.
        profile: What this place allows.
        desk: Owner of the base in memory.
        exports: Folder for files to download; the runs themselves are never served. On a public
            page it is where Gradio serves files from, so that it makes no copies.
        run_chunk: Runs a stretch of a job inside a handler, see `accelerator.chunk_runner`.
    """

    root: Path
    profile: Profile
    desk: ModelDesk
    exports: Path
    run_chunk: Callable[[str], str]

    @cached_property
    def inspector(self) -> Inspector:
        """Makes readings of what was learned, on the desk's base."""
        return Inspector(self.desk)

    @cached_property
    def newcomers(self) -> Newcomers | None:
        """Counts new visitors by their address; None for a page of one's own."""
        crowd = self.profile.crowd
        return None if crowd is None else Newcomers(crowd.visitors)

    @property
    def has_login(self) -> bool:
        """Whether visitors can log in to the Hub: on a Space that asked for it, nowhere else."""
        return "SPACE_ID" in os.environ and "OAUTH_CLIENT_ID" in os.environ

    def workspace(self, token: object) -> Workspace:
        """Return a visitor's workspace."""
        workspace = open_workspace(self.root, token, is_public=self.profile.is_public)
        if self.newcomers is None or self.newcomers.may_begin(workspace.folder, caller_address()):
            return workspace
        return replace(workspace, may_begin=False)

    def exports_of(self, workspace: Workspace, num_bytes: int = _DOWNLOAD_BYTES) -> Path:
        """Return a folder for a visitor's downloads.

        On a public page it is a new one with a name nobody can guess, and older downloads of the
        visitor's address make room for it.

        Args:
            workspace: The visitor's.
            num_bytes: Of what will be written there, if it may be a lot.

        Raises:
            RoomError: no room for that.
        """
        if not self.profile.is_public:
            return self.exports / workspace.folder.name
        owner = (caller_address() or workspace.folder.name).encode()
        folder = self.exports / hashlib.blake2b(owner, key=_KEY, digest_size=16).hexdigest()
        make_room(folder, num_bytes)
        return folder / secrets.token_hex(16)

    def setting(self, values: "SettingValues") -> tuple[Workspace, Setting]:
        """Return the workspace, and the setting that the page's values say."""
        setting = Setting(
            task=str(values.task),
            wording=str(values.wording),
            model=str(values.model).strip(),
            precision=str(values.precision),
            chat=bool(values.chat),
        )
        return self.workspace(values.token), setting

    def experiment(self, values: "SettingValues") -> tuple[Workspace, Experiment]:
        """Return the workspace, and an experiment with the page's base, task and wording."""
        workspace, setting = self.setting(values)
        return workspace, experiment_of(workspace, self.profile, setting)


@dataclass(frozen=True)
class SettingValues:
    """The raw values of the page's setting; anything may be in them."""

    token: object = None
    task: object = "support_intents"
    wording: object = "plain"
    model: object = "smollm2-135m-instruct"
    precision: object = "nf4"
    chat: object = False


def problem_text(error: Exception) -> str:
    """Return what to tell a visitor about an error; a bug gets a number and goes to the log.

    Where things lie on this machine is nobody's business.
    """
    if isinstance(error, WorkbenchError):
        return without_folders(str(error))
    number = secrets.token_hex(3)
    _log.error("error %s", number, exc_info=error)
    return (
        f"Something went wrong on our side (error {number}). Nothing you made is lost; try again, "
        "or look for that number in the log of the app."
    )


def problem(error: Exception) -> str:
    """Return an error as a box to show where it arose."""
    return render("problem", text=problem_text(error))


class _Output(Enum):
    """What becomes of an output after an error: the box, or what was there before."""

    PROBLEM = auto()
    KEEP = auto()


PROBLEM, KEEP = _Output.PROBLEM, _Output.KEEP


def guarded(
    after: Callable[[Exception], Any],
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Return a decorator for handlers; `after` makes their outputs of an error.

    The one place of the page where any error is caught. Of a generator it ends the stream.
    """

    def decorate(handler: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        is_stream = isgeneratorfunction(handler)

        @wraps(handler)
        def streamed(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Any:
            try:
                outputs = handler(*arguments, **keywords)
                yield from cast("Iterable[Any]", outputs if is_stream else [outputs])
            except Exception as error:
                yield after(error)

        @wraps(handler)
        def called(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Any:
            return next(streamed(*arguments, **keywords))

        return streamed if is_stream else called

    return decorate


def shows_problem(handler: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorate a handler of one output: an error is shown in its place."""
    return guarded(problem)(handler)


def shows_problems(
    *outputs: object,
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Return a decorator for handlers of several outputs, given what each becomes after an error.

    Args:
        outputs: `PROBLEM` for the box, `KEEP` for no change, or a function that makes the output.
    """

    def after(error: Exception) -> list[Any]:
        made = {PROBLEM: lambda: problem(error), KEEP: gr.skip}
        return [made.get(output, output)() for output in outputs]  # type: ignore[call-overload]

    return guarded(after)


def told_to_caller(error: Exception) -> NoReturn:
    """Raise an error as Gradio's own, for where there is no place for a box.

    Raises:
        gr.Error: with what to tell, never a traceback.
    """
    raise gr.Error(problem_text(error), print_exception=False) from error


def or_skip(num_outputs: int) -> Callable[[Callable[..., list[Any]]], Callable[..., list[Any]]]:
    """Return a decorator for handlers that follow the setting: they leave their part as it is.

    What is wrong with it is said below it, once.
    """

    def decorate(handler: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        @wraps(handler)
        def guarded(*arguments: Any, **keywords: Any) -> list[Any]:
            try:
                return handler(*arguments, **keywords)
            except WorkbenchError:
                return [gr.skip()] * num_outputs

        return guarded

    return decorate
