"""Saved browser sessions: seen, judged and cleaned up."""
