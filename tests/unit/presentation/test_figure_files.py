"""Figures as files: three forms, the same text in each, equal bytes for equal figures."""

import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from workbench.errors import StoreError
from workbench.presentation.blocks import Bar, Bars
from workbench.presentation.caption import Caption
from workbench.presentation.charts import chart_plot
from workbench.presentation.drawing import PICTURE_FORMS
from workbench.presentation.figure_files import file_name, write_figure

BARS = Bars(
    title="Accuracy <b> & more",
    x="accuracy",
    bars=[Bar(name="lora $x$", value=0.7, low=0.6, high=0.8), Bar(name="中文", value=0.5)],
    is_percent=True,
    note="What the note says.",
)
CAPTION = Caption(task="toy", num_items=20, seeds=(0,), command="workbench curve").text
WRITE = (
    "import sys; sys.path.insert(0, 'tests/unit/presentation')\n"
    "from pathlib import Path; from test_figure_files import BARS, CAPTION\n"
    "from workbench.presentation.charts import chart_plot\n"
    "from workbench.presentation.figure_files import write_figure\n"
    "write_figure(chart_plot(BARS, name='b'), Path({!r}), 'figure', caption=CAPTION)"
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    paths = write_figure(chart_plot(BARS, name="b"), folder, "figure", caption=CAPTION)
    return {path.suffix[1:]: path for path in paths}


def test_a_figure_is_written_in_three_forms(files):
    assert tuple(files) == PICTURE_FORMS
    assert files["png"].read_bytes().startswith(b"\x89PNG\r\n")
    assert files["pdf"].read_bytes().startswith(b"%PDF-")
    assert ElementTree.fromstring(files["svg"].read_text()).tag.endswith("}svg")


def test_an_svg_keeps_its_text_and_carries_title_note_and_caption(files):
    svg = ElementTree.fromstring(files["svg"].read_text())
    texts = {node.text for node in svg.iter("{http://www.w3.org/2000/svg}text")}

    wanted = {"Accuracy <b> & more", "lora $x$", "中文", "What the note says."}
    wanted |= {"n = 20 test items of toy; seed 0.", "Made by: workbench curve"}
    assert wanted <= texts


def test_a_pdf_has_its_fonts_in_it_and_none_as_outlines_without_text(files):
    pdf = files["pdf"].read_bytes()

    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    fonts = set(re.findall(rb"/BaseFont /(\S+)", pdf))
    assert fonts
    assert all(re.match(rb"[A-Z]{6}\+", name) for name in fonts)  # a subset, so it is embedded


def test_nothing_says_when_or_where_a_figure_was_made(files):
    for path in files.values():
        content = path.read_bytes()
        assert not re.search(rb"CreationDate|dc:date|/Producer|Matplotlib|20[0-9]{2}-[01]", content)


def test_equal_figures_are_equal_files_in_every_process(files, tmp_path):
    code = WRITE.format(str(tmp_path))
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

    for form, path in files.items():
        assert (tmp_path / f"figure.{form}").read_bytes() == path.read_bytes(), form


def test_what_only_a_pointer_finds_is_not_on_paper():
    plot = chart_plot(BARS, name="b")
    before = plot.svg_drawing()

    assert b"opacity: 0;" not in plot.picture("svg")
    assert b'opacity: 0"' not in plot.picture("svg")
    assert plot.svg_drawing() == before


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError):
        write_figure(chart_plot(BARS, name="b"), tmp_path / "file", "figure")


def test_names_of_files_are_plain_and_told_apart():
    assert file_name("Accuracy with 95 % interval") == "accuracy-with-95-interval"
    assert file_name("../../etc/passwd") == "etc-passwd"
    assert file_name("中文") == "untitled"
    assert file_name("a b", taken=["a-b", "a-b-2"]) == "a-b-3"
    assert len(file_name("x" * 99)) == 40
