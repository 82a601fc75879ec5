"""The tour that comes along: whole, of today's readings, and every number out of its file."""

import json
import re

import pytest

from workbench.readings.inspector import READING_VERSION
from workbench.tour.story import TOUR_FILE, open_tour, stops_of
from workbench.ui.tour import on_stop, stop_html, tour_stops


@pytest.fixture(scope="module")
def tour():
    return open_tour()


def test_it_was_made_with_the_readings_of_today(tour):
    assert tour.facts.reading_version == READING_VERSION, "make tour"


def test_every_reading_of_the_file_is_shown_and_every_one_shown_is_there(tour):
    stops = stops_of(tour.facts)

    shown = [name for stop in stops for name in (*stop.readings, *stop.verdicts)]
    assert sorted(shown) == sorted(tour.readings)


def test_what_is_said_of_accuracy_is_counted_from_whole_items(tour):
    """An accuracy of so many items is a whole number of them, and lies in its interval."""
    facts = tour.facts
    for estimate in (facts.zero_shot, facts.plain, facts.cooking):
        assert estimate.num_scored + estimate.num_unscored == facts.num_test
        correct = estimate.value * facts.num_test
        assert correct == pytest.approx(round(correct))
        assert estimate.low < estimate.value < estimate.high


def test_the_file_is_refused_when_a_number_of_it_was_changed(tour, tmp_path):
    value = tour.facts.plain.value
    text = TOUR_FILE.read_text(encoding="utf-8")
    changed = tmp_path / TOUR_FILE.name
    changed.write_text(text.replace(json.dumps(value), json.dumps(value + 0.1)), encoding="utf-8")

    with pytest.raises(ValueError, match="does not have the digest"):
        open_tour(changed)


@pytest.mark.parametrize("number", range(7))
def test_a_stop_shows_its_words_its_pictures_and_its_tables(number, tour):
    stop, page = tour_stops()[number], on_stop(number)

    assert len(tour_stops()) == 7
    assert stop.title in page
    charts = sum(len(tour.readings[name].charts) for name in stop.readings)
    assert page.count("<svg") == 2 * (charts + stop.shows_training)  # for narrow and wide panels
    for name in stop.readings:
        for table in tour.readings[name].tables:
            assert table.title in page
    assert "<script" not in page
    assert not re.search(r"\bnan\b|None|undefined", page)


@pytest.mark.parametrize("number", [-1, 7, "1", None, True, 2.5])
def test_a_stop_that_is_none_is_one_message(number):
    assert "is no stop of it. Choose one of the 7 above." in on_stop(number)


def test_a_stop_is_drawn_once():
    assert stop_html(1) is stop_html(1)
