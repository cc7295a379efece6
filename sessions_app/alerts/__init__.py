"""Findings: what needs attention, for the dashboard, the health checks, the metrics and the alerts.

A single set of queries finds them, so that all four report the same findings in the same words.
"""
