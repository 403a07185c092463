"""Checkpoints are read without running anything in them; bad ones are refused with a reason."""

import builtins
import collections
import os
import pickle
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from sadm_utils.errors import UserError
from sadm_utils.reference import load_reference, load_reference_checkpoint
from sadm_utils.reference.checkpoint import Inert
from tests.reference.weights import golden_state


def lightning_checkpoint(state: dict[str, torch.Tensor], **more: object) -> dict[str, object]:
    return {
        "epoch": 1599, "global_step": 20_000, "pytorch-lightning_version": "1.5.3",
        "state_dict": collections.OrderedDict(state), "lr_schedulers": [],
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}],
        **more,
    }  # fmt: skip


@pytest.fixture
def foreign_package(monkeypatch):
    """A package that exists while a checkpoint is written, and is gone when it is read."""
    package = types.ModuleType("absent_config")

    class Config(dict):
        def __init__(self, **values):
            super().__init__(values)
            self.parent = None

    class Flags:
        def __reduce__(self):
            return (Flags, ())

    for kind in (Config, Flags):
        kind.__module__, kind.__qualname__ = "absent_config", kind.__name__
        setattr(package, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "absent_config", package)
    return package


def test_tensors_are_taken_and_all_else_is_inert(tmp_path, monkeypatch, foreign_package):
    state = golden_state("cddpm")
    settings = {"config": foreign_package.Config(width=32), "flags": foreign_package.Flags()}
    settings |= {"path": Path("data"), "score": np.float64(1.5), "ids": {1, 2}}
    torch.save(lightning_checkpoint(state, hyper_parameters=settings), tmp_path / "model.ckpt")
    monkeypatch.delitem(sys.modules, "absent_config")

    checkpoint = load_reference_checkpoint(tmp_path / "model.ckpt")
    assert checkpoint["epoch"] == 1599 and checkpoint["state_dict"].keys() == state.keys()
    assert all(torch.equal(v, checkpoint["state_dict"][k]) for k, v in state.items())
    found = checkpoint["hyper_parameters"]
    assert all(isinstance(value, Inert) for value in found.values())
    assert repr(found["config"]) == "<inert absent_config.Config>" and not vars(found["config"])
    load_reference("cddpm", checkpoint, "small")


def test_views_types_and_shared_storages_survive(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "transposed": base.t(), "row": base[2], "half": base.half(), "bfloat": base.bfloat16(),
        "scalar": torch.tensor(7), "none": torch.zeros(0, 3), "flags": base > 5,
        "weight": torch.nn.Parameter(base.clone()),
    }  # fmt: skip
    torch.save(tensors, tmp_path / "tensors.pt")
    read = load_reference_checkpoint(tmp_path / "tensors.pt")
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor), name


class Payload:
    """Calls ``function(*arguments)`` when unpickled."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def leave_a_trace(path: str) -> None:
    Path(path).touch()


@pytest.mark.parametrize("place", ["hyper_parameters", "state_dict", "callbacks"])
@pytest.mark.parametrize("way", ["system", "exec", "attribute", "function"])
def test_a_payload_is_refused_and_does_not_run(tmp_path, way, place):
    trace = tmp_path / "trace"
    payload = {
        "system": Payload(os.system, f"touch '{trace}'"),
        "exec": Payload(builtins.exec, f"open({str(trace)!r}, 'w').close()"),
        "attribute": Payload(Path.touch, trace),
        "function": Payload(leave_a_trace, str(trace)),
    }[way]
    state = {"weight": torch.zeros(2)}
    checkpoint = lightning_checkpoint(state)
    checkpoint[place] = {**state, "payload": payload} if place == "state_dict" else payload
    path = tmp_path / "model.ckpt"
    torch.save(checkpoint, path)

    imported = set(sys.modules)
    with pytest.raises(UserError, match="which may run any code. Nothing was run"):
        load_reference_checkpoint(path)
    assert not trace.exists() and set(sys.modules) == imported

    torch.load(path, weights_only=False)  # the payload is live: the ordinary way runs it
    assert trace.exists()


def test_what_is_not_refused_does_not_run_either(tmp_path, monkeypatch):
    """A class is not told from a configuration object: it loads as an empty shell."""
    trace = tmp_path / "trace"

    class Trap:
        def __init__(self):
            trace.touch()

        def __setstate__(self, state):
            trace.touch()

        def __reduce__(self):
            return (Trap, (), {"a": 1})

    Trap.__qualname__ = "Trap"
    monkeypatch.setattr(sys.modules[__name__], "Trap", Trap, raising=False)
    torch.save({"state_dict": {}, "trap": Trap.__new__(Trap)}, tmp_path / "model.ckpt")
    assert isinstance(load_reference_checkpoint(tmp_path / "model.ckpt")["trap"], Inert)
    assert not trace.exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, share):
    path = tmp_path / "model.ckpt"
    torch.save(lightning_checkpoint(golden_state("encoder")), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match="model.ckpt is truncated, damaged or no PyTorch"):
        load_reference_checkpoint(path)


def test_a_flipped_bit_is_found(tmp_path):
    path = tmp_path / "model.ckpt"
    torch.save({"weight": torch.arange(1000.0)}, path)
    data = bytearray(path.read_bytes())
    data[data.index(np.arange(1000, dtype=np.float32).tobytes()) + 100] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        load_reference_checkpoint(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="no checkpoint"):
        load_reference_checkpoint(tmp_path / "missing.ckpt")
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    with pytest.raises(UserError, match="truncated, damaged or no PyTorch"):
        load_reference_checkpoint(tmp_path / "text.ckpt")
    torch.save(torch.zeros(2), tmp_path / "tensor.ckpt")
    with pytest.raises(UserError, match="single object"):
        load_reference_checkpoint(tmp_path / "tensor.ckpt")
    with zipfile.ZipFile(tmp_path / "zip.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", pickle.dumps({}))
    with pytest.raises(UserError, match="compressed"):
        load_reference_checkpoint(tmp_path / "zip.ckpt")


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    path = tmp_path / "model.ckpt"
    torch.save({"weight": torch.zeros(4)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(n for n in members if n.endswith("data.pkl"))
    assert members[name].count(b"K\x04\x85") == 1  # the size (4,), as one small number in a tuple
    members[name] = members[name].replace(b"K\x04\x85", b"K\x08\x85")
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    with pytest.raises(UserError, match="beyond its storage"):
        load_reference_checkpoint(path)
