"""Many runs of the book's notebooks, for tables: planned, run, resumed, and collected."""
