"""The page that Prometheus scrapes: rendered once a poll, served from memory."""
