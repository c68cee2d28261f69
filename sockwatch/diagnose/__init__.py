"""From two snapshots to findings: pure. No socket, file, clock or log in this folder."""
