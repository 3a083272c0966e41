//! Metrics of this process. Names are append-only (A8).

use super::process::ProcessNumbers;
use crate::edge::SeatCounts;
use crate::log;
use crate::monitor::Monitor;
use crate::tls::{Tls, TlsReport};
use keyreeve_authority::Node;
use keyreeve_store::cluster::Durability;
use keyreeve_store::model::{CENSUS_DAYS, Census};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;

/// Returns all metrics, in the newer of the two text formats.
pub(super) fn text(monitor: &Arc<Monitor>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(Arc::clone(monitor))));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

/// Reads the counters where they are kept; nothing is counted twice.
#[derive(Debug)]
struct Snapshot(Arc<Monitor>);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let monitor = &self.0;
        let to = &mut encoder;
        encode_verifications(to, monitor)?;
        encode_changes(to, monitor)?;
        encode_clock(to, monitor)?;
        encode_writes(to, monitor)?;
        encode_invariants(to, monitor)?;
        if let Some(census) = monitor.numbers.census() {
            encode_census(to, &census)?;
        }
        if let Some(node) = monitor.authority.node() {
            encode_node(to, node)?;
        }
        let reports: Vec<_> = monitor.tls.iter().map(Tls::report).collect();
        encode_tls(to, &reports)?;
        let help = "Lines of the log and of standard output that were dropped because they were not read, or could \
                    not be written";
        let dropped = log::dropped_lines().map(|(stream, lines)| ([("stream", stream)], lines));
        counters(to, "keyreeve_log_lines_dropped", help, &dropped)?;
        encode_connections(to, monitor)?;
        encode_backups(to, monitor)?;
        encode_process(to, monitor)?;
        let build = [(&[("version", env!("CARGO_PKG_VERSION"))][..], 1)];
        gauges(to, "keyreeve_build_info", "Version of this build", build)
    }
}

fn encode_verifications(to: &mut DescriptorEncoder<'_>, monitor: &Monitor) -> fmt::Result {
    let verifier = monitor.authority.verifier();
    let outcomes = verifier.tallies().outcomes();
    let outcomes: Vec<_> = outcomes
        .map(|(via, outcome, count)| ([("outcome", outcome), ("via", via.as_str())], count))
        .collect();
    counters(to, "keyreeve_verifications", "Verdicts", &outcomes)?;
    let (sum, count, buckets) = monitor.numbers.verifications.read();
    let (name, help) = ("keyreeve_verification_duration", "Duration of verdicts of all callers");
    let mut encoder = to.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
    encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    let (memory, store) = verifier.tallies().look_ups();
    let help = "Look-ups of secrets: hit is answered from memory, miss by the store";
    let found = [([("result", "hit")], memory), ([("result", "miss")], store)];
    counters(to, "keyreeve_cache_requests", help, &found)?;
    gauge(to, "keyreeve_cache_entries", "Secrets in memory", verifier.entries())?;
    let help = "Maximum number of secrets in memory";
    gauge(to, "keyreeve_cache_capacity", help, verifier.capacity())?;
    let help = "Newest change that verdicts take into account";
    gauge(to, "keyreeve_applied_revision", help, verifier.applied())?;
    encode_children(to, monitor)
}

/// Writes the metrics of verifiers inside applications.
fn encode_children(to: &mut DescriptorEncoder<'_>, monitor: &Monitor) -> fmt::Result {
    let counts = monitor.authority.verifiers().counts();
    let help = "Verifiers inside applications that are connected to this process";
    gauge(to, "keyreeve_verifiers_connected", help, counts.connected)?;
    let help = "Verifiers that did not acknowledge an order in time, or whose connection ended before";
    counter(to, "keyreeve_verifiers_overdue", help, counts.overdue)?;
    let refused = counts.refused.saturating_add(monitor.verifier_host.shares().refused());
    let help = "Connections of verifiers that were refused: too many, or suspended";
    counter(to, "keyreeve_verifiers_refused", help, refused)?;
    let help = "Orders to forget that verifiers have not acknowledged yet";
    gauge(
        to,
        "keyreeve_verifier_orders_outstanding",
        help,
        counts.orders_outstanding,
    )?;
    let help = "Age of the oldest order that is not acknowledged; 0 if there is none";
    let oldest = monitor.authority.verifiers().oldest_order_ms();
    seconds(to, "keyreeve_verifier_oldest_order", help, oldest)
}

fn encode_changes(to: &mut DescriptorEncoder<'_>, monitor: &Monitor) -> fmt::Result {
    let counts = monitor.authority.operations().counts();
    let counts: Vec<_> = counts
        .map(|(operation, result, count)| ([("op", operation), ("result", result)], count))
        .collect();
    let help = "Changes of keys: done, refused by rules, or failed";
    counters(to, "keyreeve_key_operations", help, &counts)?;
    let events = monitor.authority.verifier().tallies().events();
    let events: Vec<_> = events.map(|(action, count)| ([("type", action)], count)).collect();
    let help = "Entries that this process has written into the audit log";
    counters(to, "keyreeve_audit_events", help, &events)?;
    let leaks = monitor.authority.leaks().tallies();
    let leaks: Vec<_> = leaks
        .map(|(source, result, count)| ([("source", source.as_str()), ("result", result.as_str())], count))
        .collect();
    let help = "Secrets reported as leaked";
    counters(to, "keyreeve_leak_reports", help, &leaks)?;
    let effects = &monitor.numbers.effects;
    let help = "Time until changes were effective on every verifier";
    // The first name is the older one.
    for name in ["keyreeve_revocation", "keyreeve_revocation_propagation"] {
        let encoder = to.encode_descriptor(name, help, Some(&Unit::Seconds), effects.metric_type())?;
        effects.encode(encoder)?;
    }
    let requests = &monitor.numbers.requests;
    let help = "Duration of requests other than verifications";
    let name = "http_server_request_duration";
    requests.encode(to.encode_descriptor(name, help, Some(&Unit::Seconds), requests.metric_type())?)?;
    let checkpoint = monitor
        .log_signer
        .checkpoints()
        .newest()
        .map_or(0, |newest| newest.revision);
    let help = "Entry of the audit log that the newest signed checkpoint covers";
    gauge(to, "keyreeve_audit_checkpoint_revision", help, checkpoint)?;
    let help = "1 if the end of the audit log is not signed: it does not contain what was signed before, or the \
                checkpoint cannot be stored";
    let is_refused = u64::from(monitor.log_signer.checkpoints().refusal().is_some());
    gauge(to, "keyreeve_audit_checkpoint_refused", help, is_refused)?;
    let help =
        "1 if this process refuses every request until it is restarted: the database is not the one that it opened";
    let is_halted = u64::from(monitor.authority.verifier().halted().is_some());
    gauge(to, "keyreeve_halted", help, is_halted)?;
    encode_denials(to, monitor)?;
    let verified = monitor.numbers.audit_verified_at().map_or(0, |at| at.millis() / 1_000);
    let help = "When this process last verified the audit log without a finding; 0 if it was not requested";
    let name = "keyreeve_audit_verified_timestamp";
    timestamp(to, name, help, verified)
}

fn encode_denials(to: &mut DescriptorEncoder<'_>, monitor: &Monitor) -> fmt::Result {
    let denials = &monitor.denials;
    let help = "1 if no key is verified until an operator has decided after a restore";
    let is_withheld = u64::from(monitor.authority.verifier().withheld().is_some());
    gauge(to, "keyreeve_restore_undecided", help, is_withheld)?;
    let help = "Entry of the audit log up to which every denial is in the file in the data directory";
    gauge(to, "keyreeve_denials_revision", help, denials.revision())?;
    let help = "Size of the file with denials in the data directory";
    let bytes = whole(denials.bytes());
    let encoder = to.encode_descriptor("keyreeve_denials_file", help, Some(&Unit::Bytes), MetricType::Gauge)?;
    ConstGauge::new(bytes).encode(encoder)?;
    let help = "1 if the last write of the file with denials failed";
    let is_failing = u64::from(denials.failing().is_some());
    gauge(to, "keyreeve_denials_failing", help, is_failing)?;
    let help = "Failed writes of the file with denials in the data directory";
    let failures = ConstCounter::new(denials.failures());
    let name = "keyreeve_denials_write_failures";
    failures.encode(to.encode_descriptor(name, help, None, failures.metric_type())?)
}

fn encode_clock(to: &mut DescriptorEncoder<'_>, monitor: &Monitor) -> fmt::Result {
    let behind = monitor.authority.clock_behind().unwrap_or_default();
    let ms = u64::try_from(behind.as_millis()).unwrap_or(u64::MAX);
    let help = "How far the reference clock is behind the time that expiry is decided by; 0 if it is followed";
    seconds(to, "keyreeve_database_clock_behind", help, ms)
}

fn encode_writes(to: &mut DescriptorEncoder<'_>, monitor: &Monitor) -> fmt::Result {
    let health = monitor.authority.write_health();
    let now = monitor.authority.now().millis() / 1_000;
    let ago = health.last_success_ago.map(|ago| whole(ago.as_secs()));
    let help = "When the last write into the store succeeded; 0 if none has since the start";
    let last = ago.map_or(0, |ago| now.saturating_sub(ago));
    timestamp(to, "keyreeve_store_last_write_timestamp", help, last)?;
    let help = "Transactions that the store did not commit, or whose outcome was not reported in time";
    let failures = ConstCounter::new(health.failures);
    let name = "keyreeve_store_write_failures";
    failures.encode(to.encode_descriptor(name, help, None, failures.metric_type())?)?;
    let help = "1 if the last write failed and none has succeeded since";
    gauge(
        to,
        "keyreeve_store_writes_failing",
        help,
        u64::from(health.is_failing()),
    )
}

/// Writes a row for each invariant from the start: a counter that appears with its first violation shows no increase.
fn encode_invariants(to: &mut DescriptorEncoder<'_>, monitor: &Monitor) -> fmt::Result {
    let counts = monitor.authority.verifier().invariants().read();
    let counts: Vec<_> = counts
        .map(|(invariant, count, _)| ([("invariant", invariant.name())], count))
        .collect();
    let help = "Violations of invariants inside this process: a bug, or a damaged memory";
    counters(to, "keyreeve_invariant_violations", help, &counts)
}

fn encode_census(to: &mut DescriptorEncoder<'_>, census: &Census) -> fmt::Result {
    let states = [
        ("active", census.active),
        ("owner_blocked", census.owner_blocked),
        ("disabled", census.disabled),
        ("expired", census.expired),
        ("revoked", census.revoked),
    ];
    let states = states.map(|(state, count)| ([("state", state)], whole(count)));
    gauges(to, "keyreeve_keys", "Keys of all tenants, counted periodically", states)?;
    let within: Vec<_> = CENSUS_DAYS.iter().map(|days| format!("{days}d")).collect();
    let expiring = within.iter().zip(census.expiring);
    let expiring = expiring.map(|(within, count)| ([("within", within.as_str())], whole(count)));
    let help = "Usable keys that expire within a time, counted periodically";
    gauges(to, "keyreeve_keys_expiring", help, expiring)?;
    let help = "Usable root keys that expire within 14 days, counted periodically";
    gauge(
        to,
        "keyreeve_root_keys_expiring",
        help,
        whole(census.root_keys_expiring),
    )
}

fn encode_connections(to: &mut DescriptorEncoder<'_>, monitor: &Monitor) -> fmt::Result {
    let seats = monitor.seats.named().map(|(name, seats)| (name, seats.counts()));
    let open = seats.map(|(name, counts)| ([("listener", name)], whole(counts.taken)));
    gauges(to, "keyreeve_connections", "Connections, by listener", open)?;
    let unknown = seats.map(|(name, counts)| ([("listener", name)], whole(counts.unknown)));
    let help = "Connections on which no request has had a valid credential";
    gauges(to, "keyreeve_connections_unknown", help, unknown)?;
    let all = seats.map(|(name, counts)| ([("listener", name)], whole(counts.all)));
    gauges(to, "keyreeve_connections_max", "Maximum number of connections", all)?;
    let ended = |result: &'static str, count: fn(&SeatCounts) -> u64| {
        seats.map(|(name, counts)| ([("listener", name), ("result", result)], count(&counts)))
    };
    let displaced = [
        ended("evicted", |counts| counts.evicted),
        ended("refused", |counts| counts.refused),
    ]
    .concat();
    let help = "Connections beyond the maximum: evicted made room for another, refused was closed at once";
    counters(to, "keyreeve_connections_displaced", help, &displaced)
}

fn encode_backups(to: &mut DescriptorEncoder<'_>, monitor: &Monitor) -> fmt::Result {
    let backups = &monitor.backups.known;
    let help = "When the last backup was complete and stored; 0 if none is known";
    let last = backups.last_success_ms() / 1_000;
    timestamp(to, "keyreeve_backup_last_success_timestamp", help, last)?;
    let help = "Scheduled backups that failed";
    counter(to, "keyreeve_backup_failures", help, backups.failures())?;
    let help = "How long the last scheduled backup took, with its verification; 0 if there was none since the start";
    seconds(to, "keyreeve_backup_duration", help, backups.duration_ms())?;
    let help = "Length of the last scheduled backup; 0 if there was none since the start";
    gauge(to, "keyreeve_backup_size_bytes", help, backups.bytes())
}

fn encode_process(to: &mut DescriptorEncoder<'_>, monitor: &Monitor) -> fmt::Result {
    let process = ProcessNumbers::look();
    let started = monitor.numbers.started_at.millis() / 1_000;
    timestamp(to, "process_start_time", "Start time of the process", started)?;
    if let Some(seconds) = process.cpu_seconds {
        let counter = ConstCounter::new(seconds);
        let (name, help) = ("process_cpu", "CPU time on all processors");
        counter.encode(to.encode_descriptor(name, help, Some(&Unit::Seconds), counter.metric_type())?)?;
    }
    let resident = process.resident_bytes;
    for (name, help, value) in [
        ("process_resident_memory_bytes", "Resident memory", resident),
        ("process_open_fds", "Open descriptors", process.open_fds),
        ("process_max_fds", "Maximum number of open descriptors", process.max_fds),
    ] {
        if let Some(value) = value {
            gauge(to, name, help, value)?;
        }
    }
    Ok(())
}

fn encode_tls(to: &mut DescriptorEncoder<'_>, reports: &[TlsReport]) -> fmt::Result {
    let ends = |report: &TlsReport| {
        let name = report.name;
        report
            .handshakes
            .map(|(result, count)| ([("listener", name), ("result", result)], count))
    };
    let handshakes: Vec<_> = reports.iter().flat_map(ends).collect();
    let help = "TLS handshakes, by listener and result";
    counters(to, "keyreeve_tls_handshakes", help, &handshakes)?;
    let kind = ConstGauge::new(0_i64).metric_type();
    let help = "When the certificate in use expires";
    let name = "keyreeve_tls_certificate_expiry_timestamp";
    let mut family = to.encode_descriptor(name, help, Some(&Unit::Seconds), kind)?;
    for report in reports {
        let end = ConstGauge::new(report.certificate.not_after.millis() / 1_000);
        end.encode(family.encode_family(&[("listener", report.name)])?)?;
    }
    let refused = reports.iter();
    let refused = refused.map(|report| ([("listener", report.name)], i64::from(report.complaint.is_some())));
    let help = "1 if newer TLS files exist and cannot be used";
    gauges(to, "keyreeve_tls_files_refused", help, refused)
}

fn encode_node(to: &mut DescriptorEncoder<'_>, node: &Node) -> fmt::Result {
    let health = node.health();
    let (left, length) = (node.lease_left_ms(), node.lease_ms());
    let (help_left, help_length) = ("How long this node may still verify", "How long a lease lasts");
    // The first two names are the older ones.
    gauge(to, "keyreeve_lease_left_milliseconds", help_left, left)?;
    gauge(to, "keyreeve_lease_length_milliseconds", help_length, length)?;
    seconds(to, "keyreeve_lease_left", help_left, left)?;
    seconds(to, "keyreeve_lease_length", help_length, length)?;
    if let Some(lag) = node.lag_ms() {
        let help = "Time since this node last had every change";
        seconds(to, "keyreeve_node_lag", help, lag)?;
    }
    let help = "Changes not yet applied here at the last poll";
    gauge(to, "keyreeve_lag_revisions", help, health.lag)?;
    let help = "Number of times that the database had lost acknowledged changes";
    gauge(to, "keyreeve_history_forked", help, health.forks)?;
    let help = "Denials that the database had lost and that were written again";
    gauge(to, "keyreeve_denials_reasserted", help, health.reasserted)?;
    let help = "Number of times that the database's history had changed";
    counter(to, "keyreeve_history_forks", help, health.forks)?;
    let help = "Denials that the database had lost and that were written again";
    counter(to, "keyreeve_reasserted_denials", help, health.reasserted)?;
    let help = "Leases of this node that ended before they were renewed while changes may have waited for them";
    counter(to, "keyreeve_lease_losses", help, health.lease_losses)?;
    let help = "1 if this node lost its lease too often and is on probation";
    gauge(
        to,
        "keyreeve_node_on_probation",
        help,
        u64::from(health.is_on_probation),
    )?;
    let is_at_risk = health.durability == Durability::AtRisk;
    let help = "1 if the database may lose an acknowledged change";
    gauge(to, "keyreeve_durability_at_risk", help, u64::from(is_at_risk))
}

fn counters<L: EncodeLabelSet>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: &[(L, u64)],
) -> fmt::Result {
    let mut family = to.encode_descriptor(name, help, None, ConstCounter::new(0_u64).metric_type())?;
    for (labels, count) in rows {
        ConstCounter::new(*count).encode(family.encode_family(labels)?)?;
    }
    Ok(())
}

fn counter(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, count: u64) -> fmt::Result {
    let counter = ConstCounter::new(count);
    counter.encode(to.encode_descriptor(name, help, None, counter.metric_type())?)
}

fn gauges<L: EncodeLabelSet>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl IntoIterator<Item = (L, i64)>,
) -> fmt::Result {
    let mut family = to.encode_descriptor(name, help, None, ConstGauge::new(0_i64).metric_type())?;
    for (labels, value) in rows {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauge<N>(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: N) -> fmt::Result
where
    i64: TryFrom<N>,
{
    let gauge = ConstGauge::new(whole(value));
    gauge.encode(to.encode_descriptor(name, help, None, gauge.metric_type())?)
}

fn whole<N>(value: N) -> i64
where
    i64: TryFrom<N>,
{
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// `name` is without the unit.
fn timestamp(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, unix: i64) -> fmt::Result {
    let gauge = ConstGauge::new(unix);
    gauge.encode(to.encode_descriptor(name, help, Some(&Unit::Seconds), gauge.metric_type())?)
}

/// Milliseconds as seconds; `name` is without the unit.
fn seconds(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, ms: u64) -> fmt::Result {
    let gauge = ConstGauge::new(f64::from(u32::try_from(ms).unwrap_or(u32::MAX)) / 1_000.0);
    gauge.encode(to.encode_descriptor(name, help, Some(&Unit::Seconds), gauge.metric_type())?)
}
