"""What a visitor is told when something goes wrong, and what not."""

import logging
from collections.abc import Iterator

import pytest

from pages import Seen, dangers, is_problem
from workbench.errors import ConfigError, StoreError
from workbench.ui.context import (
    KEEP,
    PROBLEM,
    SettingValues,
    or_skip,
    problem,
    problem_text,
    shows_problem,
    shows_problems,
)


def test_an_error_of_the_visitor_is_said_in_its_own_words():
    assert problem_text(ConfigError("seed: -1; a number from 0 up is needed.")) == (
        "seed: -1; a number from 0 up is needed."
    )


def test_where_files_lie_here_is_not_said():
    error = StoreError("/srv/runs/visitors/0a1b/rows.csv: cannot be read.")

    assert problem_text(error) == "rows.csv: cannot be read."


def test_a_bug_is_said_by_a_number_that_stands_in_the_log(caplog):
    with caplog.at_level(logging.ERROR):
        text = problem_text(ZeroDivisionError("secret details"))

    number = text.split("(error ")[1][:6]
    assert text == (
        f"Something went wrong on our side (error {number}). Nothing you made is lost; try again, "
        "or look for that number in the log of the app."
    )
    assert f"error {number}" in caplog.text
    assert "secret details" in caplog.text


def test_each_line_of_a_message_is_a_paragraph():
    html = problem(ConfigError("one <b>\ntwo"))

    assert is_problem(html)
    assert Seen(html).tags.count("p") == 2
    assert dangers(html) == []


def test_what_works_is_shown_as_it_is():
    assert shows_problem(lambda: "<p>fine</p>")() == "<p>fine</p>"


@pytest.mark.parametrize("error", [ConfigError("wrong"), ZeroDivisionError("bug")])
def test_what_does_not_work_is_a_box(error):
    def fail() -> str:
        raise error

    assert is_problem(shows_problem(fail)())


def test_a_handler_of_several_outputs_shows_the_box_in_its_place():
    @shows_problems(KEEP, PROBLEM, lambda: False)
    def fail() -> list[object]:
        raise ConfigError("wrong")

    kept, box, last = fail()

    assert kept == {"__type__": "update"}
    assert is_problem(box)
    assert last is False


def test_a_stream_ends_with_the_box():
    @shows_problem
    def fail() -> Iterator[str]:
        yield "first"
        raise ConfigError("wrong")

    first, box = fail()

    assert first == "first"
    assert is_problem(box)


def test_a_handler_that_follows_the_setting_leaves_its_part_when_the_setting_is_wrong():
    @or_skip(3)
    def handler(text: str) -> list[object]:
        raise ConfigError(text)

    assert [update["__type__"] for update in handler("wrong")] == ["update"] * 3


@pytest.mark.parametrize(
    "value", [None, 3, 1.5, float("nan"), ["a"], {"a": 1}, b"x", "\0", "x" * 10_000, True]
)
@pytest.mark.parametrize("name", ["task", "wording", "model", "precision", "chat"])
def test_any_value_of_the_first_row_becomes_an_experiment_or_one_message(name, value, page):
    values = SettingValues(**page.values(**{name: value}))

    def open_it() -> str:
        _, experiment = page.context.experiment(values)
        return experiment.model

    found = shows_problem(open_it)()

    assert is_problem(found) or isinstance(found, str)
    assert "on our side" not in found
