"""Trainings that several processes share: the first leads, the others follow.

The first process is the ordinary command. It owns store, watcher, prediction on test and everything
that is written. Before a method's `fit` it tells the others which method, seed, data and wording,
and they run the same `fit` on a base of their own, in a folder that is thrown away.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from workbench.atomic import parse_json
from workbench.encoding import PromptEncoder
from workbench.errors import ConfigError, WorkbenchError
from workbench.fitting.base import FitContext, FittedMethod, Method
from workbench.memory import return_freed_memory
from workbench.methods.catalog import make_method, method_name, resolved_options
from workbench.progress import Interrupted, stopped_by
from workbench.runs.session import Session
from workbench.tasks.base import Task
from workbench.templates import PromptTemplate
from workbench.training.options import TrainingOptions
from workbench.training.ranks import JoinedRanks, RankLost

_TASK = TypeAdapter(Task)


def lead(ranks: JoinedRanks, open_session: Callable[[], Session]) -> Session:
    """Return a session whose trainings are shared with the processes that `follow`.

    Raises:
        ConfigError: a process has another base, or takes products in something else.
        WorkbenchError: a process cannot open its session.
    """
    return replace(_opened(ranks, open_session), ranks=ranks)


def follow(
    ranks: JoinedRanks,
    open_session: Callable[[], Session],
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Take part in the trainings of the process that leads, until it ends.

    What goes wrong here is told there, and ends the training for all.

    Args:
        ranks: Joined, and not the first.
        open_session: Loads the base that the leading process has; called once.
        should_stop: Ends a training for all, with a checkpoint.

    Raises:
        WorkbenchError: the session could not be opened, here or elsewhere.
    """
    session = _opened(ranks, open_session)
    if ranks.threads is not None:
        torch.set_num_threads(ranks.threads)
    while call := ranks.heard(should_stop):
        try:
            _take_part(ranks, session, call, should_stop)
        except RankLost:
            return
        except (WorkbenchError, Interrupted):
            pass  # told where it is led
        return_freed_memory()


def fit_jointly(context: FitContext, method: Method) -> FittedMethod:
    """Return what a method's `fit` returns; where processes share its training, all run it.

    Raises:
        RankLost: one of them is gone; what is done so far is in a checkpoint.
        WorkbenchError: whatever the method cannot do, in any of them.
        Interrupted: asked to stop.
    """
    ranks = context.ranks
    if not isinstance(ranks, JoinedRanks) or not isinstance(method, TrainingOptions):
        return method.fit(context)
    encoder = context.encoder
    call = {
        "method": method_name(method),
        "options": resolved_options(method),
        "seed": context.seed,
        "adapter_name": context.adapter_name,
        "task": _TASK.dump_python(context.task, mode="json"),
        "template": encoder.template.model_dump(mode="json"),
        "chat": encoder.chat,
    }
    ranks.tell(json.dumps(call).encode())
    with _threads(ranks.threads), ranks.agreed():
        return method.fit(context)


def _take_part(
    ranks: JoinedRanks, session: Session, call: bytes, should_stop: Callable[[], bool]
) -> None:
    """Run the `fit` that the leading process runs."""
    adapters = session.engine.adapters
    name = ""
    try:
        with (
            tempfile.TemporaryDirectory(prefix="workbench-training-") as scratch,
            ranks.agreed(),
            stopped_by(should_stop),
        ):
            asked = parse_json(call)
            name = asked["adapter_name"]
            context = FitContext(
                session.engine,
                _encoder(session, asked),
                asked["seed"],
                Path(scratch),
                name,
                should_stop=should_stop,
                ranks=ranks,
            )
            make_method(asked["method"], asked["options"]).fit(context)
    finally:
        if name in adapters.names:
            adapters.remove(name)


def _encoder(session: Session, asked: dict[str, Any]) -> PromptEncoder:
    return PromptEncoder(
        session.encoder.tokenizer,
        PromptTemplate.model_validate(asked["template"]),
        _TASK.validate_python(asked["task"]),
        asked["chat"],
    )


def _opened(ranks: JoinedRanks, open_session: Callable[[], Session]) -> Session:
    """Return the session of this process, once all have one and all are alike."""
    with ranks.agreed():
        session = open_session()
    with ranks.agreed():
        found = [parse_json(one) for one in ranks.gathered_bytes(_stated(ranks, session))]
        for number, other in enumerate(found):
            if other != found[0]:
                raise ConfigError(
                    f"processes: process {number + 1} of {ranks.size} has "
                    f"{_differences(other, found[0])}. Start all with the same base, precision, "
                    "compute_dtype, device and versions."
                )
    return session


def _stated(ranks: JoinedRanks, session: Session) -> bytes:
    """Return what has to be alike for one training, as JSON."""
    info = session.engine.info
    stated = {
        "base": info.identity,
        "precision": info.precision,
        "products in": info.compute_dtype,
        "device": info.device,
        "parts": ranks.parts,
        "torch": torch.__version__,
        "workbench": version("prompt-workbench"),
    }
    return json.dumps(stated).encode()


def _differences(one: dict[str, object], first: dict[str, object]) -> str:
    """Return "precision nf4 where the first has fp32"."""
    differing = [name for name in first if one.get(name) != first[name]]
    return ", ".join(
        f"{name} {one.get(name)} where the first has {first[name]}" for name in differing
    )


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Let torch use so many threads inside the block; None changes nothing."""
    if number is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
