"""Instruction search: wordings of the instruction, the best on dev is kept.

The candidates are the template's own instruction, paraphrases written by the user, and instructions
that the base itself proposes when it is shown solved training examples.

Source: Zhou et al. 2022, "Large Language Models Are Human-Level Prompt Engineers" (APE),
https://arxiv.org/abs/2211.01910, section 3. Differs from the source: one base proposes and answers,
every candidate is scored on the whole dev split, and proposals are not paraphrased further.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from workbench.encoding import PromptEncoder
from workbench.errors import ConfigError, require_all
from workbench.fitting.base import Family, FitContext, FittedMethod, Offer
from workbench.fitting.demonstrations import drawn
from workbench.fitting.searching import (
    CHOICE,
    Candidate,
    SearchOptions,
    best_on_dev,
    lost_choice,
    stored_choice,
)
from workbench.models.base import Conditioning, GenerationOptions
from workbench.options import TEXT, option
from workbench.tasks.base import Task
from workbench.templates import Demonstration, PromptTemplate

_SOLVED = "solved"
_ASKING = PromptTemplate(
    name="instruction_search",
    version=1,
    input=f"{{{_SOLVED}}}\n\nEverything above follows one short instruction. It reads:",
)
_ATTEMPTS = 2  # proposals per free place of the budget: some come out empty or twice
_MOST_CHARACTERS = 400  # a longer proposal has run on into something else
_WRITING = GenerationOptions(max_new_tokens=48, stop=("\n",), temperature=0.8, top_k=50)


@dataclass(frozen=True, kw_only=True)
class InstructionSearch(SearchOptions):
    """Ask with the instruction, out of `budget` candidates, that does best on dev."""

    family: ClassVar[Family] = "words"
    summary: ClassVar[str] = "an instruction chosen on dev"
    gloss: ClassVar[str] = (
        "The base proposes instructions, and the one that does best on rows kept for choosing "
        "stays."
    )
    offers: ClassVar[Sequence[Offer]] = ()  # what was found is offered as a run

    paraphrases: str = option(
        "",
        holds="text",
        public=TEXT,
        help="Instructions to try, one per line; {labels} stands for the task's labels.",
    )
    examples: int = option(
        6,
        minimum=1,
        maximum=64,
        public=(16, 32),
        help="How many solved rows the base is shown for each instruction it proposes.",
    )

    def fit(self, context: FitContext) -> FittedMethod:
        """Collect `budget` instructions, score each on dev, and return the best one's prompt.

        Raises:
            WorkbenchError: see `check`.
            Interrupted: asked to stop.
        """
        self.check(context.task, context.template)
        sources = self._given(context.template)
        for text in self._proposed(context, self.budget - len(sources)):
            if len(sources) < self.budget:
                sources.setdefault(text, "proposed")
        candidates = [
            Candidate(text, source, text, self._prompt(context, text))
            for text, source in sources.items()
        ]
        return best_on_dev(context, candidates)

    def check(self, task: Task, template: PromptTemplate) -> None:
        """Refuse more instructions than the budget allows, and those that cannot be asked with.

        Raises:
            ConfigError: everything that is wrong.
            PromptError: a paraphrase uses a placeholder that the template does not know.
        """
        lines = [partial(_check_line, line, task, template) for line in self._lines()]
        calibration = partial(super().check, task, template)
        require_all(calibration, partial(self._check_budget, template), *lines)

    def restore(self, context: FitContext, folder: Path) -> FittedMethod:
        """Return the prompt with the instruction that the run in `context.folder` chose.

        Raises:
            StoreError: the choice is missing.
        """
        chosen = stored_choice(context.folder)
        if not isinstance(chosen, str):
            raise lost_choice(context.folder / CHOICE, "not a text")
        return self._prompt(context, chosen)

    def labelled_examples(self, task: Task) -> int:
        """Return the dev split, and the training examples that proposals may be made from."""
        num_proposals = _ATTEMPTS * max(self.budget - 1 - len(self._lines()), 0)
        return len(task.dev) + min(num_proposals * self.examples, len(task.train))

    def _lines(self) -> list[str]:
        lines = (line.strip() for line in self.paraphrases.splitlines())
        return list(dict.fromkeys(line for line in lines if line))

    def _given(self, template: PromptTemplate) -> dict[str, str]:
        """Return where each instruction comes from that nobody has to propose."""
        found = {template.instruction: "template"}
        return found | {line: "paraphrase" for line in self._lines() if line not in found}

    def _check_budget(self, template: PromptTemplate) -> None:
        given = self._given(template)
        if len(given) > self.budget:
            raise ConfigError(
                f"instruction_search.budget: {self.budget} candidates cannot hold the template's "
                f"instruction and {len(given) - 1} paraphrases. Raise the budget to {len(given)} "
                "or more, or give fewer."
            )

    def _prompt(self, context: FitContext, instruction: str) -> FittedMethod:
        template = context.template.model_copy(update={"instruction": instruction})
        encoder = replace(context.encoder, template=template)
        start = encoder.start()
        return self.calibrated(context, FittedMethod(encoder, start, start.prefix))

    def _proposed(self, context: FitContext, wanted: int) -> list[str]:
        """Return usable instructions that the base writes, each from other training examples."""
        seeds = np.random.SeedSequence(context.seed).generate_state(1 + _ATTEMPTS * wanted)
        rows = [self._asking(context, int(seed)) for seed in seeds[1:]]
        options = replace(_WRITING, seed=int(seeds[0]))
        written = context.engine.generate(rows, options, should_stop=context.should_stop)
        texts = (generation.text.strip().strip("\"'").strip() for generation in written)
        return [text for text in texts if _is_usable(text)]

    def _asking(self, context: FitContext, seed: int) -> Conditioning:
        """Return the row that asks the base what instruction leads to the examples' answers."""
        task = context.task
        num = min(self.examples, len(task.train))
        samples = [task.train[i] for i in drawn(task, num, seed=seed, balanced=True)]
        solved = _solved(context.encoder, [Demonstration(s.fields, s.target) for s in samples])
        asking = replace(task, labels=(), field_names=(_SOLVED,))
        encoder = replace(context.encoder, template=_ASKING, task=asking)
        start = encoder.start()
        return Conditioning(start.prefix, encoder.own_ids({_SOLVED: solved}, start))


def _check_line(line: str, task: Task, template: PromptTemplate) -> None:
    """Refuse a paraphrase that cannot stand in the place of the template's instruction."""
    where = "instruction_search.paraphrases"
    if not line.isprintable():
        raise ConfigError(f"{where}: {line[:40]!r} has characters that cannot be printed.")
    changed = template.model_copy(update={"instruction": line})
    changed.check(task.field_names, task.labels, where=where)


def _solved(encoder: PromptEncoder, demonstrations: Sequence[Demonstration]) -> str:
    """Return solved examples as plain text, without an instruction."""
    bare = encoder.template.model_copy(update={"instruction": ""})
    plain = replace(encoder, template=bare, chat=False)
    empty = dict.fromkeys(encoder.task.field_names, "")
    return plain.render(empty, demonstrations).start.strip()


def _is_usable(text: str) -> bool:
    """Return whether a proposal can stand in a template as it is."""
    has_braces = "{" in text or "}" in text
    return bool(text) and len(text) <= _MOST_CHARACTERS and text.isprintable() and not has_braces
