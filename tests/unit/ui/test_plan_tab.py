"""The planning tab: plain values in, a page or words out."""

from dataclasses import replace

import gradio as gr
import pytest

from architectures import tiny_config
from pages import Seen
from workbench.budget.asked import NUMBERS
from workbench.budget.known import DEVICES, KNOWN_SHAPES
from workbench.service.profile import CPU_SPACE
from workbench.ui.plan import number_field, on_model, on_plan, on_precision

USUAL = {
    "token": None, "base": "llama-2-13b", "place": "any", "gib": 16, "bits": "nf4",
    "targets": "attention_qv", "checkpointing": False,
}  # fmt: skip


def shown(page, **changes):
    return on_plan(page.context, **USUAL | changes)


def test_five_tasks_on_13b_and_16_gb_are_five_small_files_over_one_base(page):
    text = Seen(shown(page, tasks=5)).text

    assert "Train lora" in text
    assert "5 tasks are 5 files" in text


def test_the_table_has_the_row_that_the_headline_names(page):
    """13B on 16 GB is advised all linear layers, and the rest of the table is what was asked."""
    html = shown(page)
    asked = shown(page, targets="all_linear")

    assert "Train lora on all linear layers over" in Seen(html).text
    assert "lora, targets all_linear recommended" in Seen(html).text
    assert Seen(html).text.count("recommended") == 1
    assert "lora recommended" in Seen(asked).text


def test_what_is_tight_names_the_options_that_loosen_it(page):
    text = Seen(shown(page, base="llama-2-13b", gib=12)).text

    assert "It is tight" in text
    assert "gradient_checkpointing: true takes it down to" in text


def test_the_plan_is_for_the_base_of_the_first_row_until_another_is_chosen(page):
    own = page.setting["model"]
    public = replace(page.context, profile=CPU_SPACE)

    assert on_model(page.context, "llama-2-7b") == "llama-2-7b"
    assert on_model(page.context, own) == own
    assert on_model(public, "../x") == gr.skip()
    assert on_precision("bf16") == "bf16"
    assert on_precision("nf5") == gr.skip()


def test_as_the_tab_is_opened_its_fields_make_a_plan(page):
    """A browser shows and sends 0 for a number field that holds nothing."""
    fields = {key: number_field(key, option) for key, option in NUMBERS.items()}
    sent = {
        key: 0 if isinstance(one, gr.Number) and one.value is None else one.value
        for key, one in fields.items()
    }

    assert "Train" in Seen(shown(page, **sent)).text


@pytest.mark.parametrize("left", ["", " ", None])
def test_what_may_be_left_out_is_left_out_by_an_empty_field(page, left):
    assert shown(page, micro_batch_size=left) == shown(page)
    assert shown(page, micro_batch_size="2") == shown(page, micro_batch_size=2)


def test_70b_on_one_24_gb_card_is_refused_with_what_would_do(page):
    text = Seen(shown(page, base="llama-2-70b", place="rtx-4090")).text

    assert "cannot be trained" in text
    assert "A100 40 GB" in text


def test_a_hundred_versions_answer_from_one_base(page):
    text = Seen(shown(page, base="llama-2-7b", place="a100-40", versions=100)).text

    assert "100 versions answer from one base" in text


def test_the_memory_of_every_method_is_drawn_and_stands_in_the_table(page):
    html = shown(page)

    assert "<svg" in html
    assert "full_fine_tuning" in Seen(html).text


def test_finished_runs_stand_beside_the_estimates(page):
    html = shown(page, base=page.setting["model"], bits="fp32", place="cpu")

    assert "measured memory" in Seen(html).text
    assert "measured memory" not in Seen(shown(page)).text


@pytest.mark.parametrize("base", KNOWN_SHAPES)
@pytest.mark.parametrize("place", ["cpu", "t4", "h100-80"])
def test_every_known_model_has_a_plan_everywhere(page, base, place):
    assert "wb-plan-table" in shown(page, base=base, place=place)


def test_any_folder_with_a_config_has_a_plan_on_a_page_of_ones_own(page, tmp_path):
    tiny_config("phi3").save_pretrained(tmp_path)

    text = Seen(shown(page, base=str(tmp_path), targets="all_linear")).text

    assert "Train lora" in text


WRONG = {
    "base": ["", "no-such", None, "../..", "a\0b"],
    "place": ["", "toaster", None, 3],
    "gib": [0, -1, "much", float("nan"), float("inf"), 1e300, True, None],
    "bits": ["3", None],
    "targets": ["everything", []],
    **{
        key: [
            bounds.minimum - 1,
            bounds.maximum + 1,
            0.5,
            "x",
            True,
            float("nan"),
            *([] if bounds.is_optional else [None]),
        ]
        for key, bounds in NUMBERS.items()
    },
}
CASES = [(key, value) for key, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("key", "value"), CASES)
def test_a_value_that_no_page_would_send_is_refused_in_words(page, key, value):
    text = Seen(shown(page, **{key: value})).text

    assert "That did not work" in text
    assert "on our side" not in text


def test_a_public_page_reads_no_folder_and_asks_no_hub(page):
    public = replace(page.context, profile=CPU_SPACE)

    text = Seen(on_plan(public, **USUAL | {"base": page.setting["model"], "token": "a" * 20})).text

    assert "unknown model" in text


def test_the_devices_on_the_page_are_those_of_the_table(page):
    assert all("wb-plan-table" in shown(page, place=name, base="llama-2-7b") for name in DEVICES)
