"""Chapter 1's tests use one SimpleITK thread: quick on busy machines, and reproducible."""

from __future__ import annotations

from pathlib import Path

import pytest
import SimpleITK as sitk

from sadm_utils.data import prepare as module
from sadm_utils.data.scan import Registered
from tests.data.releases import touch
from tests.data.toy_registration import draw_nothing, fake_registered


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    yield
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Twelve healthy scans with ages but one, and two patients."""
    root = tmp_path / "raw"
    for i in range(1, 13):
        touch(root / f"ds/sub-{i:02d}/anat/sub-{i:02d}_T1w.nii.gz", i)
    ages = "\n".join(f"sub-{i:02d}\t{20 + i}\tF" for i in range(1, 12)) + "\nsub-12\tn/a\tM"
    (root / "ds" / "participants.tsv").write_text(f"participant_id\tage\tsex\n{ages}\n")
    for name in ("patient07", "patient26"):
        touch(root / "mslub" / name / "T1.nii.gz")
        touch(root / "mslub" / name / "lesion_mask.nii.gz")
    return root


@pytest.fixture
def registrations(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict]]:
    """Replace the registration and the picture, and list what was registered and how."""
    calls: list[tuple[str, dict]] = []

    def register(image: str, mask: str | None, seg: str | None, **options: object) -> Registered:
        calls.append((Path(image).name, options))
        return fake_registered(image, seg)

    monkeypatch.setattr(module, "register_scan", register)
    monkeypatch.setattr(module.montage, "draw_subject", draw_nothing)
    return calls
