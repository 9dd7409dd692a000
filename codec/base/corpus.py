"""A folder of training material: clips/, photos/, and CORPUS.md, which lists every one of them with its licence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from codec.errors import BaseError

HELD = ("soccer_juggle", "vscode", "face_man")  # clips that no base is trained on: evaluations are of these
SHARE_ALIKE = re.compile(r"\bBY-(NC-)?SA\b|share-?alike|\bGFDL\b", re.IGNORECASE)


@dataclass(frozen=True)
class Item:
    """A clip or photograph, and what CORPUS.md says of it."""

    path: Path
    licence: str
    attribution: str


@dataclass(frozen=True)
class Corpus:
    """What may be trained on, and what is held back from it."""

    clips: tuple[Item, ...]
    photos: tuple[Item, ...]
    held: tuple[Item, ...]  # clips


def read_corpus(folder: Path) -> Corpus:
    """All material but what CORPUS.md does not list or lists as share-alike: such weights could not ship.

    Raises BaseError for a folder that is laid out otherwise, or that has no clip to train on.
    """
    try:
        text = (folder / "CORPUS.md").read_text()
        found = {kind: sorted((folder / kind).iterdir()) for kind in ("clips", "photos") if (folder / kind).is_dir()}
    except (OSError, UnicodeError) as error:
        raise BaseError(
            f"cannot read {folder / 'CORPUS.md'}: DATA is a folder with clips/, photos/ and CORPUS.md, a table of "
            "names, licences and attributions"
        ) from error
    listed = dict(_rows(text))
    items = {
        kind: [
            Item(path, *listed[name])
            for path in paths
            if (name := path.stem if path.stem in listed else path.name) in listed
            and not SHARE_ALIKE.search(" ".join(listed[name]))
        ]
        for kind, paths in found.items()
    }
    clips = items.get("clips", [])
    corpus = Corpus(
        tuple(c for c in clips if c.path.stem not in HELD),
        tuple(items.get("photos", [])),
        tuple(c for c in clips if c.path.stem in HELD),
    )
    if not corpus.clips:
        raise BaseError(f"{folder} has no clip to train on: none in clips/ stands in CORPUS.md under a free licence")
    return corpus


def _rows(text: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Name, licence and attribution of every row of a table that has columns of these names."""
    columns: dict[str, int] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            columns = {}
        elif {"name", "licence"} <= set(cells):
            columns = {name: place for place, name in enumerate(cells)}
        elif columns and len(cells) >= len(columns) and not set(line) <= set("|-: "):
            # an attribution may hold a bar itself; it stands last
            attribution = " | ".join(cells[columns["attribution"] :]) if "attribution" in columns else ""
            yield cells[columns["name"]], (cells[columns["licence"]], attribution)
