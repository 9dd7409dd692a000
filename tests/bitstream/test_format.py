"""FORMAT.md is held to the code: names, order, ranges, constants."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import bitstream
from bitstream import fields, file, frame_table, frequencies, header, tables
from bitstream.container import MAGIC, VERSION
from bitstream.fields import Kind, Maybe, OneOf, Record
from codec import specs
from codec.network.predictive.symbols import PARTS

TEXT = (Path(bitstream.__file__).parent / "FORMAT.md").read_text()


def section(title: str) -> str:
    """The text under a heading, up to the next of the same or a higher level."""
    level = title.split()[0]
    body = TEXT.split(f"\n{title}\n")[1]
    return re.split(rf"^#{{1,{len(level)}}} ", body, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows, without headings."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = {i - 1 for i, row in enumerate(cells) if set(row[0]) == {"-"}}
    return [row for i, row in enumerate(cells) if i not in heads and set(row[0]) != {"-"}]


def flat(record: Record, prefix: str = "") -> Iterator[tuple[str, Kind]]:
    for name, kind in record.fields:
        inner = kind.kind if isinstance(kind, Maybe) else kind.other if isinstance(kind, OneOf) else kind
        if isinstance(kind, Maybe):
            yield prefix + name, kind
        if isinstance(inner, Record):
            yield from flat(inner, f"{prefix}{name}.")
        else:
            yield prefix + name, kind


def described(kind: Kind) -> list[str]:
    """What the row of a field must say of its kind."""
    match kind:
        case fields.Uint(low, high):
            return ["uint", f"{low}..{high}"]
        case fields.Tuple(kinds):
            return [f"{len(kinds)} uint", *described(kinds[0])]
        case fields.Repeated(item, low, high):
            return [f"uint {low}..{high}, then so many uint", *described(item)]
        case fields.Text(size):
            return [f"text({size})"]
        case fields.Blob(size) | fields.Hex(size):
            return [f"blob({size})"]
        case fields.Float64():
            return ["float64", "1/64..64, or -1"]
        case _:
            return [
                {"Ratio": "ratio", "Bool": "bool", "Maybe": "bool, then", "Float32": "float32"}[type(kind).__name__]
            ]


def test_the_header_table_is_the_list_of_fields() -> None:
    table = rows(section("## HEAD").split("\n### ")[0])
    expected = list(flat(header.HEADER))
    assert [row[0] for row in table] == [name for name, _ in expected]
    for row, (name, kind) in zip(table, expected, strict=True):
        cells = " ".join(row[1:3]).replace("2^32 - 1", str(2**32 - 1)).replace("2^20", str(2**20))
        for words in described(kind):
            assert words in cells, f"{name} does not say {words!r}"


def test_the_quality_table_is_the_list_of_fields() -> None:
    names = [name for row in rows(section("## qual")) for name in row[0].split(", ")]
    assert names == [name for name, _ in header.QUALITY.fields]


def test_chunk_types_are_those_of_the_code() -> None:
    types = [row[0].strip("`").encode() for row in rows(section("### Order of chunks"))]
    assert types == [file.HEAD, file.TIME, file.QUAL, file.INDX, file.SEGM, file.TAIL]
    for kind in types:
        assert f"\n## {kind.decode()}\n" in TEXT


def test_magic_and_version() -> None:
    magic, version, _ = rows(section("## File").split("### ")[0])
    assert bytes.fromhex(magic[2].strip("`")) == MAGIC
    assert version[2].startswith(f"{VERSION};")
    assert TEXT.splitlines()[2].startswith(f"Format version {VERSION}.")


def test_ratios_are_those_of_the_code() -> None:
    blocks = re.findall(r"```\n(.*?)```", section("## Frequency tables"), flags=re.DOTALL)
    shares, laplace, gaussian = (tuple(map(int, block.replace("\n", " ").split(","))) for block in blocks)
    assert laplace == tables._LAPLACE_RATIOS
    assert gaussian == tables._GAUSSIAN_RATIOS
    assert shares == tables._PEAKED_SHARES


def test_mantissas_and_digest_are_those_of_the_code() -> None:
    mantissas = re.search(r"^m = ([\d, ]+)\.$", section("## Step table"), flags=re.MULTILINE)
    assert mantissas is not None
    assert tuple(map(int, mantissas[1].split(","))) == tables._STEP_MANTISSAS
    assert hashlib.sha256(frequencies().astype("<u4").tobytes()).hexdigest() in section("## Frequency tables")


def test_the_record_of_a_predictive_network_is_the_list_of_fields() -> None:
    table = rows(section("### Predictive"))
    assert [row[0] for row in table] == [f"architecture.{name}" for name, _ in header.PREDICTIVE.fields]
    for row, (_, kind) in zip(table, header.PREDICTIVE.fields, strict=True):
        assert described(kind)[0] == row[1]


def test_columns_and_ranges_of_coded_frames_are_those_of_the_code() -> None:
    table = rows(section("### Coded frames"))
    names = [row[0] for row in table]
    start = names.index(frame_table.COLUMNS[0])
    columns = {row[0]: row[-1] for row in table[start:]}
    assert tuple(columns) == frame_table.COLUMNS
    assert f"quality index, 0..{frame_table.QUALITIES - 1}," in columns["quality"]
    assert f"0..{frame_table.MAX_REFERENCES}" in columns["references"]
    assert f"0..{frame_table.MAX_DIGITS}" in columns["digits"]
    assert f"at most {frame_table.MAX_DEPTH} deep" in section("### Coded frames")
    fields_of_table = {row[0]: row for row in table[:start]}
    assert fields_of_table["rows"][1] == f"{len(frame_table.COLUMNS)} bytes"
    assert fields_of_table["kinds"][2] == f"1..{frame_table.FLAG_LIMIT}"
    assert fields_of_table["flags"][2] == f"0..{frame_table.FLAG_LIMIT - 1}"
    named = dict(re.findall(r"(\d+) (motion|hyper-latents|latents)", fields_of_table["flags"][3]))
    assert named == {str(flag): name for flag, name in PARTS.items()}


def test_every_legal_name_of_a_network_is_on_the_page() -> None:
    legal = {row[0].removeprefix("architecture."): re.findall(r"`([^`]+)`", row[2]) for row in rows(section("## HEAD"))}
    assert set(legal["conv_type"]) == set(specs.CONV_TYPES)
    assert set(legal["act"]) == set(specs.ACTIVATIONS)
    assert set(legal["norm"]) == set(specs.NORMS)
    assert set(legal["out_bias"]) == set(specs.OUTPUTS)
    described = section("## Network")
    for name in (*specs.CONV_TYPES, *specs.ACTIVATIONS):
        assert f"`{name}`" in described
    for text in re.findall(r"`((?:pe|grid|hnerv)_[0-9.]+[0-9._]*)`", TEXT):
        assert str(specs.parse_embed(text)) == text
