"""The open data sets that ``sadm fetch`` knows: where their lists of files are, and what to take.

No checksum is kept here: the lists that the hosts publish hold size and checksum of every file (MD5
in an S3 listing, SHA-1 in a git tree).
"""

from __future__ import annotations

import hashlib
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sadm_utils.data.sources.table import Release
from sadm_utils.errors import UserError

BLOCK = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch: its path in the set, its size in bytes, its checksum (``md5:`` or ``git:``,
    or empty if the host publishes none)."""

    path: str
    size: int
    digest: str


@dataclass(frozen=True)
class Origin:
    """Where an open set is.

    Attributes
    ----------
    release
        What to know about the set.
    index
        Address of the list of files, and the function that reads it.
    keep
        Regular expression of the paths to take.
    bases
        Addresses that a path is put behind: the first, and further sources.
    """

    release: Release
    index: str
    read_index: Callable[[bytes], list[RemoteFile]]
    keep: str
    bases: tuple[str, ...]


def read_s3_listing(text: bytes) -> list[RemoteFile]:
    """Files of an S3 listing (``ListObjectsV2``), by key.

    Raises
    ------
    ValueError
        The text is no listing, or one that goes on in a second part.
    """
    root = ET.fromstring(text)
    space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
    if not root.tag.endswith("ListBucketResult") or root.findtext(f"{space}IsTruncated") == "true":
        raise ValueError("no complete listing")
    files = []
    for entry in root.iter(f"{space}Contents"):
        tag = (entry.findtext(f"{space}ETag") or "").strip('"')
        # Of an upload in parts the tag is no checksum of the file.
        digest = f"md5:{tag}" if re.fullmatch(r"[0-9a-f]{32}", tag) else ""
        key, size = entry.findtext(f"{space}Key"), entry.findtext(f"{space}Size")
        files.append(RemoteFile(str(key), int(size or 0), digest))
    return files


def read_git_tree(text: bytes) -> list[RemoteFile]:
    """Files of a git tree, as GitHub's interface gives it.

    Raises
    ------
    ValueError
        The text is no tree, or an incomplete one.
    """
    tree = json.loads(text)
    if not isinstance(tree, dict) or "tree" not in tree or tree.get("truncated"):
        raise ValueError("no complete tree")
    return [
        RemoteFile(entry["path"], int(entry["size"]), f"git:{entry['sha']}")
        for entry in tree["tree"] if entry.get("type") == "blob"
    ]


def fits(file: Path, remote: RemoteFile) -> bool:
    """Whether a file on disk has the size and the checksum that its host names."""
    if not file.is_file() or file.stat().st_size != remote.size:
        return False
    kind, _, expected = remote.digest.partition(":")
    if not kind:
        return True
    if kind == "git":  # the object's header counts too
        digest = hashlib.sha1(f"blob {remote.size}\0".encode(), usedforsecurity=False)
    else:
        digest = hashlib.md5(usedforsecurity=False)
    with open(file, "rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest() == expected


def origins() -> dict[str, Origin]:
    """The sets that can be fetched, by name."""
    from sadm_utils.data.sources import bids, mslub

    git = "muschellij2/open_ms_data"
    return {
        "ds002748": Origin(
            bids.DS002748,
            "https://s3.amazonaws.com/openneuro.org/?list-type=2&prefix=ds002748/",
            read_s3_listing,
            r"ds002748/(sub-\d+/anat/sub-\d+_T1w\.nii\.gz|participants\.tsv|"
            r"dataset_description\.json|README|CHANGES)",
            ("https://s3.amazonaws.com/openneuro.org/",
             "https://openneuro.org.s3.amazonaws.com/"),
        ),
        "mslub": Origin(
            mslub.RELEASE,
            f"https://api.github.com/repos/{git}/git/trees/master?recursive=1",
            read_git_tree,
            r"cross_sectional/(LICENSE\.txt|coregistered/patient\d+/"
            r"(patient\d+_)?(T1W|brainmask|consensus_gt)\.nii\.gz)",
            (f"https://raw.githubusercontent.com/{git}/master/",
             f"https://cdn.jsdelivr.net/gh/{git}@master/"),
        ),
    }  # fmt: skip


def choose(name: str) -> Origin:
    """The set of a name.

    Raises
    ------
    UserError
        If it is none of :func:`origins`.
    """
    known = origins()
    if name not in known:
        raise UserError(f"Unknown open data set {name!r}: choose one of {', '.join(known)}.")
    return known[name]
