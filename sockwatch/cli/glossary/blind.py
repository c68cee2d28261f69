"""What `sockwatch explain blind` says: the one alert that is no finding."""

TEXT = """\
sockwatch itself does not see, or does not do what it was told. It is an alert, and no finding.

What it sees:
- `blind`, which sinks are told of: so many looks in a row failed as `blind_after` says.
- The Prometheus rules with code="blind": nothing is scraped, no look succeeds, the page is old, a config was refused,
  or a sink cannot be told.

Why it matters:
While it lasts no finding appears and none goes. What fired before is still said to fire.

When it is wrong:
A host that was switched off on purpose is down for Prometheus. After a restart the first look comes at once.

What to do:
1. Read why: `journalctl -u sockwatch`, or `sockwatch check` on the host, which says in one line why it cannot look.
2. "no sock_diag": the module tcp_diag is missing, or seccomp or a container forbids netlink sockets of this family.
3. A refused config: `sockwatch config check` lists every mistake. The config before it is still in use.
4. A sink that fails: `sockwatch run --test-alert SINK` sends one alert and says what became of it.
5. Prometheus cannot reach it: by default it listens on 127.0.0.1 only (`listen` in the table [web]).
"""
