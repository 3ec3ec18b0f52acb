"""Comparisons with the alternatives: ``make bench``."""
