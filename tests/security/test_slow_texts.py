"""Texts that are short to send and were long to read: a stranger's call stops nobody else's."""

import time

from security.raw import Visitor, file_data

SECONDS = 30  # of the whole call, beside other tests; each took many minutes of the one interpreter


def test_digits_before_a_letter_are_no_number_at_once(public):
    visitor = Visitor(public.address, "another-visitor-1")
    began = time.monotonic()

    answer = visitor.call("start_training", method="lora", options={"steps": "1" * 100_000 + "x"})

    assert time.monotonic() - began < SECONDS
    assert "steps" in (answer.error or "")
    visitor.close()


def test_marks_out_of_their_order_are_read_at_once(public):
    marks = "\u0315" * 200_000 + "\u0323" * 200_000
    rows = f"text,label\na{marks},sun\nb,rain\n".encode()
    visitor = Visitor(public.address, "another-visitor-1")
    path = visitor.upload("rows.csv", rows)
    began = time.monotonic()

    answer = visitor.click("wb-file", "change", wb_file=file_data(path))

    assert time.monotonic() - began < SECONDS
    assert "2 rows" in answer.html
    visitor.close()
