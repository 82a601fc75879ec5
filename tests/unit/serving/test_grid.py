"""The grid: each cell is what transformers, or its method alone, says; a bad cell costs itself."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from toys import TOY_TEMPLATE, add_lora, make_toy_task, open_tiny
from workbench.encoding import PromptEncoder
from workbench.errors import ConfigError, PromptError
from workbench.fitting.prediction import predict
from workbench.models.engine import Engine
from workbench.progress import Interrupted, stopped_by
from workbench.runs.session import Session
from workbench.serving.asking import Way, fit_way
from workbench.serving.grid import (
    FittedColumn,
    Grid,
    GridColumn,
    Wording,
    check_grid,
    fill,
    fit_columns,
)
from workbench.tasks.base import Sample
from workbench.templates import PromptTemplate, continue_text

WORDINGS = [
    Wording("plain", TOY_TEMPLATE),
    Wording("short", TOY_TEMPLATE.model_copy(update={"instruction": "", "input": "{text} ="})),
    Wording("words", TOY_TEMPLATE.model_copy(update={"label_words": {"good": "yes!"}})),
]
WAYS = [
    Way("zero_shot", "zero_shot", {}),
    Way("few_shot", "few_shot", {"k": 2}),
    Way("calibrated", "few_shot", {"k": 2, "calibrate": True}),
    Way("reasons", "chain_of_thought", {"max_new_tokens": 6}),
]
TASK = make_toy_task(24, 8, 10)
OPEN = Sample("open", {"text": "a sun that nobody labelled"}, target="")


@pytest.fixture(scope="module")
def session(tiny_folder) -> Session:
    base = open_tiny(tiny_folder)
    return Session(Engine(base), PromptEncoder(base.tokenizer, TOY_TEMPLATE, TASK))


@pytest.fixture(scope="module")
def columns(session, tmp_path_factory) -> list[FittedColumn]:
    fit = partial(fit_way, folder=tmp_path_factory.mktemp("fit"))
    found, left_out = fit_columns(session, WORDINGS, WAYS, fit)
    assert left_out == []
    add_lora(session.engine, "learned", trained=True)
    adapted = replace(found[0].fitted, adapter="learned")
    return [*found, FittedColumn(GridColumn("tiny", "plain", "lora"), adapted)]


@pytest.fixture(scope="module")
def states(session, columns) -> list[Grid]:
    return list(fill(session, Grid(TASK, (*TASK.test[:5], OPEN)), columns))


def column_of(grid: Grid, wording: str, way: str) -> int:
    (place,) = (n for n, one in enumerate(grid.columns) if (one.wording, one.way) == (wording, way))
    return place


def by_hand(
    model: torch.nn.Module, session: Session, wording: Wording, sample: Sample
) -> dict[str, float]:
    """Return the labels' probabilities by one plain pass of a model for each of their words."""
    tokenizer = session.engine.tokenizer
    prompt = PromptEncoder(tokenizer, wording.template, TASK).render(sample.fields).text
    first = len(tokenizer(prompt).input_ids)
    scores = []
    for label in TASK.labels:
        text = continue_text(prompt, wording.template.word(label))
        ids = tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            logprobs = model(input_ids=ids).logits[0].double().log_softmax(-1)
        places = range(first, ids.shape[1])
        scores.append(sum(float(logprobs[place - 1, ids[0, place]]) for place in places))
    return dict(zip(TASK.labels, torch.tensor(scores).softmax(0).tolist(), strict=True))


def test_it_begins_empty_grows_batch_by_batch_and_ends_full(states):
    sizes = [len(grid.cells) for grid in states]

    assert sizes[0] == 0
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == states[-1].num_cells == 6 * 13
    assert all(before.cells.items() <= after.cells.items() for before, after in pairwise(states))


@pytest.mark.parametrize("wording", WORDINGS, ids=lambda one: one.name)
def test_probabilities_are_those_of_transformers_alone(tiny_folder, states, session, wording):
    model = AutoModelForCausalLM.from_pretrained(tiny_folder).eval()
    grid = states[-1]
    place = column_of(grid, wording.name, "zero_shot")

    for row, sample in enumerate(grid.samples):
        expected = by_hand(model, session, wording, sample)
        cell = grid.cells[row, place]
        assert cell.probabilities == pytest.approx(expected, abs=1e-5)
        assert cell.answer == max(expected, key=lambda label: expected[label])


def test_every_cell_is_what_its_method_says_alone(states, session, columns):
    grid = states[-1]
    for place, column in enumerate(columns):
        alone = predict(session.engine, column.fitted, grid.samples)
        cells = grid.column(place)

        assert [cell.answer for cell in cells] == [one.answer for one in alone]
        assert [cell.written_tokens for cell in cells] == [one.generated_tokens for one in alone]
        for cell, one in zip(cells, alone, strict=True):
            assert cell.probabilities == pytest.approx(one.probabilities, abs=1e-5)


def test_an_imported_adapter_answers_with_any_wording_as_peft_does(
    tiny_folder, lora_export, session, tmp_path
):
    adapted = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_folder), lora_export
    )
    ways = [WAYS[0], Way("theirs", "imported", {"adapter": str(lora_export)})]
    columns, _ = fit_columns(session, WORDINGS, ways, partial(fit_way, folder=tmp_path))

    *_, grid = fill(session, Grid(TASK, TASK.test[:3]), columns)

    for wording in WORDINGS:
        place = column_of(grid, wording.name, "theirs")
        for row in range(3):
            expected = by_hand(adapted.eval(), session, wording, grid.samples[row])
            assert grid.cells[row, place].probabilities == pytest.approx(expected, abs=1e-5)


def test_an_adapter_changes_its_own_column_alone(states):
    grid = states[-1]
    plain, adapted = column_of(grid, "plain", "zero_shot"), column_of(grid, "plain", "lora")

    assert grid.cells[0, plain].probabilities != pytest.approx(
        grid.cells[0, adapted].probabilities, abs=1e-4
    )


def test_right_and_wrong_are_said_where_the_answer_is_known(states):
    grid = states[-1]
    for (row, _), cell in grid.cells.items():
        sample = grid.samples[row]
        assert cell.is_right == (cell.answer == sample.target if sample.target else None)
    for place in range(len(grid.columns)):
        estimate = grid.accuracy(place)
        right = sum(grid.cells[row, place].answer == TASK.test[row].target for row in range(5))
        assert estimate.value == right / 5


def test_a_text_that_does_not_fit_says_so_and_the_others_are_answered(session, columns):
    long = Sample("long", {"text": "sun " * 600}, target="good")

    *_, grid = fill(session, Grid(TASK, (TASK.test[0], long, TASK.test[1])), columns)

    for place in range(len(columns)):
        first, refused, last = grid.column(place)
        assert (refused.answer, refused.is_right) == (None, None)
        assert "context" in refused.reason
        assert None not in (first.answer, last.answer)


def test_a_row_that_grows_too_long_while_it_reasons_costs_itself_alone(session, columns):
    place = next(n for n, one in enumerate(columns) if one.column.way == "reasons")
    fitted = columns[place].fitted
    room = 1024 - fitted.condition({"text": ""}).num_tokens - 6
    edge = Sample("edge", {"text": "s" * (room - 2)}, target="good")  # no room for an answer

    with pytest.raises(PromptError):
        predict(session.engine, fitted, [edge])
    *_, grid = fill(session, Grid(TASK, (TASK.test[0], edge)), [columns[place]])

    assert grid.cells[0, 0].answer is not None
    assert (grid.cells[1, 0].answer, grid.cells[1, 0].reason != "") == (None, True)


def test_what_was_answered_before_a_stop_is_there(session, columns):
    seen: list[Grid] = []

    with pytest.raises(Interrupted), stopped_by(lambda: bool(seen and seen[-1].cells)):
        seen.extend(fill(session, Grid(TASK, TASK.test), columns))

    assert 0 < len(seen[-1].cells) < seen[-1].num_cells


def test_what_cannot_answer_is_left_out_with_its_reason(session, tmp_path):
    ways = [WAYS[0], Way("lora", "lora", {})]

    columns, left_out = fit_columns(session, WORDINGS[:2], ways, partial(fit_way, folder=tmp_path))

    assert [(one.column.wording, one.column.way) for one in columns] == [
        ("plain", "zero_shot"),
        ("short", "zero_shot"),
    ]
    assert [one.label for one in left_out] == ["lora with wording plain", "lora with wording short"]
    assert all("not trained yet" in one.reason for one in left_out)


def test_where_nothing_can_answer_every_reason_is_said(session, tmp_path):
    with pytest.raises(
        ConfigError, match=r"(?s)lora with wording plain: .*lora with wording short"
    ):
        fit_columns(
            session, WORDINGS[:2], [Way("lora", "lora", {})], partial(fit_way, folder=tmp_path)
        )


def headings(*parts: tuple[str, str, str]) -> list[str]:
    return Grid(TASK, (), tuple(GridColumn(*part) for part in parts)).headings


def test_headings_name_what_differs():
    assert headings(("a", "p", "z"), ("a", "q", "z")) == ["p", "q"]
    assert headings(("a", "p", "z"), ("a", "p", "f")) == ["z", "f"]
    assert headings(("a", "p", "z"), ("b", "q", "z")) == ["a · p", "b · q"]
    assert headings(("a", "p", "z")) == ["z"]


def test_a_folder_as_base_is_called_by_its_last_part_unless_another_is_too():
    one, other, named = "/models/here/qwen", "/models/there/qwen", "org/model"

    assert headings((one, "p", "z"), (named, "p", "z")) == ["qwen", "org/model"]
    assert headings((one, "p", "z"), (other, "p", "z")) == [one, other]


def test_columns_of_another_base_are_added_to_those_there_are(session, columns, states):
    two = columns[:2]
    *_, first = fill(session, Grid(TASK, TASK.test[:2]), two)
    *_, both = fill(session, first, two)

    assert len(both.columns) == 4
    for row in range(2):
        for place in range(2):
            assert both.cells[row, place].answer == both.cells[row, place + 2].answer


def test_too_many_cells_are_refused_with_what_is_allowed():
    grid = Grid(TASK, TASK.test)

    with pytest.raises(ConfigError) as refused:
        check_grid(grid, 3, most_cells=20)

    assert str(refused.value) == (
        "grid: 10 texts in 3 columns are 30 cells; at most 20 here. Take fewer texts, wordings or "
        "ways."
    )
    with pytest.raises(ConfigError, match="no text to answer"):
        check_grid(Grid(TASK, ()), 3, most_cells=20)


# Batches of the engine


def test_batches_of_the_engine_together_are_what_it_scores_in_one_call(session, columns):
    fitted = [one.fitted for one in columns if one.column.way == "few_shot"]
    rows = [one.condition(sample.fields) for one in fitted for sample in TASK.test]
    choices = [one.encoder.choice_ids() for one in fitted for _ in TASK.test]

    found = dict(item for batch in session.engine.score_batches(rows, choices)
                 for item in batch.items())  # fmt: skip
    whole = session.engine.score(rows, choices)

    assert sorted(found) == list(range(len(rows)))
    assert [found[n].logprobs.tolist() for n in range(len(rows))] == [
        one.logprobs.tolist() for one in whole
    ]


# Written answers


@pytest.mark.parametrize("kind", ["short_answer", "generation"])
def test_written_cells_are_what_their_method_writes_alone(tiny_folder, tmp_path, kind):
    samples = tuple(Sample(f"s{n}", {"text": f"write {n}"}, target=f"answer {n}") for n in range(4))
    task = replace(TASK, kind=kind, labels=(), train=samples, dev=samples, test=samples)
    base = open_tiny(tiny_folder)
    plain = PromptTemplate(version=1, input="{text}:", answer_tokens=5)
    wordings = [
        Wording("plain", plain),
        Wording("told", plain.model_copy(update={"instruction": "Say it."})),
        Wording("longer", plain.model_copy(update={"answer_tokens": 8})),
    ]
    session = Session(Engine(base), PromptEncoder(base.tokenizer, plain, task))
    ways = [Way("zero_shot", "zero_shot", {}), Way("few_shot", "few_shot", {"k": 1})]
    columns, _ = fit_columns(session, wordings, ways, partial(fit_way, folder=tmp_path))
    asked = (*samples[:3], replace(samples[3], target=""))

    *_, grid = fill(session, Grid(task, asked), columns)

    assert len(grid.cells) == 4 * 6
    for place, column in enumerate(columns):
        alone = predict(session.engine, column.fitted, asked)
        cells = grid.column(place)
        assert [cell.answer for cell in cells] == [one.answer for one in alone]
        assert [cell.written_tokens for cell in cells] == [one.generated_tokens for one in alone]
        assert (cells[3].is_right, cells[3].score) == (None, None)
        if kind == "generation":
            assert all(0 <= cell.score <= 1 for cell in cells[:3])
        else:
            assert all(cell.is_right is False for cell in cells[:3])
