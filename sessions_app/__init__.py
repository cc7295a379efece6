"""Saved browser sessions: listed, evaluated and cleaned up."""
