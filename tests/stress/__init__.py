"""Real processes on a real database, killed, stopped, doubled and hindered while they clean up.

Nothing here is imitated. By default a small edition runs, as part of ``make test``; ``make stress`` sets
``RAPTOR_TEST_TRIES`` and takes some minutes on each database.
"""
