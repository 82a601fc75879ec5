"""From conditioning to answers: the one scorer every method in a comparison goes through."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum

import numpy as np

from workbench.answer_forms import as_one, normalise_answer
from workbench.extraction import extract_answer
from workbench.fitting.base import FittedMethod, ReasoningPlan
from workbench.fitting.label_scores import label_scores
from workbench.fitting.reasoning import Vote, majority
from workbench.fitting.short_answers import read_answer, writing_options
from workbench.models.base import Conditioning, Generation, GenerationOptions
from workbench.models.engine import Engine
from workbench.progress import Interrupted, Progress, ProgressEvent, ignore_progress
from workbench.tasks.base import Sample
from workbench.templates import continue_text

_CHUNK = 128  # samples between two progress events


@dataclass(frozen=True)
class Prediction:
    """What a method answered to one sample.

    Attributes:
        sample_id: Which sample it is.
        target: The correct answer, kept beside the answer so that a run can be read alone.
        answer: Label name, short answer or text; None when nothing could be read from the output.
        reason: Why `answer` is None.
        probabilities: Label name to probability, renormalised over the labels; None for short
            answers.
        label_mass: Probability of all labels together before renormalising.
        text: Generated text, if any.
        strict_answer: The answer in exactly the form asked for; reasoning and short answers only.
        lenient_answer: The last thing in the text that can be an answer.
        is_truncated: Whether generation ended at its upper bound.
        prompt_tokens: Positions before the first generated token; of all voters together.
        generated_tokens: Tokens generated; of all chains where several were drawn.
        vote_share: Share of the drawn chains, or of the voters of an ensemble, that give `answer`;
            None where there was one.
        sampled_answers: What each of them answers; None is one that gives no answer.
        references: All correct texts of a generation task, or short answers where there are
            several; None for other tasks.
        score: What the text scores against them in the task's headline metric, from 0 to 1.
    """

    sample_id: str
    target: str
    answer: str | None
    reason: str | None = None
    probabilities: Mapping[str, float] | None = None
    label_mass: float | None = None
    text: str | None = None
    strict_answer: str | None = None
    lenient_answer: str | None = None
    is_truncated: bool | None = None
    prompt_tokens: int = 0
    generated_tokens: int = 0
    vote_share: float | None = None
    sampled_answers: tuple[str | None, ...] | None = None
    references: tuple[str, ...] | None = None
    score: float | None = None


def predict(
    engine: Engine,
    fitted: FittedMethod,
    samples: Sequence[Sample],
    *,
    progress: Progress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Prediction]:
    """Return one prediction per sample, in order.

    Labels are scored as continuations; short answers are generated and extracted; texts are
    generated. A method with a reasoning plan first generates its reasoning.

    Raises:
        PromptError: a prompt exceeds the context.
        Interrupted: `should_stop` returned True.
    """
    rows = [fitted.condition(sample.fields) for sample in samples]
    # Long rows first, so that each chunk holds rows of similar length.
    order = sorted(range(len(rows)), key=lambda i: -rows[i].num_tokens)
    predictions: list[Prediction | None] = [None] * len(rows)
    progress(ProgressEvent("predict", 0, len(order)))
    for begin in range(0, len(order), _CHUNK):
        part = order[begin : begin + _CHUNK]
        _stop_if_asked(should_stop, begin, len(order))
        asked, given = [samples[i] for i in part], [rows[i] for i in part]
        try:
            answered = _predict_chunk(engine, fitted, asked, given, should_stop)
        except Interrupted as stop:
            raise _stopped(begin, len(order)) from stop
        # Asked again: what was being generated meanwhile is cut short and no answer.
        _stop_if_asked(should_stop, begin, len(order))
        for index, prediction in zip(part, answered, strict=True):
            predictions[index] = prediction
        progress(ProgressEvent("predict", begin + len(part), len(order)))
    return [prediction for prediction in predictions if prediction is not None]


def check_answerable(engine: Engine, fitted: FittedMethod, fields: Mapping[str, str]) -> None:
    """Refuse a text that `predict` could not answer, as far as that is known before any answer.

    Raises:
        PromptError: it cannot be encoded, or its prompt exceeds the context.
    """
    if fitted.reasoning is not None:
        room = fitted.reasoning.max_new_tokens
    elif fitted.encoder.task.labels:
        room = max(map(len, fitted.encoder.choice_ids()))
    else:
        room = writing_options(fitted.encoder).max_new_tokens
    for voice in fitted.voters or (fitted,):
        row = voice.condition(fields)
        engine.check_length(row, room)
        engine.forward.check_tokens(row.token_ids)


def _stop_if_asked(
    should_stop: Callable[[], bool], done: int, total: int, *, what: str = "items"
) -> None:
    if should_stop():
        raise _stopped(done, total, what)


def _stopped(done: int, total: int, what: str = "items") -> Interrupted:
    return Interrupted(f"prediction stopped after {done} of {total} {what}")


def _chain_options(plan: ReasoningPlan) -> list[GenerationOptions]:
    """Return how each chain is written; no two runs with different seeds share a chain's seed."""
    greedy = GenerationOptions(max_new_tokens=plan.max_new_tokens, stop=plan.stop)
    seeds = np.random.SeedSequence(plan.seed).generate_state(plan.samples)
    return [
        replace(greedy, temperature=plan.temperature, top_k=plan.top_k, seed=int(seed))
        for seed in seeds
    ]


def _predict_chunk(
    engine: Engine,
    fitted: FittedMethod,
    samples: Sequence[Sample],
    rows: Sequence[Conditioning],
    should_stop: Callable[[], bool],
) -> list[Prediction]:
    if fitted.voters:
        return _vote(engine, fitted.voters, samples, should_stop)
    if fitted.reasoning is not None:
        chains: list[list[Prediction]] = []
        for options in _chain_options(fitted.reasoning):
            generations = engine.generate(rows, options, should_stop=should_stop)
            _stop_if_asked(should_stop, len(chains), fitted.reasoning.samples, what="chains")
            chains.append(conclude(engine, fitted, samples, rows=rows, generations=generations))
        return [agree(fitted, voices) for voices in zip(*chains, strict=True)]
    if fitted.encoder.task.labels:
        return score_labels(engine, fitted, samples, rows)
    options = writing_options(fitted.encoder)
    generations = engine.generate(rows, options, should_stop=should_stop)
    return [
        read_written(fitted, sample, generation)
        for sample, generation in zip(samples, generations, strict=True)
    ]


def _vote(
    engine: Engine,
    voters: Sequence[FittedMethod],
    samples: Sequence[Sample],
    should_stop: Callable[[], bool],
) -> list[Prediction]:
    """Return what several fitted methods vote for; the rows of one sample stand side by side."""
    asked = [(voter, sample) for sample in samples for voter in voters]
    rows = [voter.condition(sample.fields) for voter, sample in asked]
    first, repeated = voters[0], [sample for _, sample in asked]
    ballots = _predict_chunk(engine, first, repeated, rows, should_stop)
    num = len(voters)
    return [
        replace(agree(first, voices), prompt_tokens=sum(one.prompt_tokens for one in voices))
        for voices in (ballots[begin : begin + num] for begin in range(0, len(ballots), num))
    ]


def read_written(fitted: FittedMethod, sample: Sample, generation: Generation) -> Prediction:
    """Return the prediction of what was written without reasoning: a short answer or a text."""
    if fitted.encoder.task.kind != "generation":
        return read_short_answer(fitted, sample, generation, generation.text)
    text = generation.text.strip()
    return Prediction(
        sample_id=sample.id,
        target=sample.target,
        answer=text or None,
        reason=None if text else "nothing was written before the end of the line",
        text=generation.text,
        is_truncated=generation.finish_reason == "length",
        prompt_tokens=generation.prompt_tokens,
        generated_tokens=len(generation.token_ids),
        references=sample.all_references,
    )


def score_labels(
    engine: Engine,
    fitted: FittedMethod,
    samples: Sequence[Sample],
    rows: Sequence[Conditioning],
) -> list[Prediction]:
    """Return the most probable label of each row."""
    return [
        replace(prediction, prompt_tokens=row.num_tokens)
        for row, prediction in zip(rows, _most_probable(engine, fitted, samples, rows), strict=True)
    ]


def _most_probable(
    engine: Engine,
    fitted: FittedMethod,
    samples: Sequence[Sample],
    rows: Sequence[Conditioning],
    *,
    cue: str | None = None,
) -> list[Prediction]:
    """Return the most probable label of each row, with the probabilities of all.

    What follows a reasoning is not calibrated.
    """
    labels = fitted.encoder.task.labels
    log_prior = fitted.log_prior if cue is None else None
    scores = label_scores(engine, fitted.encoder, rows, log_prior=log_prior, cue=cue)
    return [
        Prediction(
            sample_id=sample.id,
            target=sample.target,
            answer=labels[answer],
            probabilities=dict(zip(labels, probabilities, strict=True)),
            label_mass=mass,
        )
        for sample, answer, probabilities, mass in zip(
            samples,
            scores.answers.tolist(),
            scores.probabilities.tolist(),
            scores.masses.tolist(),
            strict=True,
        )
    ]


def conclude(
    engine: Engine,
    fitted: FittedMethod,
    samples: Sequence[Sample],
    *,
    rows: Sequence[Conditioning],
    generations: Sequence[Generation],
) -> list[Prediction]:
    """Return the answers that follow generated reasoning (Kojima et al. 2022, section 3).

    Raises:
        ValueError: the method has no reasoning plan.
    """
    plan, encoder = fitted.reasoning, fitted.encoder
    if plan is None:
        raise ValueError("only a method with a reasoning plan has something to conclude")
    # Cut where the model began to answer by itself: every row is asked in the same words.
    reasoned = [generation.text.split(plan.answer_phrase)[0] for generation in generations]
    asking = []
    for row, text in zip(rows, reasoned, strict=True):
        cue = encoder.encode(continue_text(text.rstrip(), plan.answer_phrase))
        asking.append(Conditioning(row.prefix, row.token_ids + cue, row.adapter))
    if encoder.task.labels:
        return _score_conclusions(
            engine,
            fitted,
            samples,
            phrase=plan.answer_phrase,
            asking=asking,
            generations=generations,
        )
    final = GenerationOptions(max_new_tokens=encoder.answer_tokens, stop=("\n",))
    endings = engine.generate(asking, final)
    return [
        read_short_answer(fitted, sample, generation, f"{text}{plan.answer_phrase}{end.text}")
        for sample, generation, text, end in zip(
            samples, generations, reasoned, endings, strict=True
        )
    ]


def _score_conclusions(
    engine: Engine,
    fitted: FittedMethod,
    samples: Sequence[Sample],
    *,
    phrase: str,
    asking: Sequence[Conditioning],
    generations: Sequence[Generation],
) -> list[Prediction]:
    """Return the most probable label after each reasoning, and what its text says by itself."""
    encoder = fitted.encoder
    words = {label: encoder.template.word(label) for label in encoder.task.labels}
    predictions = []
    scored = _most_probable(engine, fitted, samples, asking, cue=phrase)
    for prediction, generation in zip(scored, generations, strict=True):
        found = extract_answer(generation.text, phrase, words)
        predictions.append(
            replace(
                prediction,
                text=generation.text,
                strict_answer=found.strict,
                lenient_answer=found.lenient,
                is_truncated=generation.finish_reason == "length",
                prompt_tokens=generation.prompt_tokens,
                generated_tokens=len(generation.token_ids),
            )
        )
    return predictions


def agree(fitted: FittedMethod, chains: Sequence[Prediction]) -> Prediction:
    """Return what several chains to one sample, or voters, agree on; their order changes nothing.

    One chain is returned as it is. Short answers that mean the same number or text count as one,
    also where words follow it (see `as_one`), and the most frequent way to write it is returned.
    Probabilities are the mean over the chains; the text shown is that of a chain that won.
    """
    if len(chains) == 1:
        return chains[0]
    labels = fitted.encoder.task.labels
    weights = [chain.probabilities or {} for chain in chains]
    answers = [chain.answer for chain in chains]
    vote, answer = _elected(answers, labels, weights)
    agreeing = [chain for chain in chains if chain.answer == answer]
    shown = min(agreeing, key=lambda chain: chain.text or "")
    num = len(chains)
    return replace(
        shown,
        probabilities={label: fsum(w[label] for w in weights) / num for label in labels} or None,
        label_mass=fsum(chain.label_mass or 0.0 for chain in chains) / num if labels else None,
        strict_answer=_elected([chain.strict_answer for chain in chains], labels)[1],
        lenient_answer=_elected([chain.lenient_answer for chain in chains], labels)[1],
        is_truncated=2 * sum(bool(chain.is_truncated) for chain in chains) > num,
        generated_tokens=sum(chain.generated_tokens for chain in chains),
        vote_share=vote.share,
        sampled_answers=tuple(answers),
    )


def _elected(
    answers: Sequence[str | None],
    labels: Sequence[str],
    weights: Sequence[Mapping[str, float]] = (),
) -> tuple[Vote, str | None]:
    """Return the vote on answers, and how most voices write its winner; of equals by alphabet."""
    # Answers of other wording that mean the same are one answer, or they would split the vote.
    forms = list(answers) if labels else as_one(answers)
    vote = majority(forms, order=labels, weights=weights)
    given = [a for a, form in zip(answers, forms, strict=True) if form == vote.answer]
    written = [answer for answer in given if answer is not None]
    usual = Counter(map(normalise_answer, written))
    return vote, min(written, key=lambda a: (-usual[normalise_answer(a)], a), default=None)


def read_short_answer(
    fitted: FittedMethod, sample: Sample, generation: Generation, text: str
) -> Prediction:
    """Return the prediction of a short answer, with both extraction rules counted apart.

    Args:
        fitted: The method that wrote it.
        sample: What was asked.
        generation: The model's own text.
        text: What the answer is read from; it may end in a phrase that was put there for it.
    """
    plan = fitted.reasoning
    phrase = plan.answer_phrase if plan else ""
    task = fitted.encoder.task
    found = read_answer(task, text, phrase)
    strict = found.strict
    if plan is not None:  # the phrase in `text` may be ours, so only the model's own text counts
        strict = read_answer(task, generation.text, phrase).strict
    return Prediction(
        sample_id=sample.id,
        target=sample.target,
        answer=found.lenient,
        reason=None if found.lenient is not None else "no answer in the output",
        text=text,
        strict_answer=strict,
        lenient_answer=found.lenient,
        is_truncated=generation.finish_reason == "length",
        prompt_tokens=generation.prompt_tokens,
        generated_tokens=len(generation.token_ids),
        references=sample.references or None,
    )
