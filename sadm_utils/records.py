"""The small files of a run: written whole or not at all, hashed, and read with clear errors."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sadm_utils.errors import UserError, writing


def read_record(path: Path) -> dict[str, Any]:
    """Read a ``record.json``; a damaged one is an error that names it."""
    try:
        record = json.loads(path.read_text())
        if {"key", "identity", "parents", "metrics"} <= set(record):
            return record
    except (OSError, ValueError, TypeError):
        pass
    raise UserError(f"{path} is damaged: delete the folder {path.parent} and rerun the stage.")


@dataclass(frozen=True)
class Header:
    """What a stage's ``config.yaml`` tells: its key and its resolved settings."""

    key: str
    settings: dict[str, Any]


def read_header(path: Path) -> Header:
    """Read a stage's ``config.yaml``; a damaged one is an error that names it."""
    try:
        tree = yaml.safe_load(path.read_text())
        return Header(tree["key"], dict(tree["settings"]))
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
        raise UserError(
            f"{path} is missing or damaged: delete the folder {path.parent} and rerun the stage."
        ) from None


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees either the old or the new one, never a part.

    Raises
    ------
    UserError
        If the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with writing(path):
            if isinstance(content, str):
                temporary.write_text(content)
            else:
                temporary.write_bytes(content)
            os.replace(temporary, path)
    except UserError:
        temporary.unlink(missing_ok=True)
        raise


def hash_file(path: Path) -> str:
    """SHA-256 of a file, as 16 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def hash_tree(tree: Any) -> str:
    """SHA-256 of nested plain values, as 16 hexadecimal digits."""
    text = json.dumps(tree, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
