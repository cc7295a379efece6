"""Custom formats of dates and times."""
