"""The screens of alerts: rules, targets, alerts, and the log of messages."""
