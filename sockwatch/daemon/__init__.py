"""The loop that looks all the time, and what it carries: signals, the service manager, the exporters."""
