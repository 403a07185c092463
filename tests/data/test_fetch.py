"""Fetching from a server that breaks connections, sends wrong bytes and knows ranges, or not."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from sadm_utils.data import fetch as module
from sadm_utils.data.fetch import fetch
from sadm_utils.data.open_sets import (
    RemoteFile,
    choose,
    fits,
    origins,
    read_git_tree,
    read_s3_listing,
)
from sadm_utils.errors import UserError

NAMES = [f"ds002748/sub-{n:02d}/anat/sub-{n:02d}_T1w.nii.gz" for n in (1, 2, 3)]
CONTENT = {
    **{name: np.random.default_rng(i).bytes(50_000 + i) for i, name in enumerate(NAMES)},
    "ds002748/participants.tsv": b"participant_id\tage\n",
    "ds002748/sub-01/func/sub-01_task-rest_bold.nii.gz": b"not wanted",
}


def listing(truncated: str = "false") -> bytes:
    entries = "".join(
        f"<Contents><Key>{name}</Key><ETag>&quot;{hashlib.md5(data).hexdigest()}&quot;</ETag>"
        f"<Size>{len(data)}</Size></Contents>"
        for name, data in CONTENT.items()
    )
    space = "http://s3.amazonaws.com/doc/2006-03-01/"
    return (
        f'<?xml version="1.0"?><ListBucketResult xmlns="{space}">'
        f"<IsTruncated>{truncated}</IsTruncated>{entries}</ListBucketResult>"
    ).encode()


def listed(name: str) -> RemoteFile:
    """What the listing says of a file."""
    return next(file for file in read_s3_listing(listing()) if file.path == name)


class Server(ThreadingHTTPServer):
    """Serves CONTENT; ``faults`` says what goes wrong with how many of the next answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: Counter[str] = Counter()
        self.asked: list[tuple[str, str]] = []
        self.ranges = True

    def takes(self, fault: str) -> bool:
        taken = self.faults[fault] > 0
        self.faults[fault] -= taken
        return taken

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:  # noqa: N802
        wanted = self.headers.get("Range", "")
        self.server.asked.append((self.path, wanted))
        if self.path == "/index":
            data = b"<html>busy</html>" if self.server.takes("index") else listing()
        else:
            data = CONTENT.get(self.path.lstrip("/"), b"")
        if not data or self.takes("missing"):
            self.send_error(404)
            return
        if self.takes("busy"):
            self.send_error(503)
            return
        start = int(wanted[6:-1]) if wanted and self.server.ranges else 0
        body = data[start:]
        if self.takes("wrong"):
            body = bytes(len(body))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.takes("break"):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.connection.close()
            return
        self.wfile.write(body)

    def takes(self, fault: str) -> bool:
        """Whether this answer, if it is a file of the set, is to have the fault."""
        return self.path != "/index" and self.server.takes(fault)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setattr(module, "choose", lambda name: lonely(choose(name)))
        yield running
        running.shutdown()


def lonely(origin):
    """The origin without its real addresses: tests must not leave this machine."""
    return type(origin)(
        origin.release, "http://127.0.0.1:9/index", origin.read_index, origin.keep, ()
    )


def get(server: Server, out: Path, **options) -> list[str]:
    said: list[str] = []
    fetch("ds002748", out, show=said.append, mirror=server.url, **options)
    return said


def complete(out: Path) -> bool:
    wanted = [name for name in CONTENT if "func" not in name]
    here = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    return here == set(wanted) and all((out / n).read_bytes() == CONTENT[n] for n in wanted)


def test_size_and_license_come_first_and_everything_arrives(server, tmp_path) -> None:
    said = get(server, tmp_path)
    assert said[0] == "OpenNeuro ds002748: 4 files, 0 MB; license CC0." and "cite" in said[1]
    assert complete(tmp_path) and said[-1].startswith("Complete")
    assert not any("func" in path for path, _ in server.asked)


def test_only_show_fetches_nothing(server, tmp_path) -> None:
    said = get(server, tmp_path, only_show=True)
    assert len(said) == 2 and not list(tmp_path.iterdir())


def test_broken_connections_are_resumed(server, tmp_path) -> None:
    server.faults["break"] = 3
    get(server, tmp_path)
    assert complete(tmp_path)
    resumed = [wanted for _, wanted in server.asked if wanted]
    assert len(resumed) == 3 and resumed[0] == "bytes=9-", "the first file has 19 bytes"


def test_server_without_ranges_starts_anew(server, tmp_path) -> None:
    server.faults["break"], server.ranges = 2, False
    get(server, tmp_path)
    assert complete(tmp_path)


def test_wrong_bytes_are_thrown_away(server, tmp_path) -> None:
    server.faults["wrong"] = 2
    said = get(server, tmp_path)
    assert complete(tmp_path) and sum("is damaged: trying again" in s for s in said) == 2


def test_damage_that_does_not_end_is_a_sentence(server, tmp_path) -> None:
    remote = listed(NAMES[1])
    server.faults["wrong"] = 99
    with pytest.raises(UserError, match="sub-02_T1w.nii.gz cannot be had .*checksum is wrong"):
        module.fetch_file(remote, tmp_path / "f", (f"{server.url}/",), lambda _: None)
    assert not list(tmp_path.glob("f*")) and len(server.asked) == module.TRIES


def test_run_that_was_stopped_goes_on_where_it_was(server, tmp_path) -> None:
    get(server, tmp_path)
    (tmp_path / NAMES[1]).unlink()
    part = tmp_path / f"{NAMES[2]}.part"
    (tmp_path / NAMES[2]).unlink()
    part.write_bytes(CONTENT[NAMES[2]][:30_000])
    (tmp_path / NAMES[0]).write_bytes(b"changed")
    server.asked.clear()
    said = get(server, tmp_path)
    assert complete(tmp_path) and any("1 files are here" in sentence for sentence in said)
    asked = dict(server.asked)
    assert asked["/" + NAMES[2]] == "bytes=30000-" and "/ds002748/participants.tsv" not in asked


def test_part_that_is_too_long_or_complete(server, tmp_path) -> None:
    for extra in (b"too much", b""):
        part = tmp_path / f"{NAMES[2]}.part"
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(CONTENT[NAMES[2]] + extra)
        get(server, tmp_path)
        assert complete(tmp_path)
        (tmp_path / NAMES[2]).unlink()


def test_second_source(server, tmp_path) -> None:
    remote = listed(NAMES[0])
    bases = ("http://127.0.0.1:9/", f"{server.url}/")
    file = module.fetch_file(remote, tmp_path / "f", bases, lambda _: None)
    assert file.read_bytes() == CONTENT[NAMES[0]]


def test_busy_server_is_asked_again(server, tmp_path) -> None:
    server.faults["index"], server.faults["busy"] = 2, 2
    get(server, tmp_path)
    assert complete(tmp_path)


def test_missing_file_is_a_sentence(server, tmp_path) -> None:
    remote = listed(NAMES[0])
    server.faults["missing"] = 9
    with pytest.raises(UserError, match="from 1 sources .the server answered 404.: run the"):
        module.fetch_file(remote, tmp_path / "f", (f"{server.url}/",), lambda _: None)
    assert len(server.asked) == 1, "what is not there is not asked for again"


def test_offline_is_one_sentence(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    monkeypatch.setattr(module, "choose", lambda name: lonely(choose(name)))
    with pytest.raises(UserError, match="cannot be had .no connection.*by hand .*openneuro") as e:
        fetch("ds002748", tmp_path / "x", show=lambda _: None)
    assert "\n" not in str(e.value) and not (tmp_path / "x").exists()


def test_full_disk(server, tmp_path, monkeypatch) -> None:
    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_download", no_space)
    with pytest.raises(UserError, match="disk is full"):
        get(server, tmp_path)


def test_unknown_set(tmp_path) -> None:
    with pytest.raises(UserError, match="Unknown open data set 'ixi': choose one of ds002748"):
        fetch("ixi", tmp_path)


def test_listings() -> None:
    assert len(read_s3_listing(listing())) == len(CONTENT)
    with pytest.raises(ValueError, match="complete"):
        read_s3_listing(listing("true"))
    parts = listing().replace(b"&quot;</ETag>", b"-2&quot;</ETag>", 1)
    assert read_s3_listing(parts)[0].digest == ""
    sha = hashlib.sha1(b"blob 3\0abc").hexdigest()
    tree = {"tree": [{"path": "a/b", "type": "blob", "size": 3, "sha": sha},
                     {"path": "a", "type": "tree", "sha": "0"}]}  # fmt: skip
    assert read_git_tree(json.dumps(tree).encode()) == [RemoteFile("a/b", 3, f"git:{sha}")]
    with pytest.raises(ValueError, match="complete"):
        read_git_tree(json.dumps({**tree, "truncated": True}).encode())


def test_checksums_of_both_kinds(tmp_path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"abc")
    git = "git:" + hashlib.sha1(b"blob 3\0abc").hexdigest()
    for digest in (git, "md5:900150983cd24fb0d6963f7d28e17f72", ""):
        assert fits(file, RemoteFile("f", 3, digest))
        assert not fits(file, RemoteFile("f", 4, digest))
    file.write_bytes(b"abd")
    assert not fits(file, RemoteFile("f", 3, git)) and fits(file, RemoteFile("f", 3, ""))


def test_what_is_kept_of_each_set() -> None:
    keep = origins()["mslub"].keep
    for path, wanted in {
        "cross_sectional/coregistered/patient01/patient01_brainmask.nii.gz": True,
        "cross_sectional/coregistered/patient02/T1W.nii.gz": True,
        "cross_sectional/coregistered/patient02/T1WKS.nii.gz": False,
        "cross_sectional/raw/patient02/T1W.nii.gz": False,
    }.items():
        assert bool(re.fullmatch(keep, path)) == wanted, path
