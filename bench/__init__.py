"""How fast sockwatch reads and judges, as ratios to what else runs on the same sockets in the same minute."""
