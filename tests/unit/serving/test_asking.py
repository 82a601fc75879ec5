"""Answers side by side: each column is what its way answers alone, and says what it was sent."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from visitors import keep_rows, local_workspace, tiny_experiment
from workbench.errors import ConfigError, PromptError
from workbench.models.adapters.reading import import_adapter
from workbench.models.base import GenerationOptions
from workbench.runs.session import Session
from workbench.service import jobs
from workbench.service.accelerator import chunk_runner
from workbench.service.profile import LOCAL, ZERO_GPU, Caps
from workbench.service.uploads import ColumnChoice, keep_upload
from workbench.service.ways import rows_of, ways_of
from workbench.service.worker import work
from workbench.serving.asking import Column, Way, answer, fit_way, spec_of
from workbench.serving.desk import ModelDesk
from workbench.tasks.base import Sample
from workbench.templates import PromptTemplate
from workbench.ui.answer_cards import columns_html

QUESTION = Sample("question", {"text": "lovely great sun, and snow ☃ in May"}, target="")
GREEDY = GenerationOptions(max_new_tokens=12)
WORDS = ["words:zero_shot", "words:few_shot", "words:few_shot_calibrated", "words:chain_of_thought"]


class Place:
    """A workspace with four trained runs and an imported adapter, and the desk they run on."""

    def __init__(self, model: Path, root: Path, export: Path) -> None:
        self.workspace, self.desk = local_workspace(root), ModelDesk(is_direct=True)
        key = keep_rows(self.workspace, root / "given")
        methods = {
            "prompt_tuning": {"steps": 6, "eval_every": 6, "num_virtual_tokens": 7,
                              "init": "vocabulary"},
            "lora": {"steps": 6, "eval_every": 6},
            "prefix_tuning": {"steps": 6, "eval_every": 6, "num_virtual_tokens": 9},
            "prompt_ensemble": {"steps": 6, "eval_every": 6, "num_virtual_tokens": 5},
        }  # fmt: skip
        self.experiment = tiny_experiment(self.workspace, model, key, methods)
        self.job = self.submit(self.experiment)
        status = work(self.job.folder, self.workspace.store, open_session=self.desk.session)
        folder, _ = import_adapter(export, self.workspace.imports)
        self.runs = {row.row: f"run:{row.run_id}" for row in status.rows}
        self.keys = [*WORDS, *self.runs.values(), f"import:{folder.name}"]

    def submit(self, experiment) -> jobs.Job:
        submit = jobs.submit
        return submit(self.workspace, LOCAL, experiment, kind="evaluate", title="a job")

    @property
    def session(self) -> Session:
        return self.desk.session(self.experiment)

    def ask(self, *keys: str, options: GenerationOptions = GREEDY, **more) -> list[Column]:
        """Return the columns of some ways as they stand at the end."""
        return list(self.stream(*keys, options=options, **more))[-1]

    def stream(self, *keys: str, options: GenerationOptions = GREEDY, **more):
        session = self.session
        fitted = []
        for way in ways_of(self.workspace, keys, most=12):

            def fit(way: Way = way):
                return fit_way(session, way, self.workspace.folder)

            fitted.append((way.label, self.desk.fitted(spec_of(session, way).digest, fit)))
        yield from answer(session, fitted, more.pop("sample", QUESTION), options, **more)


@pytest.fixture(scope="module")
def place(tiny_folder, lora_export, tmp_path_factory) -> Place:
    return Place(tiny_folder, tmp_path_factory.mktemp("asking"), lora_export)


@pytest.fixture(scope="module")
def together(place) -> list[Column]:
    """Return the last state of all ways side by side."""
    return place.ask(*place.keys)


NUMBERS = range(len(WORDS) + 5)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_column_beside_others_writes_what_it_writes_alone(number, place, together):
    (alone,) = place.ask(place.keys[number])

    assert together[number].text == alone.text
    assert together[number].generation == alone.generation


@pytest.mark.parametrize("number", NUMBERS)
def test_a_column_beside_others_has_the_probabilities_it_has_alone(number, place, together):
    (alone,) = place.ask(place.keys[number])

    assert together[number].prediction.answer == alone.prediction.answer
    assert together[number].prediction.probabilities == pytest.approx(
        alone.prediction.probabilities, abs=1e-5
    )


def test_columns_of_different_ways_differ(together):
    found = [(column.text, column.prediction.label_mass) for column in together]
    probabilities = [column.prediction.probabilities["praise"] for column in together]

    assert found[1] == found[2]  # calibration changes neither text nor mass, only what follows
    assert len(set(found)) == len(together) - 1
    assert probabilities[1] != probabilities[2]


def test_a_trained_column_answers_as_its_run_did(place):
    item = place.session.task.test[0]

    for row, key in place.runs.items():
        run = place.workspace.run(key.removeprefix("run:"))
        (stored,) = (p for p in run.predictions() if p["sample_id"] == item.id)
        (column,) = place.ask(key, sample=item)
        assert column.prediction.probabilities == pytest.approx(
            stored["probabilities"], abs=1e-5
        ), row


def test_a_column_grows_and_only_its_end_has_a_generation(place):
    states = [columns[0] for columns in place.stream("words:zero_shot")]

    for before, after in itertools.pairwise(states):
        assert after.text.startswith(before.text)
        assert before.generation is None or after.generation == before.generation


def test_the_text_of_a_column_is_what_was_generated(together):
    assert [column.text for column in together] == [c.generation.text for c in together]


def test_each_column_says_when_it_began_and_ended(together):
    for column in together:
        assert 0 < column.first_token_seconds <= column.seconds


def test_an_answer_ends_at_the_separator_of_the_wording(place, tmp_path):
    encoder = place.session.encoder
    wording = PromptTemplate(version=1, input="Q: {text}")  # its separator is not in the prompt
    fields = QUESTION.fields

    def ask(separator: str) -> str:
        template = wording.model_copy(update={"separator": separator})
        session = Session(place.session.engine, replace(encoder, template=template))
        fitted = [("one", fit_way(session, Way("one", "zero_shot", {}), tmp_path))]
        return list(answer(session, fitted, Sample("q", fields, ""), GREEDY))[-1][0].text

    whole = ask("never in a text")

    assert ask(whole[3:5]) == whole[: whole.index(whole[3:5])]


def test_sampling_with_one_seed_repeats_itself(place):
    options = replace(GREEDY, temperature=1.5, seed=3)

    first, second = (place.ask(*WORDS[:2], options=options) for _ in range(2))

    assert [column.text for column in first] == [column.text for column in second]


# Stopping


def stop_after(looks: int):
    counter = itertools.count()
    return lambda: next(counter) >= looks


def test_a_stop_ends_every_column_as_cancelled(place):
    columns = place.ask(*place.keys, should_stop=stop_after(3))

    assert {column.generation.finish_reason for column in columns} == {"cancelled"}


def test_a_stopped_column_keeps_what_it_wrote_and_scores_nothing(place):
    (whole,) = place.ask("words:zero_shot")
    (column,) = place.ask("words:zero_shot", should_stop=stop_after(5))

    assert column.text
    assert whole.text.startswith(column.text)
    assert len(column.generation.token_ids) < len(whole.generation.token_ids)
    assert column.prediction is None


def test_a_stopped_column_still_says_what_it_was_sent(place):
    (column,) = place.ask("words:zero_shot", should_stop=stop_after(0))

    assert sum(piece.num_tokens for piece in column.pieces) == column.conditioning.num_tokens


def test_leaving_the_answers_frees_the_model(place):
    columns = place.stream(*place.keys)
    next(columns)
    columns.close()

    assert place.ask("words:zero_shot")[0].generation.finish_reason != "cancelled"


# What was sent


@pytest.mark.parametrize("number", range(len(WORDS)))
def test_the_pieces_of_words_are_the_prompt(number, together, place):
    column = together[number]
    start = column.fitted.start
    expected = place.session.encoder.render(
        QUESTION.fields, start.demonstrations, reasoning=start.reasoning
    )

    assert "".join(piece.text for piece in column.pieces) == expected.text


@pytest.mark.parametrize("number", NUMBERS)
def test_the_pieces_count_every_position(number, together):
    column = together[number]

    assert sum(piece.num_tokens for piece in column.pieces) == column.conditioning.num_tokens


def test_learned_vectors_are_counted_and_have_no_text(place):
    (column,) = place.ask(place.runs["prompt_tuning"])

    learned = [piece for piece in column.pieces if piece.is_learned]
    assert [(piece.num_tokens, piece.text) for piece in learned] == [(7, "")]


def test_a_prompt_near_to_the_question_is_shown_as_it_was_sent(place):
    (column,) = place.ask("words:few_shot_nearest")

    start = column.fitted.start_of(QUESTION.fields)
    expected = place.session.encoder.render(QUESTION.fields, start.demonstrations)
    assert len(start.demonstrations) == 6
    assert "".join(piece.text for piece in column.pieces) == expected.text


def test_drawn_chains_end_in_their_vote(place):
    (column,) = place.ask("words:self_consistency")

    voices = column.prediction.sampled_answers
    assert len(voices) == 5
    assert column.prediction.vote_share == voices.count(column.prediction.answer) / 5


def test_learned_keys_and_values_are_counted_as_learned(place):
    (column,) = place.ask(place.runs["prefix_tuning"])

    learned = [piece for piece in column.pieces if piece.is_learned]
    assert [(piece.num_tokens, piece.text) for piece in learned] == [(9, "")]


def test_an_ensemble_shows_its_vote(place):
    (column,) = place.ask(place.runs["prompt_ensemble"])

    assert column.prediction.answer in column.prediction.sampled_answers
    assert len(column.prediction.sampled_answers) == 3
    assert column.prediction.prompt_tokens == 3 * column.conditioning.num_tokens
    votes = column.prediction.sampled_answers.count(column.prediction.answer)
    assert f" {votes} of 3 votes " in columns_html([column], is_done=True)


def test_only_the_last_piece_is_the_texts_own(together):
    for column in together:
        assert [piece.is_own for piece in column.pieces][-1:] == [True]
        assert QUESTION.fields["text"] in column.pieces[-1].text
        assert not any(piece.is_own for piece in column.pieces[:-1])


def test_only_weight_adapters_change_the_weights(together, place):
    adapted = [column.label for column in together if column.conditioning.adapter is not None]

    assert len(adapted) == 2
    assert adapted[0].startswith("lora ")
    assert adapted[1].startswith("imported ")


# Short answers


@pytest.fixture(scope="module")
def sums(place, tmp_path_factory):
    """Return a session of a task that asks for numbers."""
    file = tmp_path_factory.mktemp("sums") / "sums.csv"
    lines = [f"what is {n} and {n % 7},{n + n % 7}" for n in range(40)]
    file.write_text("\n".join(["question,answer", *lines]))
    columns = ColumnChoice("question", "answer", kind="short_answer")
    key, _ = keep_upload(place.workspace, Caps(), file, "sums", columns)
    model = Path(place.experiment.model)
    experiment = tiny_experiment(place.workspace, model, key, {"zero_shot": {}})
    return place.desk.session(experiment)


def ask_sum(session: Session, way: Way, folder: Path) -> Column:
    fitted = [(way.label, fit_way(session, way, folder))]
    sample = Sample("question", {"text": "what is 2 and 2"}, target="")
    return list(answer(session, fitted, sample, GREEDY))[-1][0]


def test_a_short_answer_ends_at_the_line(sums, tmp_path):
    fitted = fit_way(sums, Way("zero_shot", "zero_shot", {}), tmp_path)
    sample = Sample("question", {"text": "what is 2 and 2"}, target="")
    row = fitted.condition(sample.fields)
    for seed in range(50):  # of the first text that has a line break
        options = GenerationOptions(max_new_tokens=40, temperature=9.0, seed=seed)
        (whole,) = sums.engine.generate([row], options)
        if "\n" in whole.text[1:]:
            break

    (column,) = list(answer(sums, [("one", fitted)], sample, options))[-1]

    assert "\n" in whole.text
    assert column.text == whole.text.split("\n")[0]


def test_a_short_answer_has_no_label_probabilities(sums, tmp_path):
    column = ask_sum(sums, Way("zero_shot", "zero_shot", {}), tmp_path)

    assert column.prediction.probabilities is None
    assert column.prediction.text == column.text


def test_a_short_answer_that_cannot_be_read_has_a_reason(sums, tmp_path):
    column = ask_sum(sums, Way("zero_shot", "zero_shot", {}), tmp_path)

    has_digit = any(character.isdigit() for character in column.text)
    assert (column.prediction.answer is not None) == has_digit
    assert (column.prediction.reason is None) == has_digit


def test_reasoning_about_a_short_answer_concludes_after_its_text(sums, tmp_path):
    column = ask_sum(sums, Way("cot", "chain_of_thought", {"max_new_tokens": 8}), tmp_path)

    assert column.prediction.text.startswith(column.text)
    assert "The answer is" in column.prediction.text


# What is refused


@pytest.mark.parametrize("method", ["prompt_tuning", "lora"])
def test_a_method_that_has_to_be_trained_first_is_refused(method, place, tmp_path):
    with pytest.raises(ConfigError) as caught:
        fit_way(place.session, Way("my way", method, {}), tmp_path)

    assert str(caught.value) == (
        "my way: not trained yet. Train it first, or choose a run that is finished."
    )


def test_a_text_longer_than_the_context_is_refused(place):
    long = Sample("question", {"text": "x" * 2000}, target="")

    with pytest.raises(PromptError, match="exceed the context of 1024 tokens"):
        place.ask("words:zero_shot", sample=long)


def test_after_a_refusal_the_model_answers_on(place):
    long = Sample("question", {"text": "x" * 2000}, target="")
    with pytest.raises(PromptError):
        place.ask(*place.keys, sample=long)

    assert len(place.ask(*place.keys)) == len(place.keys)


# Jobs in chunks on the same base


def test_a_way_still_answers_after_a_job_in_chunks_used_it_too(place, together):
    imported = place.keys[-1]
    rows = rows_of(place.workspace, [imported], seeds=[0])
    changes = {"methods": rows, "reference": next(iter(rows))}
    job = place.submit(place.experiment.model_copy(update=changes))

    state = chunk_runner(place.desk, ZERO_GPU)(str(job.folder))

    assert (state, place.ask(imported)[0].text) == ("finished", together[-1].text)


def test_a_deleted_run_is_trained_again_on_the_base_that_answered_with_it(place, together):
    row = {"lora": {"steps": 2, "eval_every": 2}}
    experiment = place.experiment.model_copy(update={"methods": row, "reference": "lora"})
    run_chunk = chunk_runner(place.desk, ZERO_GPU)
    job = place.submit(experiment)
    assert run_chunk(str(job.folder)) == "finished"
    (found,) = jobs.read_job(place.workspace, job.status.job_id).status.rows
    place.ask(f"run:{found.run_id}")
    place.workspace.delete_run(found.run_id)

    assert run_chunk(str(place.submit(experiment).folder)) == "finished"
