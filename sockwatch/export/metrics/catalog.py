"""Every family that is about the poll, the findings and the sockets; kernel_counters.py has those of the kernel."""

from sockwatch.export.metrics.family import Family

BUILD_INFO = Family(
    name="sockwatch_build_info",
    labels=("version", "python", "kernel"),
    meaning="1, with the versions of sockwatch, of Python and of the running kernel as labels",
    source="uname",
)
POLL_SUCCESS = Family(
    name="sockwatch_poll_success",
    meaning="1 if the last poll could read the sockets, 0 if not: then all that it would have told is absent",
    source="sockwatch",
)
POLL_DURATION = Family(
    name="sockwatch_poll_duration_seconds",
    meaning="How long the last poll took, from the look at the sockets to the verdict; alerts and this page come after",
    source="CLOCK_BOOTTIME",
)
POLL_STAGE_DURATION = Family(
    name="sockwatch_poll_stage_duration_seconds",
    labels=("stage",),
    meaning="How long each stage of the last poll took",
    source="CLOCK_BOOTTIME",
)
POLL_TIMESTAMP = Family(
    name="sockwatch_poll_timestamp_seconds",
    meaning="When the last poll began, in seconds since 1970; this page is as old",
    source="CLOCK_REALTIME",
)
POLL_INTERVAL = Family(
    name="sockwatch_poll_interval_seconds",
    meaning="How long after the last poll the next one begins",
    source="sockwatch",
)
POLLS = Family(
    name="sockwatch_polls_total",
    meaning="Polls since the daemon started, failed ones included",
    source="sockwatch",
)
POLL_CPU = Family(
    name="sockwatch_poll_cpu_seconds_total",
    meaning="CPU time that polls took since the daemon started, with showing, keeping and telling what they brought",
    source="CLOCK_THREAD_CPUTIME_ID",
)
POLL_REDUCED = Family(
    name="sockwatch_poll_reduced",
    labels=("step",),
    meaning="1 for each step that the last poll took to stay within [poll] cpu_share and seconds, 0 for the others",
    source="sockwatch",
)
GAPS = Family(
    name="sockwatch_gaps",
    labels=("what",),
    meaning="What the last poll could not look at, counted by what it is; metrics that rest on it are absent",
    source="sockwatch",
)
DETECTOR_SUCCESS = Family(
    name="sockwatch_detector_success",
    labels=("code",),
    meaning="1 if the detector ran, 0 if it failed; one that ran without the data it needs is counted in "
    "sockwatch_gaps and has no sockwatch_findings",
    source="sockwatch",
)
FINDINGS = Family(
    name="sockwatch_findings",
    labels=("code", "severity"),
    meaning="Findings of the last poll",
    source="sockwatch",
)
FINDING_SOCKETS = Family(
    name="sockwatch_finding_sockets",
    labels=("code", "severity"),
    meaning="Sockets that the findings of the last poll are about; one that two findings are about counts twice",
    source="sockwatch",
)
FINDING_OLDEST = Family(
    name="sockwatch_finding_oldest_seconds",
    labels=("code", "severity"),
    meaning="For how long at least the oldest socket of the findings has been in its state; absent where no finding "
    "tells an age",
    source="tcp_info, idiag_expires and earlier polls",
)
SERIES_FOLDED = Family(
    name="sockwatch_series_folded",
    labels=("metric",),
    meaning='Series that have no place of their own, because of the limits in [metrics], and are joined into "other"',
    source="sockwatch",
)
NAMESPACES = Family(
    name="sockwatch_namespaces",
    meaning="Network namespaces that the last poll looked at",
    source="/run/netns and /proc/PID/ns/net",
)
SOCKETS = Family(
    name="sockwatch_sockets",
    labels=("netns", "family", "state"),
    meaning="TCP sockets",
    source="idiag_state, inet_diag",
)
LISTENER_SOCKETS = Family(
    name="sockwatch_listener_sockets",
    labels=("netns", "port", "state"),
    meaning="TCP sockets whose local port is listened on, the listening ones included",
    source="idiag_sport and idiag_state, inet_diag",
)
LISTENER_QUEUE_RATIO = Family(
    name="sockwatch_listener_queue_ratio",
    labels=("netns", "listener"),
    meaning="Connections that wait for accept() as a share of what the queue holds, of several listeners on one "
    "address the fullest; above 1 new ones are dropped",
    source="idiag_rqueue and idiag_wqueue, inet_diag",
)
PROCESS_SOCKETS = Family(
    name="sockwatch_process_sockets",
    labels=("process", "unit", "state"),
    meaning='TCP sockets by the oldest process that holds them; process="" are those that no known process holds, '
    "as in TIME_WAIT",
    source="inet_diag and /proc/PID/fd",
)
PORT_BUDGET_USED_RATIO = Family(
    name="sockwatch_port_budget_used_ratio",
    labels=("netns", "source", "destination"),
    meaning="Source ports that are used as a share of those that connect() can use from one address to one "
    'destination, from a tenth on; destination="*" are those that bind() to port 0 can use',
    source="inet_diag, net.ipv4.ip_local_port_range and further sysctls",
)
PORT_BUDGET_LEFT = Family(
    name="sockwatch_port_budget_left_seconds",
    labels=("netns", "source", "destination"),
    meaning="How long the source ports last at the churn between the last two polls; absent where no end is in sight",
    source="inet_diag, net.ipv4.ip_local_port_range and further sysctls",
)
PEER_SOCKETS = Family(
    name="sockwatch_peer_sockets",
    labels=("netns", "local", "peer", "state"),
    meaning="TCP sockets that have been in a state of closing for long, by their two ends; the port of the end that "
    "called connect() is *",
    source="inet_diag, tcp_info and earlier polls",
)
TCP_ORPHANS = Family(
    name="sockwatch_tcp_orphans",
    meaning="TCP sockets of the whole host that no process holds any more and that are not in TIME_WAIT",
    source="TCP orphan, /proc/net/sockstat",
)
TCP_SOCKETS_ALLOCATED = Family(
    name="sockwatch_tcp_sockets_allocated",
    meaning="TCP sockets of the whole host that take memory, in whatever state and namespace",
    source="TCP alloc, /proc/net/sockstat",
)
TCP_MEMORY = Family(
    name="sockwatch_tcp_memory_bytes",
    meaning="Memory that TCP buffers of the whole host take",
    source="TCP mem, /proc/net/sockstat",
)
TCP_ORPHANS_LIMIT = Family(
    name="sockwatch_tcp_orphans_limit",
    meaning="Orphans from which on the kernel resets them",
    source="net.ipv4.tcp_max_orphans",
)
TCP_MEMORY_LIMIT = Family(
    name="sockwatch_tcp_memory_limit_bytes",
    meaning="Memory from which on TCP gets no more",
    source="the third number of net.ipv4.tcp_mem",
)
TIME_WAIT_LIMIT = Family(
    name="sockwatch_tcp_time_wait_limit",
    labels=("netns",),
    meaning="Sockets in TIME_WAIT from which on the kernel drops new ones",
    source="net.ipv4.tcp_max_tw_buckets",
)
CONNTRACK_ENTRIES = Family(
    name="sockwatch_conntrack_entries",
    labels=("netns",),
    meaning="Connections in the connection-tracking table",
    source="net.netfilter.nf_conntrack_count",
)
CONNTRACK_LIMIT = Family(
    name="sockwatch_conntrack_entries_limit",
    labels=("netns",),
    meaning="Connections from which on the connection-tracking table drops packets of new ones",
    source="net.netfilter.nf_conntrack_max",
)
