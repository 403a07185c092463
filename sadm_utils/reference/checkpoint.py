"""Read the authors' Lightning checkpoints without running anything that is in them.

A ``.ckpt`` is a zip archive of raw tensors and one pickle, and a pickle is a program: it imports
functions and calls them. The reader here never imports. A name in the pickle becomes either one of
our own stand-ins (for tensors and ordered dicts) or an empty class without behavior, so the
configuration objects of packages that are not installed load as empty shells.

What could only be meant to run is refused, rather than passed over in silence: names of Python's
standard library that are no plain data types, and calls of functions (by PEP 8, lower-case names).
The safety does not rest on that: what is not refused is not run either.
"""

from __future__ import annotations

import io
import math
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch

from sadm_utils.errors import UserError

DTYPES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip
#: Data types of the standard library that checkpoints hold; they become empty shells too.
HARMLESS = {
    "_codecs": {"encode"},
    "builtins": {
        "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list",
        "object", "range", "set", "slice", "str", "tuple",
    },
    "collections": {"Counter", "OrderedDict", "defaultdict", "deque"},
    "copyreg": {"__newobj__", "__newobj_ex__", "_reconstructor"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "argparse": {"Namespace"},
    "types": {"SimpleNamespace"},
    "uuid": {"UUID"},
}  # fmt: skip
HARMLESS["__builtin__"] = HARMLESS["builtins"] | {"long", "unicode"}  # as Python 2 names them
HARMLESS["copy_reg"] = HARMLESS["copyreg"]
HARMLESS_ROOTS = ("pathlib", "typing", "enum")
#: Functions of other packages by which checkpoints rebuild data; they are not called.
REBUILDERS = {
    "torch": {"device", "dtype"},
    "torch.serialization": {"_get_layout"},
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
}


def load_reference_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of the released code.

    Parameters
    ----------
    path
        A file written by ``torch.save`` 1.6 or newer, or by Lightning.

    Returns
    -------
    dict
        The checkpoint: ``state_dict`` with the tensors, and whatever else it holds. Numbers, texts
        and containers are themselves; every other object is an empty :class:`Inert`. Give it, or
        its ``state_dict``, to :func:`sadm_utils.reference.load.load_reference`.

    Raises
    ------
    UserError
        If the file is missing, truncated, no checkpoint, or would run code when unpickled.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}.")
    try:
        with zipfile.ZipFile(path) as archive:
            checkpoint = _read(archive)
    except UserError as error:
        raise UserError(f"{path} was not read: {error}") from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise UserError(
            f"{path} is truncated, damaged or no PyTorch checkpoint ({type(error).__name__}: "
            f"{error}): copy it again."
        ) from None
    if not isinstance(checkpoint, dict):
        raise UserError(f"{path} holds no checkpoint but a single object: it has no state_dict.")
    return checkpoint


class _Named(type):
    """A class that stands for a name in a pickle; calling it is what a pickle's call does."""

    origin = ("", "")

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        module, name = cls.origin
        known = name in HARMLESS.get(module, ()) or name in REBUILDERS.get(module, ())
        if not known and name.rpartition(".")[2].lstrip("_")[:1].islower():
            raise UserError(_refusal("call", module, name))
        return cls.__new__(cls, *arguments)


class Inert(metaclass=_Named):
    """What an object of a checkpoint has become: an empty shell that ignores its contents."""

    origin = ("", "")

    def __new__(cls, *arguments: Any, **named: Any) -> Inert:
        return object.__new__(cls)

    def __repr__(self) -> str:
        return f"<inert {'.'.join(type(self).origin)}>"

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        pass

    def add(self, item: Any) -> None:
        pass

    def __call__(self, *arguments: Any) -> Inert:
        return self


class _Table(dict):
    """Stands for an ordered dict."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Reader(pickle.Unpickler):
    """An unpickler for which no name leads out of this module."""

    def __init__(self, data: bytes, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(data))
        self.archive, self.folder = archive, folder
        self.storages: dict[str, torch.Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        # Fresh functions each time: whatever a pickle did to them would stay in this reading.
        if (module, name) == ("collections", "OrderedDict"):
            return lambda *pairs: _Table(*pairs)
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *arguments: _rebuild(*arguments[:4])
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *rest: tensor
        root = module.partition(".")[0]
        if root in sys.stdlib_module_names or root in HARMLESS:
            if name not in HARMLESS.get(module, ()) and root not in HARMLESS_ROOTS:
                raise UserError(_refusal("use", module, name))
        return _Named(name, (Inert,), {"origin": (module, name)})

    def persistent_load(self, identity: Any) -> torch.Tensor:
        """The values of a storage, as a flat tensor."""
        kind, storage, key, _, count = identity
        dtype = DTYPES.get(getattr(storage, "origin", ("", ""))[1])
        if kind != "storage" or dtype is None:
            raise UserError(f"it holds a tensor of an unknown type ({storage!r}).")
        if key not in self.storages:
            data = bytearray(_member(self.archive, f"{self.folder}data/{key}"))
            if len(data) != count * dtype.itemsize:
                raise ValueError(f"storage {key} has {len(data)} bytes")
            values = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            self.storages[key] = values
        return self.storages[key]


def _refusal(verb: str, module: str, name: str) -> str:
    return (
        f"unpickling it would {verb} {module}.{name}, which may run any code. Nothing was run; do "
        "not open this file with torch.load or pickle."
    )


def _read(archive: zipfile.ZipFile) -> Any:
    pickles = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise ValueError("no data.pkl in the archive")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist():
        if _member(archive, f"{folder}byteorder") != b"little":
            raise UserError("its numbers are big-endian: save it on a common machine.")
    return _Reader(_member(archive, pickles[0]), archive, folder).load()


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Bytes of a member; a compressed one, which torch never writes, could be a zip bomb."""
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    return archive.read(name)


def _rebuild(
    values: torch.Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
) -> torch.Tensor:
    """A tensor on a flat storage, after a check that it lies inside."""
    whole = all(isinstance(n, int) and n >= 0 for n in (offset, *size, *stride))
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if not whole or (math.prod(size) and last >= len(values)):
        raise ValueError("a tensor reaches beyond its storage")
    return values.as_strided(size, stride, offset) if math.prod(size) else values[:0].reshape(size)
