"""The one optimisation loop; it knows no method by name.

A trained method gives it parameters, a prefix made from them and the adapter in use; it returns
with the parameters of the best dev evaluation. Loss is taken on answer tokens only, and logits are
computed only there. Everything random follows from (seed, step), so that a run killed at any moment
and started again from its checkpoint ends bit-equal on one CPU to one never killed.

Where several processes train (`workbench.training.ranks`), each runs this loop, and only the first
writes checkpoints.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from workbench.batches import Example, batch_at, micro_batches
from workbench.errors import ModelError
from workbench.memory import large_blocks_returned
from workbench.models.base import Prefix
from workbench.models.engine import Engine
from workbench.models.quantised_layers import packed_layers
from workbench.progress import Interrupted, Progress, ProgressEvent, ignore_progress
from workbench.training.folder import Checkpoint, TrainingFolder
from workbench.training.loss import answer_loss
from workbench.training.options import TrainingOptions, learning_rate_at
from workbench.training.parts import as_vector, part_seed, put_back
from workbench.training.ranks import RankLost, Ranks
from workbench.training.score import DevScore

_MOST_PATH_POINTS = 100  # stored states of a training path


class Companion(Protocol):
    """What goes along with the optimizer: it acts after each step and has a state of its own."""

    def after_step(self, step: int) -> None:
        """Act on the parameters after `step` optimizer steps; their gradients are still there."""

    def state(self) -> dict[str, torch.Tensor]:
        """Return what has to be stored to go on later."""

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from a stored state."""


@dataclass(frozen=True)
class Trainable:
    """What a method lets the loop train.

    Attributes:
        parameters: Trained tensors by name, float32.
        prefix: Returns the prefix made from the parameters; called once per step.
        adapter: Weight adapter active for the rows, or None.
        penalty: Returns what is added to the loss of a step, in nats; None adds nothing.
        keep_path: Whether the parameters are stored at the start and at each evaluation, for the
            analysis of how they moved.
        rate_factors: What the learning rate is multiplied by, for parameters that have their own.
        companion: Acts after each step, or None.
        path: Returns the tensors that the path stores, by name; None: the parameters.
    """

    parameters: Mapping[str, torch.nn.Parameter]
    prefix: Callable[[], Prefix]
    adapter: str | None = None
    penalty: Callable[[], torch.Tensor] | None = None
    keep_path: bool = False
    rate_factors: Mapping[str, float] = field(default_factory=dict)
    companion: Companion | None = None
    path: Callable[[], Mapping[str, torch.Tensor]] | None = None


@dataclass
class TrainingState:
    """Where training stands; everything a checkpoint holds besides tensors."""

    step: int = 0
    best_step: int = 0
    best: DevScore | None = None
    highest_accuracy: float = 0.0
    evaluations_since_best: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class TrainingRequest:
    """One training job.

    Attributes:
        trainable: Parameters and the prefix they make.
        examples: Labelled rows.
        options: Steps, batch size and so on; `learning_rate` must be resolved.
        seed: What batches and dropout are drawn from.
        evaluate: Scores the current parameters on dev.
        folder: Where checkpoints, history and path are.
        identity: What is trained on what; checkpoints of anything else are not gone on from.
        ranks: The processes that train, all with the same request.
    """

    trainable: Trainable
    examples: Sequence[Example]
    options: TrainingOptions
    seed: int
    evaluate: Callable[[], DevScore]
    folder: Path
    identity: str = ""
    ranks: Ranks = field(default_factory=Ranks)


def train(
    engine: Engine,
    request: TrainingRequest,
    *,
    progress: Progress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingState:
    """Train, leaving the parameters of the best dev evaluation in place.

    Continues from `request.folder` if a checkpoint is there; from the one before if the last is
    damaged, and from the beginning if both are, which the first event then says. A step or an
    evaluation that was cut short is made again.

    Raises:
        Interrupted: `should_stop` returned True, or what `stopped_by` was given; a checkpoint was
            written.
        ModelError: gradients are missing or not finite, or 4-bit weights were repacked.
        RankLost: another process that trains is gone; a checkpoint was written.
    """
    loop = _Loop(engine, request)
    note = loop.resume()
    options, state = request.options, loop.state
    if note:
        progress(ProgressEvent("train", state.step, options.steps, note=note))
    loop.keep_point()
    try:
        while not loop.is_over():
            with request.ranks.agreed():
                if should_stop():
                    raise Interrupted("asked to stop")
            progress(ProgressEvent("train", *loop.advance()))
    except (Interrupted, RankLost) as stop:
        loop.save()
        where = f"training stopped after step {state.step} of {options.steps}"
        if isinstance(stop, RankLost):
            raise RankLost(
                f"{stop} The {where}, of which there is a checkpoint; the same command goes on "
                "from there."
            ) from stop
        raise Interrupted(where) from stop
    loop.finish()
    return state


class _Loop:
    """State of one training job."""

    def __init__(self, engine: Engine, request: TrainingRequest) -> None:
        self.engine, self.request, self.ranks = engine, request, request.ranks
        self.state = TrainingState()
        self.parameters = dict(request.trainable.parameters)
        options = request.options
        self.optimizer = torch.optim.AdamW(
            self._groups(), lr=options.learning_rate or 0.0, weight_decay=options.weight_decay
        )
        self.best = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._files = TrainingFolder(request.folder, request.identity)
        with torch.no_grad():
            self._shared_tokens = request.trainable.prefix().num_tokens

    def is_over(self) -> bool:
        """Return whether nothing is left to do but to put the best parameters in place."""
        is_last = self.state.step >= self.request.options.steps
        return not self._owes_evaluation() and (is_last or self.out_of_patience())

    def advance(self) -> tuple[int, int, dict[str, float]]:
        """Make the next step and the evaluation that is due then; return step, steps, figures.

        Only the evaluation, where it was cut short before. Both are whole or have changed nothing.
        """
        options, state = self.request.options, self.state
        figures: dict[str, float] = {}
        if not self._owes_evaluation():
            figures = self.step()
            self.keep_point()
        if self._owes_evaluation():
            figures |= self.evaluate()
            self.save()
        return state.step, options.steps, figures

    def _owes_evaluation(self) -> bool:
        """Return whether the parameters as they are have to be scored on dev and have not been."""
        options, state = self.request.options, self.state
        if state.step == 0 or (state.step % options.eval_every and state.step != options.steps):
            return False
        last = state.history[-1] if state.history else {}
        return "dev_loss" not in last or last["step"] != state.step

    def step(self) -> dict[str, float]:
        """Make one optimizer step and return its figures."""
        options, state = self.request.options, self.state
        began = time.perf_counter()
        batch = batch_at(self.request.examples, options.batch_size, self.request.seed, state.step)
        rate = learning_rate_at(options, state.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["rate_factor"]
        self.optimizer.zero_grad(set_to_none=True)
        # Dropout follows from seed and step alone, and the caller's generator is left as it was.
        with torch.random.fork_rng(devices=[]):
            loss = self._gradients(batch)
        norm = self._checked_norm()
        self.optimizer.step()
        state.step += 1
        if self.request.trainable.companion is not None:
            self.request.trainable.companion.after_step(state.step)
        self._parameters_changed()
        state.seconds += time.perf_counter() - began
        figures = {"loss": loss, "gradient_norm": norm, "learning_rate": rate}
        self._record(figures)
        return figures

    def evaluate(self) -> dict[str, float]:
        """Score on dev, remember the best parameters, and return the figures."""
        state, began = self.state, time.perf_counter()
        score = self.request.evaluate()
        last = state.best
        if score.better_than(last, state.highest_accuracy):
            if last is None or last.is_admissible != score.is_admissible:
                state.highest_accuracy = 0.0  # what breaks the condition sets no standard
            state.best, state.best_step, state.evaluations_since_best = score, state.step, 0
            self.best = {name: p.detach().clone() for name, p in self.parameters.items()}
        elif state.best is not None and state.best.is_admissible:
            state.evaluations_since_best += 1
        if state.best is not None and state.best.is_admissible == score.is_admissible:
            state.highest_accuracy = max(state.highest_accuracy, score.accuracy or 0.0)
        state.seconds += time.perf_counter() - began
        figures = {} if score.accuracy is None else {"dev_accuracy": score.accuracy}
        figures["dev_loss"] = score.loss
        self._record(figures)
        return figures

    def keep_point(self) -> None:
        """Store the parameters as they are, if the method asks for its path."""
        step = self.state.step
        if step not in self._points_until(step):
            return
        made = self.request.trainable.path
        tensors = self.parameters if made is None else made()
        self._files.keep_point(step, tensors)

    def _points_until(self, step: int) -> list[int]:
        """Return the steps up to one whose parameters the path has."""
        if not self.request.trainable.keep_path or self.ranks.rank:
            return []
        # Every evaluation, or every second, third … of them, so that no path has more points.
        options = self.request.options
        gap = math.ceil(math.ceil(options.steps / options.eval_every) / _MOST_PATH_POINTS)
        points = range(0, step + 1, gap * options.eval_every)
        return [*points, *([step] if step == options.steps and step not in points else [])]

    def out_of_patience(self) -> bool:
        """Return whether early stopping applies."""
        patience = self.request.options.patience
        return patience > 0 and self.state.evaluations_since_best >= patience

    def finish(self) -> None:
        """Put the parameters of the best dev evaluation in place, and write the whole history."""
        self._files.write_history(self.state.history)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.best[name])
        self._parameters_changed()

    def _groups(self) -> list[dict[str, Any]]:
        """Return the parameters grouped by what their learning rate is multiplied by."""
        factors = self.request.trainable.rate_factors
        groups: dict[float, list[torch.nn.Parameter]] = {}
        for name, parameter in self.parameters.items():
            groups.setdefault(factors.get(name, 1.0), []).append(parameter)
        return [{"params": group, "rate_factor": factor} for factor, group in groups.items()]

    def _gradients(self, batch: Sequence[Example]) -> float:
        """Leave the gradients of a batch in the parameters, and return its loss."""
        if self.ranks.parts == 1:
            torch.manual_seed(self.request.seed * 1_000_003 + self.state.step)
            return self._backward(batch, of=len(batch))
        return put_back(self.parameters, self.ranks.total(self._part_gradients(batch)))

    def _part_gradients(self, batch: Sequence[Example]) -> Iterator[torch.Tensor]:
        """Yield gradients and loss of each part of a batch that is this process's."""
        for number in self.ranks.own_parts:
            part = batch[number :: self.ranks.parts]  # alike in length, as neighbours are
            self.optimizer.zero_grad(set_to_none=True)
            torch.manual_seed(part_seed(self.request.seed, self.state.step, number))
            is_first = number == 0  # which is never empty
            loss = self._backward(part, of=len(batch), is_first=is_first) if part else None
            yield as_vector(self.parameters, loss)

    def _backward(self, batch: Sequence[Example], *, of: int, is_first: bool = True) -> float:
        # Asked each time: any forward pass without gradients in between may have repacked them.
        packed = packed_layers(self.engine.forward.model)
        if packed:
            raise ModelError(
                f"4-bit weights of {len(packed)} layers were repacked for inference, so gradients "
                f"would be wrong (first: {packed[0]}). Load the base again with load_base."
            )
        trainable, options = self.request.trainable, self.request.options
        losses: list[torch.Tensor] = []
        recomputes = options.gradient_checkpointing
        # Around backward too, where layers may be run again.
        active = self.engine.adapters.active([trainable.adapter], training=True)
        sparing = large_blocks_returned() if recomputes else nullcontext()
        with self.engine.lock, active, sparing:
            for parameter in self.parameters.values():
                parameter.requires_grad_()
            for part in micro_batches(batch, options.micro_batch_size, self._shared_tokens):
                loss = answer_loss(
                    self.engine,
                    trainable.prefix(),
                    trainable.adapter,
                    part,
                    of=of,
                    recomputes=recomputes,
                )
                # Once for the whole batch.
                if trainable.penalty is not None and is_first and not losses:
                    loss = loss + trainable.penalty()
                loss.backward()  # type: ignore[no-untyped-call]  # torch's own signature
                losses.append(loss.detach())
        return float(torch.stack(losses).sum())

    def _checked_norm(self) -> float:
        """Clip the gradients and return their norm before clipping."""
        limit = self.request.options.clip_norm or math.inf
        gradients = {name: parameter.grad for name, parameter in self.parameters.items()}
        found = [gradient for gradient in gradients.values() if gradient is not None]
        total = torch.nn.utils.get_total_norm(found)
        norm = float(total)  # waits for a GPU once, not once per parameter
        is_missing = len(found) < len(gradients)
        if is_missing or not math.isfinite(norm):
            broken = [n for n, g in gradients.items() if g is None or not bool(g.isfinite().all())]
            name = broken[0] if broken else "all parameters together"
            raise ModelError(
                f"training step {self.state.step + 1}: the gradient of {name} is "
                f"{'missing' if is_missing else 'not finite'}. Try a lower learning_rate or "
                "precision 'fp32'."
            )
        torch.nn.utils.clip_grads_with_norm_(self.parameters.values(), limit, total)
        return norm

    def _parameters_changed(self) -> None:
        if self.request.trainable.adapter is not None:
            self.engine.adapters.touch(self.request.trainable.adapter)

    def _record(self, figures: Mapping[str, float]) -> None:
        entry = {"step": float(self.state.step), "seconds": round(self.state.seconds, 3), **figures}
        self.state.history.append(entry)
        self._files.record(entry)

    def save(self) -> None:
        """Write a checkpoint: parameters, best parameters, optimizer state and position."""
        if self.ranks.rank:
            return
        adam = {
            f"{slot}/{name}": value
            for name, parameter in self.parameters.items()
            for slot, value in self.optimizer.state[parameter].items()
        }
        companion = self.request.trainable.companion
        parts: dict[str, Mapping[str, torch.Tensor]] = {
            "now": self.parameters,
            "best": self.best,
            "adam": adam,
            "companion": {} if companion is None else companion.state(),
        }
        position = asdict(replace(self.state, history=[]))
        del position["history"]
        self._files.save(parts, position, self.state.history)

    def resume(self) -> str:
        """Continue from the newest whole checkpoint, if there is one; say what was damaged.

        Other processes do so from that of the first, and begin with its parameters.
        """
        note = ""

        def checkpoint() -> bytes:
            nonlocal note
            note = self._resume_here()
            if self.ranks.size == 1:
                return b""
            if self.state.step == 0:
                self.save()
            return self._files.content()

        first = self.ranks.first(checkpoint)
        if self.ranks.rank:
            self._files.receive(first)
            self._resume_here()
        return note

    def _resume_here(self) -> str:
        with self._files.newest(self._points_until) as (checkpoint, note):
            if checkpoint is not None:
                self._go_on(checkpoint)
        return note

    def _go_on(self, checkpoint: Checkpoint) -> None:
        # 1. Parameters, and those of the best evaluation.
        now, best = checkpoint.load("now"), checkpoint.load("best")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(now[name])
                self.best[name] = best[name].to(parameter.device)

        # 2. The optimizer, and what goes along with it.
        for key, value in checkpoint.load("adam").items():
            slot, name = key.split("/", 1)
            parameter = self.parameters[name]
            place = "cpu" if slot == "step" else parameter.device  # AdamW counts there
            self.optimizer.state[parameter][slot] = value.to(place)
        if self.request.trainable.companion is not None:
            self.request.trainable.companion.restore(checkpoint.load("companion"))

        # 3. The position.
        position = dict(checkpoint.position)
        score = position.pop("best")
        self.state = TrainingState(
            **position,
            best=None if score is None else DevScore(**score),
            history=checkpoint.history,
        )
        self._parameters_changed()
