"""What is counted, for all layers to add to. Exposition stands in ops/metrics.py.

Labels have few values: names of operations, transactions, daemons, pools, never an id, a user or an address.
"""

from prometheus_client import Counter, Gauge, Histogram

_QUICK = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SLOW = (0.1, 1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

REQUESTS = Counter("pandatx_requests_total", "Requests answered", ["operation", "dialect", "status"])
REQUEST_SECONDS = Histogram("pandatx_request_seconds", "Time to answer", ["operation"], buckets=_QUICK)
TRAFFIC_BYTES = Gauge("pandatx_traffic_bytes", "Bytes from and to clients since the start", ["direction"])
REQUESTS_BUSY = Gauge("pandatx_requests_busy", "Requests being worked on")
ANSWERS_LOST = Counter("pandatx_answers_lost_total", "Answers whose client had gone", ["operation"])
REQUESTS_THROTTLED = Counter(
    "pandatx_requests_throttled_total", "Requests of callers who had too many under way", ["operation"]
)
REQUESTS_WAITING = Gauge("pandatx_requests_waiting", "Reports that wait until less of their callers is under way")
REQUESTS_OVERDUE = Counter("pandatx_requests_overdue_total", "Requests that outlasted their time", ["operation"])
REQUESTS_REFUSED = Counter(
    "pandatx_requests_refused_total", "Requests that were not read: too slow, too large, malformed", ["why"]
)
CONNECTIONS = Gauge("pandatx_connections", "Connections since the start by what became of them", ["outcome"])

TRANSACTION_SECONDS = Histogram(
    "pandatx_transaction_seconds", "Time of database transactions by name", ["name"], buckets=_QUICK
)
TRANSACTION_RETRIES = Counter("pandatx_transaction_retries_total", "Transactions that failed in the database", ["name"])
TRANSACTIONS_TIMED_OUT = Counter("pandatx_transactions_timed_out_total", "Transactions over their limit", ["name"])
BATCH_ROWS = Histogram("pandatx_batch_rows", "Callers served by one transaction", ["name"], buckets=_SIZES)
POOL_SESSIONS = Gauge("pandatx_pool_sessions", "Database sessions", ["pool", "state"])
POOL_WAITING = Gauge("pandatx_pool_waiting", "Transactions that wait for a session", ["pool"])
POOL_REFUSED = Counter("pandatx_pool_refused_total", "Transactions refused because the line was full", ["pool"])
DATABASE_UP = Gauge("pandatx_database_up", "1 when the database answered last time")
DATABASE_OFFSET_SECONDS = Gauge("pandatx_database_offset_seconds", "The database's clock less ours")
OLDEST_SNAPSHOT_SECONDS = Gauge("pandatx_oldest_snapshot_seconds", "Age of the oldest snapshot in the database")
POSTGRES_RESTARTS = Counter("pandatx_postgres_restarts_total", "Times the embedded PostgreSQL had to be started again")

JOBS_SUBMITTED = Counter("pandatx_jobs_submitted_total", "Jobs taken in")
JOBS_SENT = Counter("pandatx_jobs_sent_total", "Jobs handed to pilots")
JOBS_GIVEN_BACK = Counter("pandatx_jobs_given_back_total", "Jobs whose answer never left the server")
JOBS_ENDED = Counter("pandatx_jobs_ended_total", "Jobs that came to an end", ["status"])
STATES_FOREIGN = Counter("pandatx_states_foreign_total", "States outside our transition table, found and left")
SPOOL_REPORTS = Gauge("pandatx_spool_reports", "Final reports that wait for the database")
SPOOL_BYTES = Gauge("pandatx_spool_bytes", "Bytes of the spool")
SPOOL_REFUSED = Counter("pandatx_spool_refused_total", "Reports that the spool or the database would not take", ["why"])

DAEMON_RUNS = Counter("pandatx_daemon_runs_total", "Runs of daemons", ["daemon", "outcome"])
DAEMON_SECONDS = Histogram("pandatx_daemon_seconds", "Time of a daemon's run", ["daemon"], buckets=_SLOW)
DAEMON_LAST_START = Gauge("pandatx_daemon_last_start_seconds", "When a daemon last started, Unix time", ["daemon"])
DAEMON_NEXT_START = Gauge("pandatx_daemon_next_start_seconds", "When a daemon is due, Unix time", ["daemon"])
DAEMON_PAUSED = Gauge("pandatx_daemon_paused", "1 while an operator has paused it", ["daemon"])
DAEMON_FAILED = Gauge(
    "pandatx_daemon_failed", "1 after a run that failed, and for an entry that was left out", ["daemon"]
)
DAEMON_LATE = Gauge("pandatx_daemon_late", "1 while a run outlasts its period", ["daemon"])
ASYNC_REQUESTS = Counter("pandatx_async_requests_total", "Attempts at asynchronous requests", ["kind", "outcome"])
CALLS = Counter("pandatx_calls_total", "Calls to the process pool", ["name", "outcome"])
CALL_SECONDS = Histogram("pandatx_call_seconds", "Time of a call to the process pool", ["name"], buckets=_SLOW)
CHILDREN = Gauge("pandatx_children", "Processes of the pools", ["pool", "state"])
CHILDREN_REPLACED = Counter("pandatx_children_replaced_total", "Processes of the pool that were replaced", ["why"])
OUTGOING_SECONDS = Histogram("pandatx_outgoing_seconds", "Time of outgoing calls", ["target"], buckets=_QUICK)

MESSAGES = Counter("pandatx_messages_total", "Messages of data management by what became of them", ["outcome"])
MESSAGES_UP = Gauge("pandatx_messages_up", "1 while this process listens to the message broker")

LAG_SECONDS = Gauge("pandatx_lag_seconds", "The latest that a 50 ms timer of the reactor fired in the last ten seconds")
LAG_EXCEEDED = Counter("pandatx_lag_exceeded_total", "Times that a timer of the reactor was over 50 ms late")
LOG_LINES_LOST = Counter("pandatx_log_lines_lost_total", "Lines that could not be written to a log file")
