"""Who decides whether 4-bit weights are kept unpacked, by what rule, and what they are told."""

import threading

import pytest

from toys import open_tiny
from workbench.errors import ConfigError
from workbench.models import loading, weights_in_memory
from workbench.models.weights import find_weights
from workbench.models.weights_in_memory import SETTING, choose_weights, one_process

GIB = 1 << 30


@pytest.fixture(autouse=True)
def _six_gib_free(monkeypatch):
    monkeypatch.delenv(SETTING, raising=False)
    monkeypatch.setattr(weights_in_memory, "free_memory", lambda: 6 * GIB)


@pytest.mark.parametrize(
    ("wanted", "device", "num_bytes", "expected"),
    [
        ("auto", "cpu", 2 * GIB, (True, "2.0 GiB unpacked, at most a third of the 6.0 GiB free")),
        ("auto", "cpu", 3 * GIB,
         (False, "3.0 GiB unpacked, more than a third of the 6.0 GiB free")),
        ("auto", "cuda", 1, (False, "a GPU multiplies 4-bit weights as they are")),
        ("auto", "cpu", 0, (False, "the base is not in 4 bits")),
        ("restored", "cpu", 5 * GIB, (True, "asked for")),
        ("restored", "cuda", 9 * GIB, (True, "asked for")),
        ("packed", "cpu", 1, (False, "asked for")),
    ],
)  # fmt: skip
def test_what_is_done(wanted, device, num_bytes, expected):
    assert choose_weights(wanted, device, num_bytes) == expected


@pytest.mark.parametrize(("setting", "is_restored"), [("restored", True), ("packed", False)])
def test_a_machine_says_what_auto_means(setting, is_restored, monkeypatch):
    monkeypatch.setenv(SETTING, setting)

    assert choose_weights("auto", "cpu", 1) == (is_restored, f"asked for by {SETTING}")
    assert choose_weights("packed", "cpu", 1) == (False, "asked for")
    assert choose_weights("restored", "cpu", 1) == (True, "asked for")


def test_more_than_there_is_is_refused_before_it_is_taken():
    with pytest.raises(ConfigError) as caught:
        choose_weights("restored", "cpu", 7 * GIB)

    assert str(caught.value) == (
        "weights_in_memory 'restored' (asked for): the weights take 7.0 GiB unpacked, and 6.0 GiB "
        "are free. Use 'packed', which gives the same numbers."
    )


def test_an_unknown_way_is_refused_before_weights_are_read(tiny_folder, monkeypatch):
    known = "unknown way 'unpacked'. Did you mean 'packed'? Known: auto, packed, restored."
    monkeypatch.setattr("workbench.models.loading._read", None)

    with pytest.raises(ConfigError) as caught:
        open_tiny(tiny_folder, "nf4", kept="unpacked")

    assert str(caught.value) == f"weights_in_memory: {known}"
    monkeypatch.setenv(SETTING, "unpacked")
    with pytest.raises(ConfigError) as caught:
        open_tiny(tiny_folder, "nf4")
    assert str(caught.value) == f"{SETTING}: {known}"


def test_of_many_that_load_at_once_the_last_stay_packed(tiny_folder, monkeypatch):
    """Each takes what it needs of one memory, and looks at what the others have left."""
    size = open_tiny(tiny_folder, "nf4", kept="restored").info.restored_bytes
    free, unpack = [5 * size], loading.keep_restored

    def take(model):
        threading.Event().wait(0.05)  # others decide meanwhile, if they may
        unpack(model)
        free[0] -= size

    monkeypatch.setattr(weights_in_memory, "free_memory", lambda: free[0])
    monkeypatch.setattr(loading, "keep_restored", take)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(open_tiny(tiny_folder, "nf4")))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # A third of 5, of 4 and of 3 times its size holds it, of 2 it does not.
    assert sorted(base.info.restored_bytes for base in found) == [0, 0, size, size, size]


def test_a_turn_that_takes_too_long_keeps_nobody_waiting(monkeypatch):
    monkeypatch.setattr(weights_in_memory, "_TURN_SECONDS", 0.1)

    with one_process() as first, one_process() as second:
        assert (first, second) == (True, False)


def test_whoever_is_let_in_out_of_turn_keeps_weights_packed(monkeypatch, tiny_folder):
    """Several waited for the same turn: each would take a third of the same free memory."""
    monkeypatch.setattr(weights_in_memory, "_TURN_SECONDS", 0.1)

    def loaded():
        source = find_weights(str(tiny_folder))
        return loading.load_weights(source, name="tiny", precision="nf4", device="cpu").info

    with one_process():
        info = loaded()

    assert info.restored_bytes == 0
    assert info.restored_reason == "another process has been unpacking its own for 0.1 s"
    assert loaded().restored_bytes > 0
    assert choose_weights("restored", "cpu", GIB, is_turn=False) == (True, "asked for")


def test_turns_are_not_taken_where_the_file_system_has_no_locks(monkeypatch):
    def unable(*_):
        raise OSError

    monkeypatch.setattr(weights_in_memory.fcntl, "flock", unable)

    with one_process() as first, one_process() as second:
        assert first
        assert second
