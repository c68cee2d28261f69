"""The report goes out: terminal, JSON, Nagios."""
