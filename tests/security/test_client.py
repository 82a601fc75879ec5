"""A program drives a page with Gradio's own client, word for word as the docs show it."""

import pytest

from readme import blocks

SNIPPETS = [block for block in blocks() if "gradio_client" in block.text]
SHOWN_ADDRESS = "http://127.0.0.1:7860"


@pytest.mark.parametrize("block", SNIPPETS, ids=lambda block: f"{block.page} {block.line}")
def test_the_program_of_the_docs_works(local, block):
    assert SHOWN_ADDRESS in block.text
    names = {}

    exec(block.text.replace(SHOWN_ADDRESS, local.address), names)

    client, job = names["client"], names["job"]
    answer = client.predict(text="My parcel never came", api_name="/compare")
    status = client.predict(job, api_name="/job_status")
    client.predict(job, api_name="/stop_job")
    assert len(answer["columns"]) == 3  # what is asked without naming ways
    assert status["job_id"] == job
    assert status["state"] in ("queued", "running", "finished")


def test_there_is_one_to_try():
    assert SNIPPETS
