//! The list of metrics: names, types, labels and the help text that a scrape carries.
//!
//! `docs/metrics.md` has a row for each; tests compare it with this list, and this list with what
//! is really exported.

/// What a number may do from one scrape to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grow, until the process ends.
    Counter,
    /// Anything.
    Gauge,
    /// Grow, per bucket.
    Histogram,
}

impl Kind {
    /// As in `# TYPE` and in the document.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// With prefix and suffix.
    pub name: &'static str,
    /// What it may do.
    pub kind: Kind,
    /// Names of its labels, in the order in which they are written.
    pub labels: &'static [&'static str],
    /// One line.
    pub help: &'static str,
}

pub(super) const REQUESTS: Metric = Metric {
    name: "tidegate_requests_total",
    kind: Kind::Counter,
    labels: &["listener", "route", "pool", "code_class", "protocol"],
    help: "Requests that ended.",
};

pub(super) const OUTCOMES: Metric = Metric {
    name: "tidegate_request_outcomes_total",
    kind: Kind::Counter,
    labels: &["outcome"],
    help: "Requests by how they ended.",
};

pub(super) const REQUEST_SECONDS: Metric = Metric {
    name: "tidegate_request_duration_seconds",
    kind: Kind::Histogram,
    labels: &["route"],
    help: "From the first byte of a request to the last byte of its answer.",
};

pub(super) const REQUEST_BYTES: Metric = Metric {
    name: "tidegate_request_body_bytes_total",
    kind: Kind::Counter,
    labels: &["listener"],
    help: "Bytes of request bodies.",
};

pub(super) const RESPONSE_BYTES: Metric = Metric {
    name: "tidegate_response_body_bytes_total",
    kind: Kind::Counter,
    labels: &["listener"],
    help: "Bytes of answer bodies.",
};

pub(super) const CONNECTIONS: Metric = Metric {
    name: "tidegate_connections_total",
    kind: Kind::Counter,
    labels: &["listener"],
    help: "Client connections accepted.",
};

pub(super) const CONNECTIONS_OPEN: Metric = Metric {
    name: "tidegate_connections_open",
    kind: Kind::Gauge,
    labels: &["listener"],
    help: "Client connections open now.",
};

pub(super) const IN_FLIGHT: Metric = Metric {
    name: "tidegate_requests_in_flight",
    kind: Kind::Gauge,
    labels: &["pool"],
    help: "Requests that a pool has taken and whose answer is not with the client yet.",
};

pub(super) const CONCURRENCY_LIMIT: Metric = Metric {
    name: "tidegate_concurrency_limit",
    kind: Kind::Gauge,
    labels: &["pool"],
    help: "Requests that the backends in rotation of a pool may have in flight together.",
};

pub(super) const ROUTE_IN_FLIGHT: Metric = Metric {
    name: "tidegate_route_in_flight",
    kind: Kind::Gauge,
    labels: &["route"],
    help: "Requests in flight of a route that has a limit.",
};

pub(super) const ROUTE_LIMIT: Metric = Metric {
    name: "tidegate_route_concurrency_limit",
    kind: Kind::Gauge,
    labels: &["route"],
    help: "Requests of a route that may be in flight at once.",
};

pub(super) const QUEUE_LENGTH: Metric = Metric {
    name: "tidegate_queue_length",
    kind: Kind::Gauge,
    labels: &["pool"],
    help: "Requests that wait for a place on a backend of a pool.",
};

pub(super) const QUEUE_SECONDS: Metric = Metric {
    name: "tidegate_queue_wait_seconds",
    kind: Kind::Histogram,
    labels: &["pool"],
    help: "How long requests waited that had to wait, whatever became of them.",
};

pub(super) const SHED: Metric = Metric {
    name: "tidegate_shed_total",
    kind: Kind::Counter,
    labels: &["pool", "reason"],
    help: "Requests sent away that wanted to wait, or did.",
};

pub(super) const RETRIES: Metric = Metric {
    name: "tidegate_retries_total",
    kind: Kind::Counter,
    labels: &["pool", "outcome"],
    help: "Attempts beyond the first.",
};

pub(super) const BACKEND_REQUESTS: Metric = Metric {
    name: "tidegate_backend_requests_total",
    kind: Kind::Counter,
    labels: &["pool", "backend", "code_class"],
    help: "Answers of a backend.",
};

pub(super) const BACKEND_ERRORS: Metric = Metric {
    name: "tidegate_backend_errors_total",
    kind: Kind::Counter,
    labels: &["pool", "backend", "reason"],
    help: "Attempts that a backend failed.",
};

pub(super) const BACKEND_CONNECT_SECONDS: Metric = Metric {
    name: "tidegate_backend_connect_duration_seconds",
    kind: Kind::Histogram,
    labels: &["pool"],
    help: "Time that a connection to a backend took to come about.",
};

pub(super) const BACKEND_SECONDS: Metric = Metric {
    name: "tidegate_backend_request_duration_seconds",
    kind: Kind::Histogram,
    labels: &["pool"],
    help: "From the request sent to a backend to the head of its answer.",
};

pub(super) const BACKEND_HEALTHY: Metric = Metric {
    name: "tidegate_backend_healthy",
    kind: Kind::Gauge,
    labels: &["pool", "backend"],
    help: "1 if the backend's checks pass, else 0.",
};

pub(super) const BACKEND_IN_FLIGHT: Metric = Metric {
    name: "tidegate_backend_in_flight",
    kind: Kind::Gauge,
    labels: &["pool", "backend"],
    help: "Requests that a backend is working on: its answer has not been read to the end.",
};

pub(super) const BACKEND_STREAMS: Metric = Metric {
    name: "tidegate_backend_streams",
    kind: Kind::Gauge,
    labels: &["pool", "backend"],
    help: "Tunnels and event streams open on a backend.",
};

pub(super) const BACKEND_CONNECTIONS: Metric = Metric {
    name: "tidegate_backend_connections",
    kind: Kind::Gauge,
    labels: &["pool", "backend", "state"],
    help: "Connections to a backend, with a request on them or kept for later.",
};

const BACKEND_CHECKS: Metric = Metric {
    name: health::metrics::CHECKS_TOTAL,
    kind: Kind::Counter,
    labels: &["pool", "backend", "result"],
    help: "Health checks of a backend.",
};

const BACKEND_EJECTIONS: Metric = Metric {
    name: balancer::roster::EJECTIONS_TOTAL,
    kind: Kind::Counter,
    labels: &["pool", "backend", "reason"],
    help: "Times that a backend was taken out because of how its requests went.",
};

pub(super) const BACKEND_ELIGIBLE: Metric = Metric {
    name: "tidegate_backend_eligible",
    kind: Kind::Gauge,
    labels: &["pool", "backend"],
    help: "1 if the backend gets requests, else 0.",
};

pub(super) const POOL_PANICKING: Metric = Metric {
    name: "tidegate_pool_panicking",
    kind: Kind::Gauge,
    labels: &["pool"],
    help: "1 while too few backends of the pool are healthy and all get requests, else 0.",
};

pub(super) const BACKEND_BREAKER: Metric = Metric {
    name: "tidegate_backend_breaker_state",
    kind: Kind::Gauge,
    labels: &["pool", "backend"],
    help: "What the breaker of the backend lets through: 0 everything, 1 some probes, 2 nothing.",
};

pub(super) const BACKEND_SHARE: Metric = Metric {
    name: "tidegate_backend_share_ratio",
    kind: Kind::Gauge,
    labels: &["pool", "backend"],
    help: "How much of its share and of its cap the backend takes while it is fresh; then 1.",
};

pub(super) const ACCESS_LOG_DROPPED: Metric = Metric {
    name: "tidegate_access_log_dropped_total",
    kind: Kind::Counter,
    labels: &["reason"],
    help: "Lines that the access log has lost.",
};

pub(super) const LOG_DROPPED: Metric = Metric {
    name: "tidegate_log_dropped_total",
    kind: Kind::Counter,
    labels: &["reason"],
    help: "Lines for standard error that were lost.",
};

pub(super) const EVENTS: Metric = Metric {
    name: "tidegate_events_total",
    kind: Kind::Counter,
    labels: &["event"],
    help: "Things that changed, by kind.",
};

pub(super) const WORKER_BUSY: Metric = Metric {
    name: "tidegate_worker_busy_ratio",
    kind: Kind::Gauge,
    labels: &["worker"],
    help: "Share of the last second that a worker was not waiting.",
};

pub(super) const CONFIG_INFO: Metric = Metric {
    name: "tidegate_config_info",
    kind: Kind::Gauge,
    labels: &["hash"],
    help: "Always 1; the configuration in use.",
};

pub(super) const CONFIG_OK: Metric = Metric {
    name: "tidegate_config_last_reload_successful",
    kind: Kind::Gauge,
    labels: &[],
    help: "1 if the last configuration that was offered is in use, else 0.",
};

pub(super) const CONFIG_AT: Metric = Metric {
    name: "tidegate_config_last_reload_success_timestamp_seconds",
    kind: Kind::Gauge,
    labels: &[],
    help: "When the configuration in use was taken up.",
};

pub(super) const BUILD_INFO: Metric = Metric {
    name: "tidegate_build_info",
    kind: Kind::Gauge,
    labels: &["version", "commit"],
    help: "Always 1; the program that is running.",
};

pub(super) const PROCESS_CPU: Metric = Metric {
    name: "process_cpu_seconds_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Processor time in user and kernel.",
};

pub(super) const PROCESS_RESIDENT: Metric = Metric {
    name: "process_resident_memory_bytes",
    kind: Kind::Gauge,
    labels: &[],
    help: "Resident memory.",
};

pub(super) const PROCESS_FDS: Metric = Metric {
    name: "process_open_fds",
    kind: Kind::Gauge,
    labels: &[],
    help: "Open file descriptors.",
};

pub(super) const PROCESS_MAX_FDS: Metric = Metric {
    name: "process_max_fds",
    kind: Kind::Gauge,
    labels: &[],
    help: "File descriptors that may be open.",
};

pub(super) const PROCESS_START: Metric = Metric {
    name: "process_start_time_seconds",
    kind: Kind::Gauge,
    labels: &[],
    help: "When the process started.",
};

pub(super) const SCALER_DESIRED: Metric = Metric {
    name: "tidegate_scaler_desired_instances",
    kind: Kind::Gauge,
    labels: &["pool"],
    help: "Instances that the last decision wants.",
};

pub(super) const SCALER_NEEDED: Metric = Metric {
    name: "tidegate_scaler_needed_instances",
    kind: Kind::Gauge,
    labels: &["pool"],
    help: "Instances that are asked for, before all limits.",
};

pub(super) const SCALER_INSTANCES: Metric = Metric {
    name: "tidegate_scaler_instances",
    kind: Kind::Gauge,
    labels: &["pool", "state"],
    help: "Instances that there are.",
};

pub(super) const SCALER_LEAD: Metric = Metric {
    name: "tidegate_scaler_lead_seconds",
    kind: Kind::Gauge,
    labels: &["pool"],
    help: "From a launch to full weight, as is reckoned with.",
};

/// Every metric that the program exports.
pub const ALL: &[Metric] = &[
    REQUESTS,
    OUTCOMES,
    REQUEST_SECONDS,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    CONNECTIONS,
    CONNECTIONS_OPEN,
    IN_FLIGHT,
    CONCURRENCY_LIMIT,
    ROUTE_IN_FLIGHT,
    ROUTE_LIMIT,
    QUEUE_LENGTH,
    QUEUE_SECONDS,
    SHED,
    RETRIES,
    BACKEND_REQUESTS,
    BACKEND_ERRORS,
    BACKEND_CONNECT_SECONDS,
    BACKEND_SECONDS,
    BACKEND_HEALTHY,
    BACKEND_IN_FLIGHT,
    BACKEND_STREAMS,
    BACKEND_CONNECTIONS,
    BACKEND_CHECKS,
    BACKEND_EJECTIONS,
    BACKEND_ELIGIBLE,
    BACKEND_BREAKER,
    BACKEND_SHARE,
    POOL_PANICKING,
    ACCESS_LOG_DROPPED,
    LOG_DROPPED,
    EVENTS,
    SCALER_DESIRED,
    SCALER_NEEDED,
    SCALER_INSTANCES,
    SCALER_LEAD,
    WORKER_BUSY,
    CONFIG_INFO,
    CONFIG_OK,
    CONFIG_AT,
    BUILD_INFO,
    PROCESS_CPU,
    PROCESS_RESIDENT,
    PROCESS_FDS,
    PROCESS_MAX_FDS,
    PROCESS_START,
];
