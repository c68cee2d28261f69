"""One self-contained HTML file for a ticket or a post-mortem."""
