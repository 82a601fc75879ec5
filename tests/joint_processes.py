"""What processes of one training do in tests: `joint_processes.py SCENARIO FOLDER RANK SIZE`.

Each scenario ends by itself, and writes what it found beside those of the others.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import torch
from safetensors.torch import save_file

from toys import TOY_TEMPLATE, make_toy_task, open_tiny, write_base, write_tiny
from workbench.encoding import PromptEncoder
from workbench.errors import ModelError, WorkbenchError
from workbench.methods.catalog import METHODS, make_method, method_class
from workbench.models.engine import Engine
from workbench.progress import Interrupted
from workbench.runs.joint_training import fit_jointly, follow, lead
from workbench.runs.session import Session
from workbench.training import loop
from workbench.training.options import TrainingOptions
from workbench.training.ranks import JoinedRanks, join

TRAINED = [name for name in METHODS if issubclass(method_class(name), TrainingOptions)]
# 21 examples: the last batch of an epoch is one example, so that one of two parts is empty.
NUM_TRAIN, NUM_DEV = 21, 9
QUICK = {"steps": 7, "batch_size": 5, "eval_every": 3}
CASES: dict[str, tuple[str, dict[str, object]]] = {name: (name, {}) for name in TRAINED} | {
    "lora_dropout": ("lora", {"dropout": 0.4}),
    "adalora_dropout": ("adalora", {"dropout": 0.4}),
    "says": ("prompt_tuning", {"says": "yes or no"}),
    "residual": ("prompt_tuning", {"reparametrisation": "residual"}),
    "prefix_mlp": ("prefix_tuning", {"reparametrisation": "mlp"}),
    "pissa": ("lora", {"init": "pissa"}),
    "in_pieces": ("lora", {"micro_batch_size": 1, "gradient_checkpointing": True}),
}
_PATIENCE = 240  # seconds until processes of a test are ended


def toy_session(base: Path) -> Session:
    loaded = open_tiny(base)
    task = make_toy_task(NUM_TRAIN, NUM_DEV, 4)
    return Session(Engine(loaded), PromptEncoder(loaded.tokenizer, TOY_TEMPLATE, task))


@contextmanager
def trained_parameters(folder: Path) -> Iterator[None]:
    """Write the parameters after the last step of every training into a folder."""
    real = loop._Loop.finish

    def finish(self) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob("*.safetensors")))
        save_file(
            {key: value.detach().clone().contiguous() for key, value in self.parameters.items()},
            folder / f"{number:03d}.safetensors",
        )
        real(self)

    loop._Loop.finish = finish
    try:
        yield
    finally:
        loop._Loop.finish = real


def fit_all(session: Session, folder: Path) -> None:
    """Train every case."""
    for case, (name, options) in CASES.items():
        context = session.context(3, folder / case, adapter_name=case)
        fit_jointly(context, make_method(name, QUICK | options))


def trainings(folder: Path, rank: int, size: int) -> None:
    """Two processes: another base, all methods, stops, lack of memory, and one that is killed."""
    (folder / f"unlike-{rank}.json").write_text(json.dumps(unlike(folder, rank, size)))
    ranks = join(rank, size, rendezvous=(folder / "meeting").as_uri(), seconds=60)
    wish, failures = Wish(), Failures()
    loop.answer_loss = failures.answer_loss
    if rank:
        with trained_parameters(folder / f"parameters-{rank}"):
            follow(ranks, lambda: toy_session(folder / "tiny"), should_stop=wish)
        return
    session = lead(ranks, lambda: toy_session(folder / "tiny"))
    with trained_parameters(folder / f"parameters-{rank}"):
        fit_all(session, folder / "joint")
        found = {name: fit_stopped(session, folder, name) for name in ("ours", "theirs")}
    for name in ("memory", "whole", "killed", "later"):
        found[name] = fit_one(session, folder / name)
    (folder / "found.json").write_text(json.dumps(found))


def unlike(folder: Path, rank: int, size: int) -> str:
    """Return what a process is told where the last one has another base."""
    ranks = join(rank, size, rendezvous=(folder / "other_meeting").as_uri(), seconds=60)
    base = folder / ("other" if rank == size - 1 else "tiny")
    try:
        (lead if rank == 0 else follow)(ranks, lambda: toy_session(base))
    except WorkbenchError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        ranks.close()
    return "nothing"


STOPPED: tuple[str, dict[str, object]] = ("adalora", QUICK | {"dropout": 0.4})
SEED_OF = {"ours": 11, "theirs": 12, "memory": 13, "whole": 14, "killed": 15, "later": 16}


def fit_stopped(session: Session, folder: Path, name: str) -> str:
    """Return how a training ends that a process wants to stop before its fifth step; go on then."""
    context = session.context(SEED_OF[name], folder / name, adapter_name=name)
    steps = iter(range(100))
    stops = replace(context, should_stop=lambda: name == "ours" and next(steps) == 4)
    method = make_method(*STOPPED)
    try:
        fit_jointly(stops, method)
        return "nothing"
    except Interrupted as stop:
        session.engine.adapters.remove(name)
        fit_jointly(context, method)
        return str(stop)


def fit_one(session: Session, folder: Path) -> str:
    """Return how a training of a LoRA ends."""
    context = session.context(SEED_OF[folder.name], folder, adapter_name=folder.name)
    try:
        fit_jointly(context, make_method("lora", QUICK))
    except WorkbenchError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


class Wish:
    """Wants the training of one seed to stop before its fifth step, once."""

    def __init__(self) -> None:
        self._steps = iter(range(100))

    def __call__(self) -> bool:
        caller = sys._getframe(1)
        request = caller.f_locals.get("request") if caller.f_code.co_name == "train" else None
        return request is not None and request.seed == SEED_OF["theirs"] and next(self._steps) == 4


class Failures:
    """Fails in the losses of some seeds, in the process that follows."""

    def __init__(self) -> None:
        self._real = loop.answer_loss

    def answer_loss(self, *arguments, **options) -> torch.Tensor:
        of = sys._getframe(1).f_locals["self"]
        seed, step = of.request.seed, of.state.step
        if of.ranks.rank and step >= 3 and seed == SEED_OF["memory"]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MB.")
        if of.ranks.rank and step == 5 and seed == SEED_OF["killed"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._real(*arguments, **options)


def exchanges(folder: Path, rank: int, size: int) -> None:
    """What three processes sum, gather and agree on."""
    ranks = join(rank, size, rendezvous=(folder / "meeting").as_uri(), seconds=60)
    found: dict[str, object] = {}
    vectors = summands(size, 7)
    found["total"] = ranks.total([vectors[rank].clone()]).tolist()
    table = torch.full((rank, 2), float(rank), dtype=torch.float64)
    found["gathered"] = [one.tolist() for one in ranks.gathered([table])]
    found["first"] = ranks.first(f"from {rank}".encode).decode()

    def at(which: int, error: Exception) -> None:
        if rank == which:
            raise error

    wrong: dict[str, Callable[[], None]] = {
        "theirs": lambda: at(1, ModelError("a rate too high")),
        "ours": lambda: at(2, ValueError("no such thing")),
        "memory": lambda: at(1, MemoryError("can't allocate memory: 5 GB")),
        "stop": lambda: at(0, Interrupted("asked to stop")),
    }
    for name, act in wrong.items():
        found[name] = said(ranks, act)

    def while_summing() -> None:
        ranks.total(vectors[rank].clone() for _ in (at(1, ModelError("while summing")),))

    found["inside"] = said(ranks, while_summing)

    def outside() -> None:  # the others are about to sum when one leaves
        at(0, ModelError("outside"))
        ranks.total([vectors[rank].clone()])

    found["outside"] = said(ranks, outside)
    found["after"] = ranks.total([vectors[rank].clone()]).tolist()
    ranks.close()

    ranks = join(rank, size, rendezvous=(folder / "later").as_uri(), seconds=2)
    if rank == size - 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    found["silence"] = [said(ranks, lambda: None) for _ in range(2)]
    (folder / f"found-{rank}.json").write_text(json.dumps(found))


def said(ranks: JoinedRanks, act: Callable[[], None]) -> str:
    try:
        with ranks.agreed():
            act()
    except (WorkbenchError, Interrupted, ValueError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def summands(parts: int, length: int) -> list[torch.Tensor]:
    """Return vectors whose sum depends on the order: large and small numbers."""
    generator = torch.Generator().manual_seed(5)
    sizes = torch.tensor([10.0**power for power in range(-3, length - 3)])
    return [torch.randn(length, generator=generator) * sizes for _ in range(parts)]


SCENARIOS = {one.__name__: one for one in (trainings, exchanges)}


def run_processes(
    scenario: Callable[..., None], folder: Path, size: int = 2
) -> list[subprocess.CompletedProcess[str]]:
    """Run a scenario in so many processes, and return how each ended."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    write_base("llama", folder / "other", write_tiny(folder / "tiny"), **sizes, **heads)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = os.environ | {
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": path,
    }
    started = [
        subprocess.Popen(
            [sys.executable, __file__, scenario.__name__, str(folder), str(rank), str(size)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(size)
    ]
    ended = []
    try:
        for one in started:
            out, errors = one.communicate(timeout=_PATIENCE)
            ended.append(subprocess.CompletedProcess(one.args, one.returncode, out, errors))
            if standing(started[-1].pid):
                started[-1].kill()
    finally:
        for one in started:
            one.kill()
    return ended


def standing(process: int) -> bool:
    """Return whether a process was stopped by a signal."""
    return psutil.pid_exists(process) and psutil.Process(process).status() == "stopped"


if __name__ == "__main__":
    SCENARIOS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
