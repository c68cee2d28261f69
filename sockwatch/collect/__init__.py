"""The kernel comes in here and nowhere else: netlink, /proc, namespaces, or a capture."""
