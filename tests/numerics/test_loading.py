"""Whatever builds a model waits its turn: two at once come out with weights never filled in."""

import threading

from toys import open_tiny
from workbench.models.one_at_a_time import LOADING
from workbench.models.sentence_encoder import find_sentence_encoder


def waits(load) -> bool:
    """Return whether loading waits for the lock, and goes on after it."""
    done = threading.Event()
    thread = threading.Thread(target=lambda: (load(), done.set()))
    with LOADING:
        thread.start()
        has_waited = not done.wait(1.0)
    return has_waited and done.wait(30)


def test_a_base_waits_its_turn(tiny_folder):
    assert waits(lambda: open_tiny(tiny_folder))


def test_a_sentence_encoder_waits_its_turn():
    assert find_sentence_encoder() is not None
    assert waits(find_sentence_encoder)
