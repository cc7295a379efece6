"""The first parts of the panel's own paths."""

PROBES = ("healthz", "metrics", "readyz")
"""Local programs request these paths directly, without the proxy."""
OWN_PATHS = ("admin", "static", *PROBES)
