"""`workbench predict` from the outside: rows in, answers in their order out, whatever happens."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from test_batch_command import OFFLINE, command, in_process, write_rows

from toys import write_base
from workbench.predicting import answering, chunks
from workbench.predicting.answer_files import writing
from workbench.predicting.answering import CHUNK_ROWS
from workbench.predicting.parts import parts_folder

WORDS = {"praise": "lovely great sun", "complaint": "broken awful rain"}
PROBABILITIES = ["probability_complaint", "probability_praise"]


@pytest.fixture(scope="module")
def made(tiny_folder, tmp_path_factory) -> Path:
    """Return a folder with rows, test rows with ids, and finished runs of several methods."""
    folder = tmp_path_factory.mktemp("made")
    write_rows(folder / "train.csv", 40)
    with (folder / "test.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["key", "message", "intent"])
        for number in range(30):
            label = list(WORDS)[number % 2]
            text = f"{WORDS[label]}, {'long ' * (number % 5)}number {number}"
            writer.writerow([f"k{number}", text, label])
    done = command(
        "evaluate", "--model", tiny_folder, "--precision", "fp32", "--train", "train.csv",
        "--test", "test.csv", "--text-column", "message", "--label-column", "intent",
        "--set", "task.name=mood", "--out", "runs/mine",
        "--methods", "zero_shot,few_shot,chain_of_thought,prompt_tuning,lora",
        "--set", "methods.prompt_tuning.steps=4",
        "--set", "methods.lora={steps: 6, learning_rate: 0.1}",
        "--set", "methods.chain_of_thought.max_new_tokens=8", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def run_of(made: Path, method: str) -> Path:
    (found,) = (made / "runs" / "mine").glob(f"*_{method}_*")
    return found


def stored(made: Path, method: str) -> list[dict]:
    text = (run_of(made, method) / "predictions.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def unlabelled(made: Path, path: Path) -> list[dict[str, str]]:
    """Write the test rows without their labels; return them."""
    with (made / "test.csv").open(newline="", encoding="utf-8") as stream:
        rows = [{"key": row["key"], "message": row["message"]} for row in csv.DictReader(stream)]
    write(path, rows)
    return rows


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def many_rows(path: Path, number: int) -> Path:
    write(path, [{"n": str(i), "message": f"sun {i}"} for i in range(number)])
    return path


def read(path: Path) -> list[dict]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.fixture
def predict(made, tmp_path, monkeypatch, capfd) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs the command in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, method: str = "lora") -> tuple[int, str, str]:
        asked = ("predict", run_of(made, method), "--runs", made / "runs", *arguments)
        try:
            return in_process(monkeypatch, capfd, *asked)
        except pytest.fail.Exception:  # it does not exit where all is well
            out, errors = capfd.readouterr()
            return 0, out, errors

    return run


@pytest.mark.parametrize("method", ["zero_shot", "few_shot", "prompt_tuning", "lora"])
def test_answers_are_those_the_run_gave_to_the_same_texts(method, made, predict):
    """The oracle is what another process stored when the run was made."""
    rows = unlabelled(made, Path("rows.csv"))

    code, said, errors = predict("--rows", "rows.csv", "--out", "out.csv", method=method)

    assert (code, errors) == (0, "")
    assert f"out.csv: 30 rows answered with {run_of(made, method).name}" in said
    found, expected = read(Path("out.csv")), stored(made, method)
    assert list(found[0]) == ["key", "message", "answer", *PROBABILITIES, "error"]
    assert [{name: row[name] for name in rows[0]} for row in found] == rows
    assert [row["answer"] for row in found] == [row["answer"] for row in expected]
    for row, one in zip(found, expected, strict=True):
        for label, probability in one["probabilities"].items():
            assert float(row[f"probability_{label}"]) == pytest.approx(probability, abs=1e-6)
    assert {row["error"] for row in found} == {""}
    assert not parts_folder(Path("out.csv")).exists()


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("out", ["out.csv", "out.tsv", "out.jsonl", "out.parquet"])
def test_every_form_in_and_out_has_the_same_answers(suffix, out, made, predict):
    rows = unlabelled(made, Path("rows.csv"))[:6]
    file = Path(f"rows{suffix}")
    columns = dict.fromkeys(rows[0], pa.string())
    with file.open("wb") as stream, writing(stream, suffix, columns) as writer:
        writer.write(rows)

    code, _, errors = predict("--rows", file, "--out", out, method="zero_shot")

    assert code == 0, errors
    found = read(Path(out))
    assert [{name: row[name] for name in rows[0]} for row in found] == rows
    assert [row["answer"] for row in found] == [
        row["answer"] for row in stored(made, "zero_shot")[:6]
    ]
    total = [sum(float(row[name]) for name in PROBABILITIES) for row in found]
    assert total == pytest.approx([1.0] * 6)


def test_columns_are_named_chosen_and_ids_come_first(made, predict):
    rows = unlabelled(made, Path("rows.csv"))
    write(Path("rows.csv"), [{"note": "x", "body": r["message"], "key": r["key"]} for r in rows])

    code, _, errors = predict(
        "--rows", "rows.csv", "--out", "out.jsonl", "--text-column", "body", "--id-column", "key",
        "--keep", "note", "--limit", 4,
    )  # fmt: skip

    assert code == 0, errors
    found = read(Path("out.jsonl"))
    assert list(found[0]) == ["key", "note", "answer", *PROBABILITIES, "error"]
    assert [row["key"] for row in found] == ["k0", "k1", "k2", "k3"]
    assert [row["answer"] for row in found] == [row["answer"] for row in stored(made, "lora")[:4]]


def test_the_fields_own_name_is_found_where_the_runs_column_is_not_there(made, predict):
    Path("rows.jsonl").write_text('{"text": "lovely sun"}\n')

    code, _, errors = predict("--rows", "rows.jsonl", "--out", "out.jsonl", method="zero_shot")

    assert code == 0, errors
    assert read(Path("out.jsonl"))[0]["answer"] in WORDS


def test_rows_that_cannot_be_answered_say_why_and_end_nothing(made, predict):
    lines = [
        {"n": 0, "message": "lovely sun"},
        {"n": 1, "message": "too long " * 400},
        {"n": 2, "message": "  "},
        {"n": 3},
        {"n": 4, "message": ["a list"]},
        {"n": 5, "message": "half \ud800"},
        {"n": 6, "message": 12.0},
        {"n": 7, "message": "awful\nrain\u2028"},
    ]
    Path("rows.jsonl").write_text("".join(json.dumps(line) + "\n\n" for line in lines))

    code, said, errors = predict("--rows", "rows.jsonl", "--out", "out.jsonl")

    assert code == 0, errors
    assert "5 of them have no answer; the column 'error' says why." in said
    found = read(Path("out.jsonl"))
    assert [row["n"] for row in found] == list(range(8))
    assert [{k: row[k] for k in line} for row, line in zip(found, lines, strict=True)] == lines
    assert [row["answer"] is None for row in found] == [n in (1, 2, 3, 4, 5) for n in range(8)]
    reasons = [row["error"] for row in found]
    assert "exceed the context of 1024 tokens" in reasons[1]
    assert reasons[2] == reasons[3] == "no text in column 'message'"
    assert reasons[4] == reasons[5] == "no plain text in column 'message'"
    assert found[2]["probability_praise"] is None
    assert reasons[0] is reasons[6] is reasons[7] is None


def test_cells_as_spreadsheets_write_them_are_read_and_carried(made, predict):
    Path("rows.csv").write_bytes(
        '\ufeffsep=;\r\nmessage;"the ""note"""\r\n"lovely; ""sun""\nand rain";a,b\r\n\r\n'
        ";\r\nawful;\r\n".encode()
    )

    code, _, errors = predict("--rows", "rows.csv", "--out", "out.csv", method="zero_shot")

    assert code == 0, errors
    found = read(Path("out.csv"))
    assert [row["message"] for row in found] == ['lovely; "sun"\nand rain', "awful"]
    assert [row['the "note"'] for row in found] == ["a,b", ""]


def test_what_is_wrong_is_said_before_a_base_is_loaded(made, predict, monkeypatch):
    monkeypatch.setattr("workbench.runs.session.open_session", lambda *a: pytest.fail("loaded"))
    rows = unlabelled(made, Path("rows.csv"))
    Path("there.csv").write_text("keep")
    Path("file").write_text("no folder")
    write(Path("taken.csv"), [{"message": "a", "answer": "b", "error": "c"}])
    write(Path("other.csv"), [{"mesage": "a"}])
    Path("torn.csv").write_text('message\n"a')
    fine = ("--rows", "rows.csv", "--out", "out.csv")
    cases = {
        "rows.csv: unknown column 'body'.": (*fine, "--text-column", "body"),
        "rows.csv: unknown column 'id'. Known: key, message.": (*fine, "--id-column", "id"),
        "rows.csv: unknown column 'kee'. Did you mean 'key'?": (*fine, "--keep", "kee,message"),
        "--text-b-column: task 'mood' has one text (text)": (*fine, "--text-b-column", "key"),
        "other.csv: unknown column 'message'. Did you mean 'mesage'? Known: mesage. Name the "
        "columns of the texts with --text-column.": ("--rows", "other.csv", "--out", "out.csv"),
        "torn.csv, line 2: a cell opens with a double quote and never closes it": (
            "--rows", "torn.csv", "--out", "out.csv",
        ),
        "gone.csv: no such file": ("--rows", "gone.csv", "--out", "out.csv"),
        "--out there.csv: is there already. Name another file; nothing is overwritten.": (
            "--rows", "rows.csv", "--out", "there.csv",
        ),
        "--out rows.csv: is there already": ("--rows", "rows.csv", "--out", "rows.csv"),
        "--out out.xlsx: unknown file type '.xlsx'. Known: .csv": (
            "--rows", "rows.csv", "--out", "out.xlsx",
        ),
        "has columns answer, error, where the answers go. Give them other names, or": (
            "--rows", "taken.csv", "--out", "out.csv",
        ),
        "cannot be written. Not a directory. Use another folder with --out.": (
            "--rows", "rows.csv", "--out", "file/out.csv",
        ),
    }  # fmt: skip
    for message, arguments in cases.items():
        code, said, errors = predict(*arguments)

        assert code == 2, (message, said, errors)
        assert message in errors.replace("\n", " "), errors
    code, _, errors = predict(*fine, method="majority_class")
    assert code == 2
    assert "'majority_class' is a baseline and answers no other rows" in errors
    assert Path("there.csv").read_text() == "keep"
    assert read(Path("rows.csv")) == rows
    assert not Path("out.csv").exists()
    assert not parts_folder(Path("out.csv")).exists()


def test_a_run_that_is_not_there_is_named(predict, monkeypatch, capfd, made):
    asked = ("predict", "nothing", "--rows", "rows.csv", "--out", "o.csv", "--runs", made / "runs")

    code, _, errors = in_process(monkeypatch, capfd, *asked)

    assert code == 2
    assert "nothing: no finished run of that name" in errors


def test_a_killed_command_goes_on_and_answers_nothing_twice(made, predict, monkeypatch):
    number = 6 * CHUNK_ROWS + 10
    many_rows(Path("rows.csv"), number)
    code, _, errors = predict("--rows", "rows.csv", "--out", "whole.csv", method="zero_shot")
    assert code == 0, errors
    folder = parts_folder(Path("out.csv"))
    child = subprocess.Popen(
        [sys.executable, "-m", "workbench", "predict", run_of(made, "zero_shot"),
         "--rows", "rows.csv", "--out", "out.csv"],
        env=os.environ | OFFLINE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    while child.poll() is None and len(list(folder.glob("0*.jsonl"))) < 2:
        time.sleep(0.002)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("0*.jsonl")}
    assert 2 <= len(kept) < 7
    assert not Path("out.csv").exists()
    answered = []
    answer_chunk = chunks.answer_chunk

    def counted(engine: object, fitted: object, chunk: chunks.Chunk, **given: object) -> object:
        answered.append(chunk.number)
        now = {path.name: path.stat().st_mtime_ns for path in folder.glob("0*.jsonl")}
        assert kept.items() <= now.items()  # what was answered before is not written again
        return answer_chunk(engine, fitted, chunk, **given)

    monkeypatch.setattr(chunks, "answer_chunk", counted)
    code, _, errors = predict("--rows", "rows.csv", "--out", "out.csv", method="zero_shot")

    assert code == 0, errors
    done = {int(name.removesuffix(".jsonl")) for name in kept}
    assert answered == [chunk for chunk in range(7) if chunk not in done]
    assert Path("out.csv").read_bytes() == Path("whole.csv").read_bytes()
    assert [row["n"] for row in read(Path("out.csv"))] == [str(i) for i in range(number)]
    assert sorted(path.name for path in Path().iterdir()) == ["out.csv", "rows.csv", "whole.csv"]


def test_workers_answer_the_same_and_one_that_is_killed_costs_nothing(
    made, predict, socket_enabled
):
    many_rows(Path("rows.csv"), 9 * CHUNK_ROWS + 10)
    code, _, errors = predict("--rows", "rows.csv", "--out", "whole.csv")
    assert code == 0, errors
    child = subprocess.Popen(
        [sys.executable, "-m", "workbench", "predict", run_of(made, "lora"),
         "--rows", "rows.csv", "--out", "out.csv", "--workers", "2"],
        env=os.environ | OFFLINE | {"COLUMNS": "300"}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    folder = parts_folder(Path("out.csv"))
    while child.poll() is None and not list(folder.glob("0*.jsonl")):
        time.sleep(0.002)
    workers = [
        one
        for one in psutil.Process(child.pid).children()
        if "spawn_main" in " ".join(one.cmdline())
    ]
    assert len(workers) == 2
    workers[0].kill()
    said, _ = child.communicate(timeout=300)

    assert child.returncode == 0, said
    assert "died (killed by SIGKILL" in said
    assert Path("out.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_ctrl_c_keeps_what_is_answered_and_says_how_many(made, predict):
    many_rows(Path("rows.csv"), 6 * CHUNK_ROWS)
    folder = parts_folder(Path("out.csv"))
    child = subprocess.Popen(
        [sys.executable, "-m", "workbench", "predict", run_of(made, "lora"),
         "--rows", "rows.csv", "--out", "out.csv"],
        env=os.environ | OFFLINE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while child.poll() is None and not list(folder.glob("0*.jsonl")):
        time.sleep(0.002)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)

    kept = len(list(folder.glob("0*.jsonl")))
    assert child.returncode == 130
    assert f"stopped ({kept * CHUNK_ROWS} of {6 * CHUNK_ROWS} rows are answered)" in errors
    assert "the same command goes on from there" in errors
    code, _, errors = predict("--rows", "rows.csv", "--out", "out.csv")
    assert code == 0, errors
    assert len(read(Path("out.csv"))) == 6 * CHUNK_ROWS


@pytest.fixture
def begun(predict, monkeypatch) -> Path:
    """Return the folder of answers of which the disk took one chunk and then no more."""
    many_rows(Path("rows.csv"), 2 * CHUNK_ROWS)
    opened, full = Path.open, OSError(errno.ENOSPC, "No space left on device")

    def open_unless_full(self: Path, mode: str = "r", *more: object, **given: object) -> object:
        if "w" in mode and "0000001.jsonl" in self.name:
            raise full
        return opened(self, mode, *more, **given)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_unless_full)
        code, _, errors = predict("--rows", "rows.csv", "--out", "out.csv", method="zero_shot")
    assert code == 2
    assert "No space is left there" in errors
    assert "Traceback" not in errors
    return parts_folder(Path("out.csv"))


def test_a_full_disk_ends_with_one_message_and_loses_no_answer(begun, predict):
    assert [path.name for path in begun.glob("0*.jsonl")] == ["0000000.jsonl"]

    code, _, errors = predict("--rows", "rows.csv", "--out", "out.csv", method="zero_shot")

    assert code == 0, errors
    assert len(read(Path("out.csv"))) == 2 * CHUNK_ROWS


def test_other_rows_or_another_run_do_not_go_on_from_there(begun, predict):
    before = sorted((path.name, path.read_bytes()) for path in begun.iterdir())
    asked = ("--rows", "rows.csv", "--out", "out.csv")

    code, _, errors = predict(*asked, method="lora")
    assert code == 2
    assert "holds answers that were begun with another run (mood_zero_shot" in errors
    code, _, errors = predict(*asked, "--limit", CHUNK_ROWS, method="zero_shot")
    assert code == 2
    assert f"another number of rows ({2 * CHUNK_ROWS}, now {CHUNK_ROWS})" in errors
    with Path("rows.csv").open("a") as stream:
        stream.write("512,one more\n")
    code, _, errors = predict(*asked, method="zero_shot")
    assert code == 2
    assert "another rows file" in errors
    assert sorted((path.name, path.read_bytes()) for path in begun.iterdir()) == before


def test_two_commands_do_not_answer_one_file(begun, predict):
    with FileLock(begun / ".experiment.lock"):
        code, _, errors = predict("--rows", "rows.csv", "--out", "out.csv", method="zero_shot")

    assert code == 2
    assert "another process is working in it" in errors


def test_a_file_that_appeared_meanwhile_is_not_overwritten(begun, predict):
    Path("out.csv").write_text("mine")

    code, _, errors = predict("--rows", "rows.csv", "--out", "out.csv", method="zero_shot")

    assert code == 2
    assert "is there already" in errors
    assert Path("out.csv").read_text() == "mine"


def test_a_kill_after_the_last_write_is_gone_on_from(predict, monkeypatch):
    many_rows(Path("rows.csv"), 3)
    asked = ("--rows", "rows.csv", "--out", "out.csv")
    with monkeypatch.context() as patch:
        patch.setattr(answering.AnswerParts, "remove", lambda self: sys.exit(9))
        assert predict(*asked, method="zero_shot")[0] == 9
    content = Path("out.csv").read_bytes()
    monkeypatch.setattr("workbench.runs.session.open_session", lambda *a: pytest.fail("loaded"))

    code, _, errors = predict(*asked, method="zero_shot")

    assert code == 0, errors
    assert Path("out.csv").read_bytes() == content
    assert not parts_folder(Path("out.csv")).exists()


def test_rows_that_change_while_they_are_answered_are_noticed(predict, monkeypatch):
    many_rows(Path("rows.csv"), 3)
    answer_chunk = chunks.answer_chunk

    def changed(*given: object, **more: object) -> object:
        with Path("rows.csv").open("a") as stream:
            stream.write("4,more\n")
        return answer_chunk(*given, **more)

    monkeypatch.setattr(chunks, "answer_chunk", changed)

    code, _, errors = predict("--rows", "rows.csv", "--out", "out.csv", method="zero_shot")

    assert code == 2
    assert "rows.csv: was changed while it was read" in errors
    assert not Path("out.csv").exists()


MEASURED = """
import psutil, sys
from workbench.cli import main
from workbench.predicting.parts import AnswerParts
write, taken = AnswerParts.write, []
def measured(self, number, answers):
    write(self, number, answers)
    taken.append(psutil.Process().memory_info().rss)
AnswerParts.write = measured
try:
    main()
finally:
    print("RSS", taken[len(taken) // 10], max(taken), psutil.Process().memory_info().rss)
"""


@pytest.mark.slow
def test_a_hundred_thousand_rows_take_the_memory_of_ten_thousand(tiny_folder, tmp_path):
    """And those of a million that of a hundred thousand: nothing is held but a chunk."""
    number = 100_000
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    base = write_base("llama", tmp_path / "base", tiny_folder, **sizes, **heads)
    write(
        tmp_path / "train.csv", [{"text": f"{w} {i}", "label": w} for i in range(20) for w in "ab"]
    )
    write(tmp_path / "rows.csv", [{"n": str(i), "text": f"{i}"} for i in range(number)])
    done = command(
        "evaluate", "--model", base, "--precision", "fp32", "--train", "train.csv", "--methods",
        "zero_shot", "--out", "runs/mine", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.glob("runs/mine/*_zero_shot_*")

    child = subprocess.run(
        [sys.executable, "-c", MEASURED, "predict", run, "--rows", "rows.csv", "--out", "o.csv"],
        cwd=tmp_path, env=os.environ | OFFLINE, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert child.returncode == 0, child.stderr
    begin, most, end = map(int, child.stdout.split("RSS")[1].split())
    assert max(most, end) - begin < 30_000_000, child.stdout
    with (tmp_path / "o.csv").open(newline="", encoding="utf-8") as stream:
        answered = enumerate(csv.DictReader(stream))
        assert sum(int(row["n"]) == i and row["answer"] in "ab" for i, row in answered) == number


def test_a_run_whose_data_are_gone_is_refused_in_its_own_words(made, predict):
    unlabelled(made, Path("rows.csv"))
    hidden = made / "hidden.csv"
    (made / "train.csv").rename(hidden)
    try:
        code, _, errors = predict("--rows", "rows.csv", "--out", "out.csv")
    finally:
        hidden.rename(made / "train.csv")

    assert code == 2
    assert "the data it was made on (task 'mood'" in errors
