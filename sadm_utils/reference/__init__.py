"""The released code beside this book: its weights, its names, its rules, and how we differ.

Nothing of the book's chapters needs this room; it reads the authors' checkpoints and makes the
page that compares paper, released code and book.
"""

from sadm_utils.reference.checkpoint import load_reference_checkpoint
from sadm_utils.reference.load import load_reference

__all__ = ["load_reference", "load_reference_checkpoint"]
