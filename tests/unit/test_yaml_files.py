"""Each way of getting a YAML file wrong has its own message."""

from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from workbench.errors import ConfigError
from workbench.yaml_files import MAX_FILE_BYTES, read_yaml_model


class Inner(BaseModel):
    """Nested model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    path: str | None = None


class Outer(BaseModel):
    """Top-level model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["a", "b"] = "a"
    inner: Inner | None = None
    words: dict[str, str] = Field(default_factory=dict)
    runs: tuple[Inner, ...] = ()
    option: int | bool | None = None

    @field_validator("name")
    @classmethod
    def _short(cls, name: str) -> str:
        if len(name) > 5:
            raise ValueError(f"'{name}' is longer than 5 letters. Shorten it")
        return name


class Range(BaseModel):
    """Two keys that must agree."""

    low: int
    high: int

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}. Swap them.")
        return self


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A relative file name, so that whole messages can be written out."""
    monkeypatch.chdir(tmp_path)
    return Path("x.yaml")


def test_a_correct_file_gives_the_model(write: Path) -> None:
    write.write_text("name: one\nkind: b\ninner: {size: 3}\nruns: [{size: 1}, {size: 2}]\n")

    outer = read_yaml_model(write, Outer)

    assert outer == Outer(
        name="one", kind="b", inner=Inner(size=3), runs=(Inner(size=1), Inner(size=2))
    )


def test_an_anchor_may_be_reused_and_a_byte_order_mark_is_ignored(write: Path) -> None:
    write.write_text("\ufeffname: one\ninner: &i {size: 3}\nruns: [*i, *i]\n", encoding="utf-8")

    outer = read_yaml_model(write, Outer)

    assert outer.runs == (Inner(size=3), Inner(size=3))


PROBLEMS = {
    "unknown key": (
        "name: a\nknd: b\n",
        "x.yaml, knd: unknown key. Did you mean 'kind'? "
        "Known: inner, kind, name, option, runs, words.",
    ),
    "unknown key, nothing close": (
        "name: a\nzzz: b\n",
        "x.yaml, zzz: unknown key. Known: inner, kind, name, option, runs, words.",
    ),
    "unknown nested key": (
        "name: a\ninner: {size: 1, pth: x}\n",
        "x.yaml, inner.pth: unknown key. Did you mean 'path'? Known: path, size.",
    ),
    "unknown key in a list": (
        "name: a\nruns: [{size: 1}, {size: 1, sise: 2}]\n",
        "x.yaml, runs[1].sise: unknown key. Did you mean 'size'? Known: path, size.",
    ),
    "missing key": ("kind: a\n", "x.yaml, name: missing key. Add it."),
    "missing nested key": (
        "name: a\ninner: {path: x}\n",
        "x.yaml, inner.size: missing key. Add it.",
    ),
    "wrong type": ("name: [1]\n", "x.yaml, name: got [1]; should be a valid string."),
    "one value for a mapping and a mapping for a list": (
        "name: a\nwords: b\nruns: {size: 1}\n",
        "x.yaml, words: got 'b'; should be a mapping.\n"
        "x.yaml, runs: got {'size': 1}; should be a list.",
    ),
    "wrong literal": (
        "name: a\nkind: c\n",
        "x.yaml, kind: got 'c'; should be 'a' or 'b'.",
    ),
    "wrong union": (
        "name: a\noption: x\n",
        "x.yaml, option: got 'x'; should be a valid integer, unable to parse string as an "
        "integer. Or: got 'x'; should be a valid boolean, unable to interpret input.",
    ),
    "unquoted yes": (
        "name: a\nwords: {yes: x}\n",
        "x.yaml, words: key True is no text. Put it in quotes.",
    ),
    "unquoted yes as a key of ours": (
        "name: a\nyes: x\n",
        "x.yaml: key True is no text. Put it in quotes.",
    ),
    "validator": (
        "name: abcdefg\n",
        "x.yaml, name: 'abcdefg' is longer than 5 letters. Shorten it.",
    ),
    "all at once": (
        "knd: b\nkind: c\ninner: {size: x}\n",
        "x.yaml, name: missing key. Add it.\n"
        "x.yaml, kind: got 'c'; should be 'a' or 'b'.\n"
        "x.yaml, inner.size: got 'x'; should be a valid integer, unable to parse string as an "
        "integer.\n"
        "x.yaml, knd: unknown key. Did you mean 'kind'? "
        "Known: inner, kind, name, option, runs, words.",
    ),
    "malformed": (
        "name: a: b\n",
        "x.yaml, line 1, column 8: not valid YAML: mapping values are not allowed here. "
        "Check the indentation and quote values that hold ':' or '#'.",
    ),
    "unclosed": (
        "name: [a\n",
        "x.yaml, line 2, column 1: not valid YAML: expected ',' or ']', but got '<stream end>'. "
        "Check the indentation and quote values that hold ':' or '#'.",
    ),
    "python tag": (
        "name: !!python/object/apply:os.system [ls]\n",
        "x.yaml, line 1, column 7: not valid YAML: could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:os.system'. "
        "Check the indentation and quote values that hold ':' or '#'.",
    ),
    "impossible date": (
        "name: 2026-99-99\n",
        "x.yaml: not valid YAML: month must be in 1..12. Put the value in quotes.",
    ),
    "control character": (
        "name: \x01\n",
        "x.yaml: not valid YAML: unacceptable character #x0001: special characters are not "
        "allowed. Check the indentation and quote values that hold ':' or '#'.",
    ),
    "list": (
        "- a\n",
        "x.yaml: the file is a list, not a mapping. Write one 'key: value' per line.",
    ),
    "one value": (
        "hello\n",
        "x.yaml: the file is a single value ('hello'), not a mapping. "
        "Write one 'key: value' per line.",
    ),
    "empty": (
        "",
        "x.yaml: the file is empty, not a mapping. Write one 'key: value' per line.",
    ),
    "deep nesting": (
        "name: " + "[" * 5000 + "]" * 5000,
        "x.yaml: nested too deeply. Write fewer levels.",
    ),
    "a list that holds itself": (
        "name: &a [*a]\n",
        "x.yaml: its references ('*name') stand for more than 100,000 values, or for themselves. "
        "Write out what is meant.",
    ),
    "references to references": (
        "a: &a [x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 8)}]\n" for a, b in pairwise("abcdefgh")),
        "x.yaml: its references ('*name') stand for more than 100,000 values, or for themselves. "
        "Write out what is meant.",
    ),
    "half a character": (
        'name: "\\ud800"\n',
        "x.yaml, line 1, column 7: not valid YAML: half a character (a lone surrogate). Check the "
        "indentation and quote values that hold ':' or '#'.",
    ),
    "a tag before something else": (
        "name: !!timestamp soon\n",
        "x.yaml: not valid YAML for its tag. Put the value in quotes.",
    ),
    "very many problems": (
        "name: a\n" * 30,
        "\n".join(
            f"x.yaml, line {n}: key 'name' was given on line 1 already. Keep one of the two."
            for n in range(2, 22)
        )
        + "\nand 9 more problems.",
    ),
    "duplicate keys": (
        "name: a\ninner:\n  size: 1\n  size: 2\nname: b\n"
        "runs:\n- {size: 1}\n- size: 1\n  size: 2\n",
        "x.yaml, line 4: key 'size' was given on line 3 already. Keep one of the two.\n"
        "x.yaml, line 5: key 'name' was given on line 1 already. Keep one of the two.\n"
        "x.yaml, line 9: key 'size' was given on line 8 already. Keep one of the two.",
    ),
    "duplicate key on one line": (
        "name: a\ninner: {size: 1, size: 2}\n",
        "x.yaml, line 2: key 'size' was given on line 2 already. Keep one of the two.",
    ),
}


@pytest.mark.parametrize(("text", "message"), PROBLEMS.values(), ids=PROBLEMS)
def test_a_wrong_file_says_where_what_and_what_to_do(write: Path, text: str, message: str) -> None:
    write.write_text(text)

    with pytest.raises(ConfigError) as error:
        read_yaml_model(write, Outer)

    assert str(error.value) == message


def test_a_check_over_several_keys_names_the_file_alone(write: Path) -> None:
    write.write_text("low: 2\nhigh: 1\n")

    with pytest.raises(ConfigError) as error:
        read_yaml_model(write, Range)

    assert str(error.value) == "x.yaml: low 2 is above high 1. Swap them."


def test_a_missing_file_is_named(write: Path) -> None:
    with pytest.raises(ConfigError) as error:
        read_yaml_model(write, Outer)

    assert str(error.value) == "x.yaml: no such file. Check the path."


def test_a_folder_is_refused(write: Path) -> None:
    write.mkdir()

    with pytest.raises(ConfigError) as error:
        read_yaml_model(write, Outer)

    assert str(error.value) == "x.yaml: a folder, not a file. Give a YAML file."


def test_a_path_the_system_refuses_gives_the_system_reason() -> None:
    path = Path("x" * 300)

    with pytest.raises(ConfigError) as error:
        read_yaml_model(path, Outer)

    assert str(error.value) == f"{path}: cannot be read: File name too long."


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_another_encoding_is_refused(write: Path, mark: bytes) -> None:
    content = mark + "name: café\n".encode("latin-1")
    write.write_bytes(content)

    with pytest.raises(ConfigError) as error:
        read_yaml_model(write, Outer)

    place = content.index(b"\xe9")
    assert str(error.value) == f"x.yaml: byte {place} is not UTF-8. Save the file as UTF-8."


def test_a_huge_file_is_refused(write: Path) -> None:
    write.write_text("#" * (MAX_FILE_BYTES + 1))

    with pytest.raises(ConfigError) as error:
        read_yaml_model(write, Outer)

    assert str(error.value) == (
        "x.yaml: the file has 1000001 bytes; at most 1000000 are read. "
        "Keep data in files of its own."
    )
