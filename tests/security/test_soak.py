"""Two visitors ask side by side: each gets the answers given alone. At length: `make soak`."""

import uuid

from soak.calls import Outcome, settle, soak
from soak.measure import growth


def test_every_answer_is_the_one_that_is_given_alone(public, lora_export):
    people = [
        settle(public.address, f"soaker-{uuid.uuid4().hex}", lora_export, seed) for seed in (0, 1)
    ]

    found = soak(people, 60, lambda: 0, every=30, most=3)

    assert found.different == []
    assert sum(found.equal.values()) + found.cancelled == 60
    assert found.cancelled > 0
    assert set(found.equal) >= {"words", "own runs", "imported", "long", "sampled", "score"}
    waiting = people[0].http.http.get("/gradio_api/queue/status").json()["queue_size"]
    assert waiting == 0
    for person in people:
        person.http.close()


def test_growth_is_measured_after_the_warm_up():
    looks = [(0, 10), (100, 90), (200, 100), (300, 100), (400, 104), (500, 106)]

    assert round(growth(Outcome(memory=looks), warm=200), 3) == 0.06
