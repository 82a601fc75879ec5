"""Inputs made of inputs: bytes changed blindly, and changed by one who knows their form."""

import io
import json
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from random import Random
from typing import Any

Mutation = Callable[[bytes, Random], bytes]

MOST_BYTES = 20_000
# fmt: off
TOKENS = (
    *(
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\r",
        b"\n",
        b"\n\n",
        b"\t",
        b'"',
        b'""',
        b"'",
        b"\\",
        b",",
    ),
    *(b",", b";", b"|", b"{", b"}", b"[", b"]", b"[]", b"{}", b":", b": ", b"- ", b"? "),
    *(b"#", b"&a "),
    *(b"*a", b"<<: *a", b"!!", b"!!int ", b"!!float ", b"!!bool ", b"!!timestamp ", b"!!binary "),
    *(
        b"!!set ",
        b"!!omap ",
        b"!!null ",
        b"!!str ",
        b"|-\n",
        b">\n",
        b"---\n",
        b"...\n",
        b"%YAML 1.1",
    ),
    *(
        b"null",
        b"true",
        b"yes",
        b"nan",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"-1",
        b"0",
        b"1_000",
        b"0x1f",
    ),
    *(b"2026-99-99", b"12:30", b"0x" + b"f" * 5000, b"9" * 400, b"1" * 5000, b"[" * 400),
    *(b"{a: " * 100, b"- " * 200, b"\xed\xa0\x80", b"\\ud800", b"\xe2\x80\xa8", b"\xe2\x80\x8b"),
    *("\u0315\u0323".encode() * 200, "é".encode(), "\U0001f600".encode(), b"../", b"/etc/passwd"),
    *(b"%2e%2e", b"file://", b"http://127.0.0.1", b"\x1b[31m", b"sep=;\n", b"upload:", b"edited:"),
    *(b"run:", b"import:", b"words:", b"example:", b"{text}", b"{{text}}", b"{labels}"),
)
VALUES: Sequence[object] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**400, -(10**20), 0.5, 1e308, -0.0),
    *(
        float("nan"),
        float("inf"),
        "",
        " ",
        "x",
        "\0",
        "\ud800",
        "é",
        "\u200b",
        "../x",
        "/etc/passwd",
    ),
    *(
        "1e-3",
        "0x10",
        "nan",
        "1" * 5000,
        "x" * 5000,
        [],
        {},
        [[]],
        [None],
        {"": None},
        [1, "x", {}],
    ),
    *({"a": {"a": {"a": {}}}}, "http://127.0.0.1/x", "{text}", "{labels}", "run:x", "upload:x"),
)
_RAW = ("1e999", "NaN", "-Infinity", "[" * 3000, '{"a":' * 3000, "1" * 5000, '"\\ud800"', "", "01")
# fmt: on
_HOLE = "\ue123hole"


def mutated(
    content: bytes, draw: Random, *, own: Sequence[Mutation], seeds: Sequence[bytes]
) -> bytes:
    """Return an input changed a few times, by its form's own mutations and blindly."""
    for _ in range(1 + min(int(draw.expovariate(0.7)), 6)):
        if own and draw.random() < 0.65:
            with suppress(RecursionError):  # as deep as can be already
                content = draw.choice(own)(content, draw)
        else:
            content = changed_bytes(content, draw, seeds)
    return content[:MOST_BYTES]


def changed_bytes(content: bytes, draw: Random, seeds: Sequence[bytes]) -> bytes:
    """Return bytes with one change that needs no knowledge of what they are."""
    size = len(content)
    at, end = sorted((draw.randint(0, size), draw.randint(0, size)))
    end = min(end, at + draw.choice((1, 4, 16, 64, 4096)))
    what = draw.randrange(7)
    if what == 0:
        return content[:at]  # as a full disk or a lost power supply leaves it
    if what == 1:
        return content[:at] + content[end:]
    if what == 2:
        return content[:at] + content[at:end] * draw.choice((2, 3, 50)) + content[end:]
    if what == 3:
        return content[:at] + draw.randbytes(draw.choice((1, 2, 4, 8))) + content[end:]
    if what == 4 and seeds:
        other = draw.choice(seeds)
        return content[:at] + other[draw.randint(0, len(other)) :]
    if what == 5 and size:
        flipped = bytearray(content)
        flipped[draw.randrange(size)] ^= 1 << draw.randrange(8)
        return bytes(flipped)
    return content[:at] + draw.choice(TOKENS) + content[end if draw.random() < 0.5 else at :]


def changed_json(content: bytes, draw: Random) -> bytes:
    """Return JSON, a document or one on each line, with one value or key changed."""
    lines = content.split(b"\n")
    one_each = len(lines) > 2 and lines[0].startswith(b"{") and lines[0].endswith(b"}")
    place = draw.randrange(len(lines)) if one_each else 0
    try:
        document = json.loads(lines[place] if one_each else content)
    except (ValueError, RecursionError):
        return content
    if one_each:
        lines[place] = _dumped(document, draw)
        return b"\n".join(lines)
    return _dumped(document, draw)


def _dumped(document: Any, draw: Random) -> bytes:
    document = changed_value(document, draw)
    raw = draw.choice(_RAW) if draw.random() < 0.1 else None
    if raw is not None:
        document = changed_value(document, draw, _HOLE)
    try:
        text = json.dumps(document, ensure_ascii=draw.random() < 0.7)
    except (ValueError, RecursionError):
        return b"["
    if raw is not None:
        text = text.replace(json.dumps(_HOLE), raw).replace(f'"{_HOLE}"', raw)
    return text.encode("utf-8", "surrogatepass")


def changed_value(document: Any, draw: Random, value: object = None) -> Any:
    """Return plain data with one part changed, taken away, doubled, renamed or put elsewhere."""
    document = deepcopy(document)
    places = [((), document)]
    parts: list[tuple[Any, Any]] = []
    while places:
        path, here = places.pop()
        entries = (
            list(here.items())
            if isinstance(here, dict)
            else list(enumerate(here))
            if isinstance(here, list)
            else []
        )
        for key, inner in entries:
            parts.append((here, key))
            places.append(((*path, key), inner))
    new = deepcopy(draw.choice(VALUES)) if value is None else value
    if not parts or draw.random() < 0.03:
        return new
    holder, key = draw.choice(parts)
    other_holder, other_key = draw.choice(parts)
    what = 0 if value is not None else draw.randrange(10)
    if what <= 4:
        holder[key] = new
    elif what == 5:
        del holder[key]
    elif what == 6:
        holder[key] = deepcopy(other_holder[other_key])
    elif what == 7 and isinstance(holder, dict):
        name = draw.choice(("", "x", "path", "meta", "é", "\ud800", "a.b", str(other_key)))
        holder[name] = holder.pop(key)
    elif what == 8:
        depth = draw.choice((1, 5, 100, 500, draw.randrange(850, 1000)))
        for _ in range(depth):
            holder[key] = [holder[key]] if draw.random() < 0.5 else {"a": holder[key]}
    elif isinstance(holder, list):
        holder.extend(deepcopy(holder) * draw.choice((1, 10)))
    else:
        holder[str(other_key)] = new
    return document


def changed_lines(content: bytes, draw: Random) -> bytes:
    """Return text with a line moved, repeated, indented, or with another value after its colon."""
    lines = content.split(b"\n")
    at = draw.randrange(len(lines))
    what = draw.randrange(5)
    if what == 0:
        lines.insert(draw.randrange(len(lines) + 1), lines[at])
    elif what == 1:
        lines[at] = b" " * draw.randrange(5) + lines[at].strip()
    elif what == 2:
        del lines[at]
    elif what == 3:
        head, sign, _ = lines[at].partition(b":")
        value = json.dumps(draw.choice(VALUES), ensure_ascii=draw.random() < 0.5)
        lines[at] = head + (sign or b":") + b" " + value.encode("utf-8", "surrogatepass")
    else:
        head, sign, value = lines[at].partition(b":")
        lines[at] = head + sign + b" " + draw.choice(TOKENS) + value
    return b"\n".join(lines)


def changed_parts(
    content: bytes,
    draw: Random,
    *,
    split: Callable[[bytes], dict[str, bytes]],
    join: Callable[[Mapping[str, bytes]], bytes],
) -> bytes:
    """Return several files in one with one of them changed, taken away or cut."""
    parts = split(content)
    if not parts:
        return content
    name = draw.choice(sorted(parts))
    what = draw.random()
    if what < 0.05:
        del parts[name]
    elif what < 0.15:
        parts[name] = parts[name][: draw.randint(0, len(parts[name]))]
    elif what < 0.25:
        parts[name] = changed_bytes(parts[name], draw, [])
    elif name.endswith((".yaml", ".csv")):
        parts[name] = changed_lines(parts[name], draw)
    elif name.endswith(".safetensors"):
        parts[name] = changed_tensors(parts[name], draw)
    else:
        parts[name] = changed_json(parts[name], draw)
    return join(parts)


def changed_tensors(content: bytes, draw: Random) -> bytes:
    """Return a safetensors file with its header changed, and its length told again."""
    length = int.from_bytes(content[:8], "little")
    header, rest = content[8 : 8 + length], content[8 + length :]
    what = draw.random()
    if what < 0.15:
        rest = changed_bytes(rest, draw, [])
    else:
        header = changed_json(header, draw)
    if what > 0.9:
        return draw.randbytes(8) + header + rest
    return len(header).to_bytes(8, "little") + header + rest


def changed_zip(content: bytes, draw: Random) -> bytes:
    """Return a zip written anew with one entry renamed, doubled, packed otherwise or changed."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [(i, archive.read(i)) for i in archive.infolist()[:20] if i.file_size < 10**6]
    except Exception:  # whatever a damaged zip makes zipfile say
        return changed_bytes(content, draw, [])
    if not entries:
        return content
    at = draw.randrange(len(entries))
    info, body = entries[at]
    what = draw.randrange(6)
    if what == 0:
        names = ("../x", "/x", "a/../b", "", "x\0y", "C:x", "a\\b", "checkpoint-1/x", "x.pkl", ".")
        info.filename = info.orig_filename = draw.choice(names) + draw.choice(("", info.filename))
    elif what == 1:
        info.compress_type = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, 12, 14))
    elif what == 2:
        entries.append((deepcopy(info), body))
    elif what == 3:
        body = (
            changed_tensors(body, draw) if info.filename.endswith("s") else changed_json(body, draw)
        )
    elif what == 4:
        info.external_attr = draw.choice((0o120777, 0o020000, 0o040755, 0o100644)) << 16
    else:
        body = b"\0" * draw.choice((0, 10, 100_000))
    entries[at] = (info, body)
    stream = io.BytesIO()
    try:
        with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
            warnings.simplefilter("ignore")  # about names given twice
            for one, inner in entries:
                archive.writestr(one, inner)
    except Exception:  # a name or a kind that zipfile does not write
        return content
    written = bytearray(stream.getvalue())
    if draw.random() < 0.3:  # a field of the table of contents
        table = written.rfind(b"PK\x01\x02")
        place = table + draw.randrange(4, 46)
        written[place : place + 4] = draw.choice((b"\xff" * 4, b"\0" * 4, draw.randbytes(4)))
    return bytes(written)
