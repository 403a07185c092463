"""Figures of the pages "Foundations", drawn from phantoms while the book is built."""
