"""What everybody speaks: sockets as columns, snapshots, findings, reports. Imports nothing of ours."""
