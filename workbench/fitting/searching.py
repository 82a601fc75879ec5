"""What methods that search for words share: candidates scored on dev, and the choice as text.

Choosing on dev uses its labels, and what is measured there afterwards is too good (Perez et al.
2021, "True Few-Shot Learning with Language Models", https://arxiv.org/abs/2105.11447, section 2):
dev counts as labelled examples, and only the test split is reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from workbench.atomic import parse_json, write_json, write_text
from workbench.errors import StoreError
from workbench.fitting.base import CalibrationOptions, FitContext, FittedMethod, TrainedCost
from workbench.fitting.learning import dev_score
from workbench.options import option
from workbench.progress import Interrupted, ProgressEvent
from workbench.training.score import DevScore

CHOICE, PROMPT_TEXT = "search.json", "prompt.txt"

Content = str | list[str]
"""What a candidate is restored from: an instruction, or ids of demonstrations."""


@dataclass(frozen=True, kw_only=True)
class SearchOptions(CalibrationOptions):
    """How much may be tried; methods that search inherit these as their own options."""

    budget: int = option(
        12,
        minimum=1,
        maximum=1000,
        public=(24, 50),
        help="How many candidates are tried on dev; the default looks as often as a default "
        "training.",
    )

    def dev_budget(self) -> int:
        """Return how often the dev split is scored at most."""
        return self.budget


@dataclass(frozen=True)
class Candidate:
    """One prompt that may be chosen.

    Attributes:
        content: What it is restored from.
        source: Where it came from, in a word or two.
        text: What `prompt.txt` says if it is chosen.
        fitted: What the prompt conditions the base with.
    """

    content: Content
    source: str
    text: str
    fitted: FittedMethod


def best_on_dev(context: FitContext, candidates: Sequence[Candidate]) -> FittedMethod:
    """Score all candidates on dev, write down the choice, and return the best one.

    A candidate is looked at once, and nothing else is paid for it, so that dev is scored whole.
    Ties within a standard error go to the lower loss, as where the best step of a training is
    chosen. `search.json` in the run's folder lists every candidate with its score.

    Raises:
        Interrupted: asked to stop; nothing is kept, a search is quick to do again.
    """
    began = perf_counter()
    scores: list[DevScore] = []
    for number, candidate in enumerate(candidates):
        where = f"search stopped after {number} of {len(candidates)} candidates"
        if context.should_stop():
            raise Interrupted(where)
        try:
            score = dev_score(context, candidate.fitted)
        except Interrupted as stop:
            raise Interrupted(where) from stop
        scores.append(score)
        figures = {"dev_loss": score.loss}
        if score.accuracy is not None:  # a text to be written has none
            figures["dev_accuracy"] = score.accuracy
        context.progress(ProgressEvent("search", number + 1, len(candidates), figures))
    best, highest = 0, max(score.accuracy or 0.0 for score in scores)
    for number, score in enumerate(scores):
        best = number if score.better_than(scores[best], highest) else best
    chosen = candidates[best]
    tried = [
        {"content": one.content, "source": one.source, "accuracy": s.accuracy, "loss": s.loss}
        for one, s in zip(candidates, scores, strict=True)
    ]
    write_json(context.folder / CHOICE, {"chosen": chosen.content, "candidates": tried})
    write_text(context.folder / PROMPT_TEXT, f"{chosen.text}\n")
    cost = TrainedCost(
        trained_parameters=0,
        stored_bytes=len(chosen.text.encode()),
        train_seconds=perf_counter() - began,
        dev_evaluations=len(candidates),
        dev_items=scores[best].num_items,
        dev_accuracy=scores[best].accuracy,
        dev_loss=scores[best].loss,
    )
    return replace(chosen.fitted, cost=cost)


def stored_choice(folder: Path) -> Content:
    """Return what an earlier search chose.

    Raises:
        StoreError: the run's folder does not say it.
    """
    path = folder / CHOICE
    try:
        chosen = parse_json(path.read_text(encoding="utf-8"))["chosen"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise lost_choice(path, repr(error)) from error
    is_text = isinstance(chosen, str)
    if not is_text and not (isinstance(chosen, list) and all(isinstance(i, str) for i in chosen)):
        raise lost_choice(path, "not a text or a list of ids")
    content: Content = chosen
    return content


def lost_choice(path: Path, why: str) -> StoreError:
    """Return the error that a search's choice cannot be used."""
    return StoreError(
        f"{path}: what the search chose cannot be read ({why}). Delete the folder to search again."
    )
