"""The tests of the book; a package, since others install a top-level `tests` of theirs."""
