"""Alerts go out: to a program, to a webhook, to Alertmanagers; each is told at least once of how things are now."""
