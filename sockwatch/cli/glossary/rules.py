"""The alerts of prometheus/sockwatch.rules.yml by name, each with what explains it."""

from collections.abc import Mapping

RULES: Mapping[str, str] = {
    "TcpPortBudgetRunsOut": "port_exhaustion",
    "TcpPortBudgetRunsOutNow": "port_exhaustion",
    "TcpMemoryRunsOut": "memory_pressure",
    "ConntrackTableFills": "conntrack_pressure",
    "TcpAcceptQueueFills": "accept_queue_overflow",
    "TcpHandshakesDropped": "accept_queue_overflow",
    "TcpSynQueueFull": "syn_recv_buildup",
    "TcpPortBudgetUsed": "port_exhaustion",
    "TcpCloseWaitShare": "close_wait_leak",
    "TcpTimeWaitTableFills": "time_wait_buildup",
    "TcpOrphansNearLimit": "orphan_pressure",
    "TcpResetOnClose": "reset_by_close",
    "SockwatchAbsent": "blind",
    "SockwatchDown": "blind",
    "SockwatchBlind": "blind",
    "SockwatchStale": "blind",
    "SockwatchConfigRefused": "blind",
    "SockwatchSinkFails": "blind",
    "SockwatchNotificationsLost": "blind",
    "SockwatchForgets": "blind",
    "SockwatchInternalErrors": "blind",
}
"""Those whose code is that of a finding are not here: their label `code` says it."""
