"""How fast the book's code is, against peers that run in the same process and against the machine.

``python -m benchmarks`` measures all rows, prints a table and writes it as JSON.
"""
