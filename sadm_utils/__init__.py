"""Shared model code of the SADM book: one folder for each chapter."""
