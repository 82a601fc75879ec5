"""Searches on dev: what they may try, what they keep, and how it comes back."""

import json
from dataclasses import replace

import pytest

from workbench.errors import ConfigError, PromptError, StoreError
from workbench.fitting.base import SupportsSave, SupportsSearch, needs_run
from workbench.fitting.learning import dev_score
from workbench.fitting.prediction import predict
from workbench.methods.catalog import METHODS, make_method, method_class
from workbench.models.base import Generation
from workbench.progress import Interrupted
from workbench.runs.search import best_on_dev as offline_best
from workbench.training.options import TrainingOptions

TRAINED = [name for name in METHODS if issubclass(method_class(name), TrainingOptions)]
SEARCHES = ["demonstration_search", "instruction_search"]
GIVEN = {"demonstration_search": {}, "instruction_search": {"paraphrases": "Sun?\nRain?\nWhich?"}}
PARAPHRASES = "Is it {labels}?\nSun or rain?\n\n  Yes is good.  "


def choice(context) -> dict:
    return json.loads((context.folder / "search.json").read_text())


def prompts(fitted, context) -> list:
    rows = [fitted.condition(sample.fields) for sample in context.task.test]
    return [(row.prefix.pieces, row.token_ids) for row in rows]


def rescored(name: str, context, content):
    """Return the dev score of a candidate, made from what is stored of it alone."""
    path = context.folder / "search.json"
    kept = path.read_text()
    path.write_text(json.dumps({"chosen": content}))
    try:
        return dev_score(context, make_method(name, {}).restore(context, context.folder))
    finally:
        path.write_text(kept)


@pytest.mark.parametrize("name", SEARCHES)
def test_as_many_candidates_are_scored_as_the_budget_allows(name, toy_context):
    seen = []
    context = replace(toy_context, progress=seen.append)

    fitted = make_method(name, {"budget": 4, **GIVEN[name]}).fit(context)

    assert fitted.cost.dev_evaluations == len(choice(context)["candidates"]) == len(seen)
    assert len(seen) == 4
    assert [event.done for event in seen] == list(range(1, len(seen) + 1))
    assert {event.stage for event in seen} == {"search"}


@pytest.mark.parametrize("name", SEARCHES)
def test_no_candidate_beats_the_one_that_is_kept(name, toy_context):
    fitted = make_method(name, {"budget": 6, **GIVEN[name]}).fit(toy_context)

    found = choice(toy_context)
    scores = [rescored(name, toy_context, one["content"]) for one in found["candidates"]]
    (kept,) = [
        score
        for score, one in zip(scores, found["candidates"], strict=True)
        if one["content"] == found["chosen"]
    ]
    assert (fitted.cost.dev_accuracy, fitted.cost.dev_loss) == (kept.accuracy, kept.loss)
    place = offline_best(
        [(score.accuracy, score.loss) for score in scores], num_items=len(toy_context.task.dev)
    )
    assert kept == scores[place]
    for score, one in zip(scores, found["candidates"], strict=True):
        assert (one["accuracy"], one["loss"]) == (score.accuracy, pytest.approx(score.loss))


@pytest.mark.parametrize("name", SEARCHES)
def test_a_stored_choice_is_restored_without_dev(name, toy_context):
    fitted = make_method(name, {"budget": 4, **GIVEN[name]}).fit(toy_context)
    task = replace(toy_context.task, dev=())
    blind = replace(toy_context, encoder=replace(toy_context.encoder, task=task))

    restored = make_method(name, {"budget": 4}).restore(blind, toy_context.folder / "adapter")

    assert prompts(restored, toy_context) == prompts(fitted, toy_context)


@pytest.mark.parametrize("name", SEARCHES)
def test_without_its_choice_nothing_is_restored(name, toy_context):
    with pytest.raises(StoreError) as caught:
        make_method(name, {}).restore(toy_context, toy_context.folder / "adapter")

    path = toy_context.folder / "search.json"
    assert str(caught.value).startswith(f"{path}: what the search chose cannot be read (")
    assert str(caught.value).endswith("Delete the folder to search again.")


def test_a_choice_of_samples_that_are_gone_is_refused(toy_context):
    make_method("demonstration_search", {"budget": 1, "k": 2}).fit(toy_context)
    task = replace(toy_context.task, train=toy_context.task.train[:0])
    changed = replace(toy_context, encoder=replace(toy_context.encoder, task=task))

    with pytest.raises(StoreError, match=r"\(no training sample 'train-\d+'\)"):
        make_method("demonstration_search", {}).restore(changed, toy_context.folder)


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_stops_between_candidates_and_keeps_nothing(name, toy_context):
    asked = iter([False, False, True])
    context = replace(toy_context, should_stop=lambda: next(asked, True))

    with pytest.raises(Interrupted):
        make_method(name, {"budget": 5}).fit(context)

    assert not (toy_context.folder / "search.json").exists()


@pytest.mark.parametrize("name", [*SEARCHES, *TRAINED])
def test_whatever_dev_chose_counts_dev_among_the_labelled_examples(name, toy_context):
    task = toy_context.task
    method = make_method(name, {"budget": 1} if name in SEARCHES else {})

    used = {"demonstration_search": 6, "instruction_search": 0}.get(name, len(task.train))
    assert method.labelled_examples(task) == len(task.dev) + used


def test_every_example_that_a_candidate_shows_counts_once(toy_context):
    task = toy_context.task
    method = make_method("demonstration_search", {"budget": 3, "k": 4})

    assert method.labelled_examples(task) == len(task.dev) + 12
    many = make_method("demonstration_search", {"budget": 30, "k": 4})
    assert many.labelled_examples(task) == len(task.dev) + len(task.train)


def test_which_methods_need_a_run_before_they_answer():
    needing = {name for name in METHODS if needs_run(method_class(name))}

    assert set(SEARCHES) <= needing
    assert needing & {"zero_shot", "few_shot", "chain_of_thought", "self_consistency"} == set()
    for name in SEARCHES:
        assert issubclass(method_class(name), SupportsSearch)
        assert not issubclass(method_class(name), SupportsSave)  # nothing is trained


# Demonstrations


def test_the_first_set_is_that_of_few_shot_with_the_same_seed(toy_context):
    searched = make_method("demonstration_search", {"budget": 1}).fit(toy_context)
    few = make_method("few_shot", {}).fit(toy_context)

    assert searched.start == few.start


def test_the_sets_come_from_train_and_differ(toy_context):
    make_method("demonstration_search", {"budget": 6, "k": 4}).fit(toy_context)

    sets = [tuple(one["content"]) for one in choice(toy_context)["candidates"]]
    assert len(set(sets)) == len(sets)
    assert {name for ids in sets for name in ids} <= {s.id for s in toy_context.task.train}
    assert {len(set(ids)) for ids in sets} == {4}


def test_the_chosen_demonstrations_are_readable(toy_context):
    fitted = make_method("demonstration_search", {"budget": 2, "k": 2}).fit(toy_context)

    text = (toy_context.folder / "prompt.txt").read_text()
    first = fitted.start.demonstrations[0]
    assert text.startswith(f"Say good, bad.\n\nT: {first.fields['text']}\nA: {first.answer}\n\nT: ")


# Instructions


def test_own_instruction_and_paraphrases_are_tried_before_proposals(toy_context):
    make_method("instruction_search", {"budget": 6, "paraphrases": PARAPHRASES}).fit(toy_context)

    found = [(one["source"], one["content"]) for one in choice(toy_context)["candidates"]]
    assert found[:4] == [
        ("template", "Say {labels}."),
        ("paraphrase", "Is it {labels}?"),
        ("paraphrase", "Sun or rain?"),
        ("paraphrase", "Yes is good."),
    ]
    assert {source for source, _ in found[4:]} <= {"proposed"}


def test_a_budget_of_one_is_zero_shot(toy_context):
    fitted = make_method("instruction_search", {"budget": 1}).fit(toy_context)
    zero = make_method("zero_shot", {}).fit(toy_context)

    assert prompts(fitted, toy_context) == prompts(zero, toy_context)
    assert (toy_context.folder / "prompt.txt").read_text() == "Say {labels}.\n"


def test_the_chosen_instruction_is_what_questions_start_with(toy_context):
    options = {"budget": 4, "paraphrases": PARAPHRASES}
    fitted = make_method("instruction_search", options).fit(toy_context)

    chosen = choice(toy_context)["chosen"].replace("{labels}", "good, bad")
    for pieces, own in prompts(fitted, toy_context):
        text = toy_context.engine.tokenizer.decode(pieces[0] + own)
        assert text.startswith(f"{chosen}\n\nT: ")


def test_calibrated_candidates_are_scored_as_they_will_answer(toy_context):
    options = {"budget": 3, "paraphrases": "Is it {labels}?\nSun or rain?", "calibrate": True}
    fitted = make_method("instruction_search", options).fit(toy_context)

    right = [
        prediction.answer == prediction.target
        for prediction in predict(toy_context.engine, fitted, toy_context.task.dev)
    ]
    assert fitted.log_prior is not None
    assert fitted.cost.dev_accuracy == pytest.approx(sum(right) / len(right))


def test_the_base_is_shown_solved_training_examples_and_writes_instructions(
    toy_context, monkeypatch
):
    asked = []
    replies = [" Weather: good or bad. ", '"Weather: good or bad."', "Use {braces}", "", "Name it."]

    def generate(rows, options, **_):
        asked.extend(rows)
        texts = (replies * len(rows))[: len(rows)]
        return [
            Generation(text, (1,), "stop", row.num_tokens)
            for text, row in zip(texts, rows, strict=True)
        ]

    monkeypatch.setattr(toy_context.engine, "generate", generate)

    make_method("instruction_search", {"budget": 4, "examples": 2}).fit(toy_context)

    found = [one["content"] for one in choice(toy_context)["candidates"]]
    assert found == ["Say {labels}.", "Weather: good or bad.", "Name it."]
    train = {(s.fields["text"], s.target) for s in toy_context.task.train}
    for row in asked:
        text = toy_context.engine.tokenizer.decode(row.prefix.pieces[0] + row.token_ids)
        solved = [block.removeprefix("T: ").split("\nA: ") for block in text.split("\n\n")[:2]]
        assert {tuple(pair) for pair in solved} <= train


def test_more_proposals_than_places_are_left_out(toy_context, monkeypatch):
    def generate(rows, options, **_):
        return [Generation(f"Way {i}.", (1,), "stop", 9) for i in range(len(rows))]

    monkeypatch.setattr(toy_context.engine, "generate", generate)

    make_method("instruction_search", {"budget": 3}).fit(toy_context)

    found = [one["content"] for one in choice(toy_context)["candidates"]]
    assert found == ["Say {labels}.", "Way 0.", "Way 1."]


@pytest.mark.parametrize("chat", [False, True])
def test_proposals_are_asked_for_in_a_chat_too(chat, toy_context):
    encoder = replace(toy_context.encoder, chat=chat)
    context = replace(toy_context, encoder=encoder)

    fitted = make_method("instruction_search", {"budget": 3}).fit(context)

    assert fitted.cost.dev_evaluations >= 1


def test_more_paraphrases_than_the_budget_are_refused(toy_context):
    with pytest.raises(ConfigError) as caught:
        make_method("instruction_search", {"budget": 3, "paraphrases": PARAPHRASES}).fit(
            toy_context
        )

    assert str(caught.value) == (
        "instruction_search.budget: 3 candidates cannot hold the template's instruction and 3 "
        "paraphrases. Raise the budget to 4 or more, or give fewer."
    )


def test_a_paraphrase_with_an_unknown_placeholder_is_refused(toy_context):
    with pytest.raises(PromptError) as caught:
        make_method("instruction_search", {"paraphrases": "Judge {text}."}).fit(toy_context)

    assert str(caught.value) == (
        "instruction_search.paraphrases: instruction uses {text}, which is not available there. "
        "Available: labels. Rename the placeholder, or write {{text}} for the word in braces."
    )


def test_a_paraphrase_that_cannot_be_printed_is_refused(toy_context):
    with pytest.raises(ConfigError) as caught:
        make_method("instruction_search", {"paraphrases": "a\ue000b"}).fit(toy_context)

    assert str(caught.value) == (
        "instruction_search.paraphrases: 'a\\ue000b' has characters that cannot be printed."
    )
