"""The four files: exact schema, safe cells, safe Markdown, a page that loads nothing."""

import csv
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from torn import DAMAGES
from workbench.analysis.comparison import compare_runs
from workbench.analysis.report import report_as_dict, report_csv, terminal_table, write_report
from workbench.errors import StoreError
from workbench.presentation.markdown import escape_markdown
from workbench.runs.provenance import Provenance
from workbench.runs.search import searches_of
from workbench.sealed import write_sealed

TARGETS = ["a", "b"] * 10
COST_KEYS = {
    "trained_parameters",
    "stored_bytes",
    "train_seconds",
    "peak_memory_bytes",
    "labelled_examples",
    "dev_evaluations",
    "dev_items",
    "prompt_tokens_mean",
    "generated_tokens_mean",
    "milliseconds_per_item",
}
HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "a|b|c",
    "two\nlines\n# heading",
    "[link](https://example.org) ![](https://example.org/x.png) www.example.org",
    "\u202eevil\u0634\u0631",
    "$x^2$ _emphasis_ **strong** `code` ~~gone~~ &amp; \\|",
    "{{ 7 * 7 }} {% raw %}",
    "=cmd|' /C calc'!A0",
]
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Checks nesting and collects tags, attributes and text."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.ids, self.texts = [], set(), [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def parsed(text):
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page


def flipped(number):
    return [("b" if t == "a" else "a") if i < number else t for i, t in enumerate(TARGETS)]


@pytest.fixture
def comparison(make_run, predict):
    """Return a table with a baseline, two seeds, training and probabilities."""
    scored = {"probabilities": {"a": 0.75, "b": 0.25}, "label_mass": 0.9}
    history = [{"step": float(step), "loss": 1 / step} for step in range(1, 30)]
    history.append({"step": 29.0, "dev_accuracy": 0.8, "dev_loss": 0.5})
    runs = [make_run("majority_class", predict(["a"] * 20, TARGETS), cost={})]
    for seed in (0, 1):
        runs.append(make_run("zero_shot", predict(flipped(8 + seed), TARGETS, **scored), seed=seed))
        runs.append(
            make_run(
                "lora",
                predict(flipped(2 + seed), TARGETS, **scored),
                seed=seed,
                options={"rank": 8, "targets": "attention"},
                history=history,
                cost={"trained_parameters": 460800, "stored_bytes": 1843200, "train_seconds": 12.5},
            )
        )
    return compare_runs(runs, reference="zero_shot")


@pytest.fixture(params=HOSTILE)
def hostile(request, make_run, predict):
    """Return a table whose labels, answers, ids, names and options are all the same bad text."""
    text = request.param
    options = {
        "options": {text: text},
        "task": {"digest": text},
        "base": {"name": text},
        "source": text,
    }
    options |= {"template": {"name": text}, "dropped": {text: 1}, "environment": {text: text}}
    options["provenance"] = Provenance(version=text, commit=text, has_changes=True)
    targets = [text, "b"] * 5
    probabilities = {text: 0.75, "b": 0.25}
    ids = [f"{text}{number}" for number in range(10)]
    shared = {"ids": ids, "probabilities": probabilities, "label_mass": 0.1}
    runs = [
        make_run(text, predict([text] * 10, targets, **shared), method="lora", **options),
        make_run("few_shot", predict(["b"] * 10, targets, **shared), **options),
    ]
    return text, compare_runs(runs, reference=text)


@pytest.mark.parametrize("damage", ["cut to half", "a folder in its place", "a link to nowhere"])
def test_a_damaged_report_is_written_anew(comparison, tmp_path, damage):
    paths = [tmp_path / f"report.{suffix}" for suffix in ("json", "csv", "md", "tex", "html")]
    write_report(comparison, tmp_path)
    whole = [path.read_bytes() for path in paths]
    for path in paths:
        DAMAGES[damage](path)

    write_report(comparison, tmp_path)

    assert [path.read_bytes() for path in paths] == whole
    assert not any(path.is_symlink() for path in paths)


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "missing"])
def test_searches_are_not_taken_from_a_damaged_report(comparison, tmp_path, damage):
    write_sealed(tmp_path / "report.json", report_as_dict(comparison))
    searches_of(tmp_path)
    DAMAGES[damage](tmp_path / "report.json")

    with pytest.raises(StoreError, match=r"Run the comparison again\.$"):
        searches_of(tmp_path)


def test_json_has_exactly_this_schema(comparison, tmp_path):
    content = json.loads(write_report(comparison, tmp_path)["json"].read_text())
    assert set(content) == {
        "name", "base", "task", "template", "reference", "created", "rows", "failed", "seeds",
        "warnings", "digest",
    }  # fmt: skip
    assert set(content["base"]) == {
        "name", "source", "identity", "precision", "compute_dtype", "device"
    }  # fmt: skip
    assert set(content["task"]) == {
        "name", "digest", "kind", "num_train", "num_dev", "num_test", "dropped"
    }  # fmt: skip
    assert content["reference"] == "zero_shot"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", content["created"])
    assert len(content["rows"]) == 5
    for row in content["rows"]:
        assert set(row) == {
            "row", "method", "run_id", "name", "seed", "options", "metrics", "difference", "cost",
            "search", "is_lower_bound",
        }  # fmt: skip
        assert set(row["cost"]) == COST_KEYS
        for metric in row["metrics"].values():
            assert set(metric) == {"value", "low", "high", "num_scored", "num_unscored"}
    lora = next(row for row in content["rows"] if row["row"] == "lora")
    assert lora["metrics"]["accuracy"]["value"] == 0.9
    assert set(lora["difference"]) == {
        "against", "value", "low", "high", "p_value", "p_value_holm", "num_items", "wins", "losses"
    }  # fmt: skip
    assert lora["difference"]["value"] == pytest.approx(0.3)
    assert lora["cost"]["peak_memory_bytes"] is None
    assert set(content["seeds"][0]) == {
        "row", "num_seeds", "metric", "mean", "low", "high", "minimum", "maximum"
    }  # fmt: skip


def test_csv_has_one_line_per_row_and_plain_numbers(comparison):
    lines = list(csv.DictReader(io.StringIO(report_csv(comparison))))
    assert [line["row"] for line in lines] == [row.row for row in comparison.rows]
    lora = next(line for line in lines if line["row"] == "lora")
    assert float(lora["accuracy"]) == 0.9
    assert float(lora["difference_value"]) == pytest.approx(0.3)
    assert lora["trained_parameters"] == "460800"
    assert lora["peak_memory_bytes"] == ""
    assert json.loads(lora["options"]) == {"rank": 8, "targets": "attention"}
    worse = next(line for line in lines if line["row"] == "majority_class")
    assert float(worse["difference_value"]) < 0  # a number keeps its sign, without a "'"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\n=1", "＝1"])  # noqa: RUF001
def test_csv_neutralises_formulas(make_run, predict, name):
    run = make_run(name, predict(["a"], ["a"]), method="lora")
    table = list(csv.reader(io.StringIO(report_csv(compare_runs([run], reference=name)))))
    assert table[1][0] == f"'{name}"
    assert len(table) == 2


def test_terminal_table_is_plain_strings(comparison):
    columns, rows = terminal_table(comparison)
    assert columns[3] == "vs zero_shot (paired)"
    assert all(len(row) == len(columns) for row in rows)
    assert rows[2][:2] == ["lora, seed 0", "90.0 %"]
    assert rows[2][5] == "460,800"
    assert rows[0][5] == "–"


def test_markdown_tells_the_whole_story(comparison, tmp_path):
    text = write_report(comparison, tmp_path)["markdown"].read_text()
    assert text.startswith(
        "# toy-base · nf4 (products in float32) · cpu · toy_task · 20 train / 10 dev / 20 test · "
        "seeds 0, 1\n"
    )
    for heading in ("Results", "Spread over seeds", "Warnings", "How to read it"):
        assert f"\n## {heading}\n" in text
    for fact in (
        "1.8 MB",
        "460,800",
        "digest d1",
        "2 (train: same text as a test row)",
        "torch 2.9",
    ):
        assert fact in text


def test_markdown_keeps_foreign_text_as_text(hostile, tmp_path):
    _, comparison = hostile
    text = write_report(comparison, tmp_path)["markdown"].read_text()
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text)
    kinds = {token.type for token in tokens}
    kinds |= {child.type for token in tokens for child in token.children or ()}
    assert not kinds & {
        "html_block", "html_inline", "link_open", "image", "em_open", "strong_open", "s_open",
        "code_inline", "code_block", "fence", "softbreak", "hardbreak", "hr", "ordered_list_open",
    }  # fmt: skip
    assert sum(token.type == "heading_open" for token in tokens) == 6
    widths = [line.count("|") - line.count("\\|") for line in text.splitlines() if line[:1] == "|"]
    assert len(set(widths)) == 2  # the results and the other metrics: no cell was split
    assert "https://" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize("text", [*HOSTILE, "1. x", "2) x", "- x", "---", "+ x", "# x", ":tada:"])
def test_escaped_markdown_renders_to_the_same_text(text):
    markdown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = markdown.parse("- " + escape_markdown(text))
    assert [token.type for token in tokens] == [
        "bullet_list_open", "list_item_open", "paragraph_open", "inline", "paragraph_close",
        "list_item_close", "bullet_list_close",
    ]  # fmt: skip
    shown = "".join(child.content for child in tokens[3].children)
    assert shown == " ".join(text.split()).replace("\u202e", "U+202E")


def test_page_is_complete_and_loads_nothing(comparison, tmp_path):
    text = write_report(comparison, tmp_path)["html"].read_text()
    page = parsed(text)
    assert {"h1", "h2", "h3", "table", "figure", "svg", "main"} <= page.tags
    assert not page.tags & {"script", "link", "iframe", "object", "img", "image", "base"}
    assert len(page.ids) == len(set(page.ids))
    for name, value in page.attributes:
        if name in ("src", "href", "xlink:href"):
            assert value.startswith("#")
            assert value[1:] in page.ids
        assert not name.startswith("on")
    assert "http:" not in text.replace("http-equiv", "")
    assert "https:" not in text
    assert "@import" not in text
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    assert "#0102" not in text  # every placeholder colour was replaced
    content = " ".join(page.texts)
    for title in (
        "Accuracy with 95 % interval",
        "Training",
        "Calibration",
        "Where the rows disagree",
    ):
        assert title in content
    assert "lora has the highest accuracy" in content


def test_page_keeps_foreign_text_as_text(hostile, tmp_path):
    text, comparison = hostile
    page = parsed(write_report(comparison, tmp_path)["html"].read_text())
    assert not page.tags & {"script", "img", "a"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    shown = " ".join(text.split()).replace("\u202e", "U+202E")
    assert shown in page.texts  # as a row name
    assert "49 {% raw %}" not in " ".join(page.texts)


def test_page_of_short_answers_and_untrained_rows(make_run, predict, tmp_path):
    task = {"kind": "short_answer"}
    runs = [
        make_run("zero_shot", predict([None, "7 " * 200], ["18", "7"]), task=task),
        make_run("few_shot", predict(["18.0", "8"], ["18", "7"]), task=task),
    ]
    page = parsed(
        write_report(compare_runs(runs, reference="zero_shot"), tmp_path)["html"].read_text()
    )
    content = " ".join(page.texts)
    assert "What is taken for what" not in content
    assert "Training" not in content.split()
    assert "18.0 \N{CHECK MARK}" in content
    assert "(cut)" in content


def test_page_without_confusion_matrix_when_labels_are_many(make_run, predict, tmp_path):
    targets = [f"label{number}" for number in range(13)]
    run = make_run("zero_shot", predict(targets, targets))
    page = write_report(compare_runs([run], reference="zero_shot"), tmp_path)["html"].read_text()
    assert "What is taken for what" not in page


def test_unanswered_items_have_a_column_of_their_own(make_run, predict, tmp_path):
    run = make_run("zero_shot", predict([None, *TARGETS[1:]], TARGETS))
    page = write_report(compare_runs([run], reference="zero_shot"), tmp_path)["html"].read_text()
    assert "no answer" in parsed(page).texts


def test_a_report_of_nothing_scored_can_be_written(make_run, predict, tmp_path):
    run = make_run("lora", predict([], []), metrics={})
    files = write_report(compare_runs([run], reference="lora"), tmp_path)
    assert "Nothing was scored." in files["html"].read_text()


def test_a_folder_that_cannot_be_written_is_explained(comparison, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_report(comparison, tmp_path / "file")


@pytest.mark.parametrize("module", ["comparison", "report"])
def test_reading_runs_needs_no_deep_learning_stack(module):
    code = (
        f"import sys, workbench.analysis.{module}\n"
        "found = {'torch', 'transformers', 'peft', 'bitsandbytes', 'gradio'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(found)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_words_of_the_field_in_the_page_say_what_they_mean(comparison, tmp_path):
    page = write_report(comparison, tmp_path)["html"].read_text()
    found = re.findall('<abbr title="([^"]+)">([^<]+)</abbr>', page)
    glosses = {word: gloss for gloss, word in found}

    assert {"p (Holm)", "trained parameters", "prompt tokens", "macro F1"} <= set(glosses)
    assert glosses["p (Holm)"].startswith("corrected for many looks: ")
    assert "What these words mean" in page
