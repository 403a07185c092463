"""Chapter 1's tests use one SimpleITK thread: quick on busy machines, and reproducible."""

import pytest
import SimpleITK as sitk


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    yield
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
