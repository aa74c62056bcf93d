"""The report of a search: one HTML page with its table, pictures and provenance, which needs nothing from outside."""

MARK = "Arbor results.report"
"""In the head of every report: a file with it may be written over."""
