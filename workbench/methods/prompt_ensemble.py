"""Prompt ensemble: several soft prompts learn the same task, and their votes make the answer.

Source: Lester et al. 2021, https://arxiv.org/abs/2104.08691, section 6.
Differs from the source: votes that tie are decided by the mean probability of the labels. The
members differ in the order of their batches, and in their start where it is drawn at random; all
rows of one item run side by side on the one base.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import ClassVar

from workbench.atomic import parse_json, write_text
from workbench.errors import require_all
from workbench.fitting.base import Family, FitContext, FittedMethod, TrainedCost
from workbench.fitting.reasoning import require_short_answers
from workbench.fitting.soft_prompt_training import SoftPromptTraining
from workbench.options import option
from workbench.progress import ProgressEvent
from workbench.tasks.base import Task
from workbench.templates import PromptTemplate
from workbench.training.folder import HISTORY

_NAME = "prompt_ensemble"


@dataclass(frozen=True, kw_only=True)
class PromptEnsemble(SoftPromptTraining):
    """Train `members` soft prompts from seeds of their own; the majority answers."""

    family: ClassVar[Family] = "vectors"
    summary: ClassVar[str] = "the vote of several soft prompts trained from different seeds"
    gloss: ClassVar[str] = "Several soft prompts are trained, and they vote."
    tiny_rate: ClassVar[float] = 0.06
    instead_of_reading: ClassVar[str] = (
        "Its members can be opened one by one: give the folder of a member in the run's adapter "
        "folder, as in RUN/adapter/member_0."
    )

    members: int = option(
        3,
        minimum=1,
        maximum=20,
        public=(3, 5),
        help="How many soft prompts are trained and vote (n).",
    )

    def fit(self, context: FitContext) -> FittedMethod:
        """Train the members one after the other, each keeping its best step on dev.

        Raises:
            ConfigError: the task asks for a text, on which there is no vote.
        """
        require_short_answers(context.task, _NAME)
        contexts = [self._context_of(context, number) for number in range(self.members)]
        voters = [self._member.fit(one) for one in contexts]
        _write_mean_history(context.folder, [one.folder for one in contexts])
        return self._joined(voters)

    def check(self, task: Task, template: PromptTemplate) -> None:
        """Refuse a task that asks for a text.

        Raises:
            ConfigError: says so, or see the members' own.
        """
        require_all(
            lambda: require_short_answers(task, _NAME),
            lambda: self._member.check(task, template),
        )

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Return the ensemble of the members saved by `save`.

        Raises:
            ModelError: a member is missing, or is no soft prompt of this embedding width.
        """
        return self._joined(
            [
                self._member.restore(context, member_folder(folder, number))
                for number in range(self.members)
            ]
        )

    def save(self, context: FitContext, fitted: FittedMethod, folder: Path) -> None:
        """Write each member in PEFT's format, in a folder of its own."""
        for number, voter in enumerate(fitted.voters):
            self._member.save(context, voter, member_folder(folder, number))

    def num_trainable(self, context: FitContext) -> int:
        """Return n times what a member trains."""
        return self.members * self._member.num_trainable(context)

    @property
    def num_trainings(self) -> int:
        """One for each member."""
        return self.members

    @property
    def _member(self) -> SoftPromptTraining:
        options = {one.name: getattr(self, one.name) for one in fields(SoftPromptTraining)}
        return SoftPromptTraining(**options)

    def _context_of(self, context: FitContext, number: int) -> FitContext:
        """Return a member's context: no two ensembles of different seeds share a member's seed."""

        def tell(event: ProgressEvent) -> None:
            done, total = number * event.total + event.done, self.members * event.total
            context.progress(replace(event, done=done, total=total))

        return replace(
            context,
            seed=context.seed * self.members + number,
            folder=member_folder(context.folder, number),
            progress=tell,
        )

    def _joined(self, voters: Sequence[FittedMethod]) -> FittedMethod:
        costs = [voter.cost for voter in voters if voter.cost is not None]
        return replace(voters[0], voters=tuple(voters), cost=_total(costs) if costs else None)


def member_folder(folder: Path, number: int) -> Path:
    """Return where a member's files lie, or its adapter in the folder of all adapters."""
    return folder / f"member_{number}"


def _write_mean_history(folder: Path, members: Sequence[Path]) -> None:
    """Write the mean of the members' training figures, step by step, where a run's are looked for.

    Where some stopped early it is the mean of those that went on.
    """
    found: dict[tuple[float, bool], list[dict[str, float]]] = {}
    for member in members:
        for line in (member / HISTORY).read_text().splitlines():
            entry: dict[str, float] = parse_json(line)
            found.setdefault((entry["step"], "dev_loss" in entry), []).append(entry)
    means = [
        {name: sum(entry[name] for entry in entries) / len(entries) for name in entries[0]}
        for _, entries in sorted(found.items())
    ]
    write_text(folder / HISTORY, "".join(json.dumps(mean) + "\n" for mean in means))


def _total(costs: Sequence[TrainedCost]) -> TrainedCost:
    """Return what all members took; accuracy and loss on dev are the mean over them."""
    peaks = [cost.peak_memory_bytes for cost in costs if cost.peak_memory_bytes is not None]
    accuracies = [cost.dev_accuracy for cost in costs if cost.dev_accuracy is not None]
    losses = [cost.dev_loss for cost in costs if cost.dev_loss is not None]
    return TrainedCost(
        trained_parameters=sum(cost.trained_parameters for cost in costs),
        stored_bytes=sum(cost.stored_bytes for cost in costs),
        train_seconds=sum(cost.train_seconds or 0.0 for cost in costs),
        peak_memory_bytes=max(peaks, default=None),
        best_step=costs[0].best_step if len(costs) == 1 else None,
        learning_rate=costs[0].learning_rate,
        dev_evaluations=sum(cost.dev_evaluations for cost in costs),
        dev_items=costs[0].dev_items,  # all look at the same ones
        dev_accuracy=sum(accuracies) / len(accuracies) if accuracies else None,
        dev_loss=sum(losses) / len(losses) if losses else None,
    )
