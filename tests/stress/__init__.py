"""Real processes on a real database that are killed, suspended, duplicated or blocked while they clean up.

``make test`` runs a small number of tries. ``make stress`` sets ``RAPTOR_TEST_TRIES`` and takes some
minutes on each database.
"""
