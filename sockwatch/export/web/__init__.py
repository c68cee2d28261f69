"""HTTP: the last poll's page for Prometheus, the report as JSON, and a status page; it reads and changes nothing."""
