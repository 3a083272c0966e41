//! Derives findings from facts. Pure, so that each rule is a line in a table of tests.

use super::checks as check;
use super::facts::{DoctorFacts, NodeFact, TlsFact};
use crate::listen::Listen;
use crate::tls::renewal_is_due;
use keyreeve_api::doctor::Finding;
use keyreeve_authority::Inventory;
use keyreeve_core::Timestamp;
use keyreeve_store::cluster::Durability;
use keyreeve_store::model::CENSUS_ROOT_KEY_DAYS;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Age after which a root key with every permission is old: a year.
const ROOT_KEY_OLD_MS: u64 = 365 * 24 * 3_600_000;
/// Time before its expiry from which a root key is reported.
const ROOT_KEY_SOON_MS: u64 = CENSUS_ROOT_KEY_DAYS as u64 * 24 * 3_600_000;
/// Time without a use after which a root key is reported: 90 days.
const ROOT_KEY_IDLE_MS: u64 = 90 * 24 * 3_600_000;
/// Most root keys that one finding names.
const ROOT_KEYS_NAMED: usize = 10;
/// Leases outside these bounds are reported, in milliseconds.
const LEASE_LONG_MS: u64 = 60_000;
const LEASE_SHORT_MS: u64 = 5_000;
/// Largest difference of clocks that is not reported, in milliseconds.
const SKEW_MAX_MS: u64 = 2_000;
/// Free bytes below which a disk is short: a gibibyte.
const DISK_FREE_MIN: u64 = 1 << 30;
/// Descriptors below which there are few: a busy gateway alone has hundreds of connections.
const DESCRIPTORS_MIN: u64 = 4_096;

/// Returns the findings, the worst first.
pub(super) fn judge(facts: &DoctorFacts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    listeners(facts, &mut found);
    for tls in &facts.tls {
        certificate(tls, facts.now, &mut found);
    }
    files(facts, &mut found);
    data(facts, &mut found);
    lease(facts, &mut found);
    running(facts, &mut found);
    let mut found = once_each(found);
    let severity = |finding: &Finding| {
        check::ALL
            .iter()
            .find(|one| one.id == finding.id)
            .map(|one| one.severity)
    };
    found.sort_by_key(severity);
    found
}

/// Merges equal findings of several listeners.
fn once_each(found: Vec<Finding>) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::new();
    for finding in found {
        match merged.iter_mut().find(|one| one.id == finding.id) {
            Some(one) => one.what = format!("{}; {}", one.what, finding.what),
            None => merged.push(finding),
        }
    }
    merged
}

/// Returns the addresses of a listener that other machines can reach.
fn exposed(places: &[Listen]) -> Vec<&SocketAddr> {
    let addresses = places.iter().filter_map(|place| match place {
        Listen::Tcp(address) => Some(address),
        Listen::Unix(_) => None,
    });
    addresses.filter(|address| !address.ip().is_loopback()).collect()
}

fn listed<T: ToString>(things: impl IntoIterator<Item = T>) -> String {
    things
        .into_iter()
        .map(|thing| thing.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn listeners(facts: &DoctorFacts<'_>, found: &mut Vec<Finding>) {
    let settings = facts.settings;
    let api = exposed(&settings.listen);
    if !api.is_empty() && settings.tls.is_none() {
        found.push(check::API_WITHOUT_TLS.found(format!("the API listens on {} without TLS", listed(api))));
    }
    let gateways = exposed(&settings.check_listen);
    match &settings.check_tls {
        _ if gateways.is_empty() => {}
        None => {
            let what = format!("the check listener is on {} without TLS", listed(gateways));
            found.push(check::CHECK_WITHOUT_TLS.found(what));
        }
        Some(tls) if tls.client_ca.is_none() => {
            let what = format!(
                "the check listener is on {} and requires no client certificate",
                listed(gateways)
            );
            found.push(check::CHECK_WITHOUT_CLIENT_CA.found(what));
        }
        Some(_) => {}
    }
    if !settings.ops_listen.ip().is_loopback() {
        let what = format!("metrics and health are served on {}", settings.ops_listen);
        found.push(check::OPS_EXPOSED.found(what));
    }
    if !settings.unknown_variables.is_empty() {
        let what = format!(
            "Keyreeve does not know these variables: {}",
            listed(&settings.unknown_variables)
        );
        found.push(check::UNKNOWN_VARIABLES.found(what));
    }
    let is_plain = |url: &String| keyreeve_store::PostgresStore::is_reached_unencrypted(url);
    if settings.database.as_ref().is_some_and(is_plain) {
        let what = "the database is on another machine and reached without TLS";
        found.push(check::DATABASE_UNENCRYPTED.found(what));
    }
}

fn certificate(tls: &TlsFact, now: Timestamp, found: &mut Vec<Finding>) {
    let listener = tls.listener;
    if let Some(complaint) = &tls.complaint {
        found.push(check::TLS_FILES_UNUSABLE.found(format!("{listener}: {complaint}")));
    }
    let Some(certificate) = &tls.certificate else { return };
    if certificate.is_out_of_time(now) {
        found.push(check::CERTIFICATE_ENDED.found(format!("{listener}: the certificate is {certificate}")));
    } else if renewal_is_due(certificate, now) {
        found.push(check::CERTIFICATE_ENDS_SOON.found(format!("{listener}: the certificate is {certificate}")));
    }
}

fn with_mode((path, mode): &(PathBuf, u32)) -> String {
    format!("{} ({mode:03o})", path.display())
}

fn files(facts: &DoctorFacts<'_>, found: &mut Vec<Finding>) {
    let files = &facts.files;
    if !files.open_tls_keys.is_empty() {
        let what = format!(
            "every user may read {}",
            listed(files.open_tls_keys.iter().map(with_mode))
        );
        found.push(check::TLS_KEY_OPEN.found(what));
    }
    if !files.open_data.is_empty() {
        let what = format!(
            "other users have access to {}",
            listed(files.open_data.iter().map(with_mode))
        );
        found.push(check::DATA_OPEN.found(what));
    }
    if let Some(path) = &files.root_key {
        let what = format!("the first root key is still stored in {}", path.display());
        found.push(check::ROOT_KEY_LEFT.found(what));
    }
    if let Some(free) = files.free_bytes.filter(|free| *free < DISK_FREE_MIN) {
        let what = format!("{} MiB free in {}", free >> 20, facts.settings.data.display());
        found.push(check::DISK_SHORT.found(what));
    }
    if let Some(descriptors) = files.descriptors.filter(|limit| *limit < DESCRIPTORS_MIN) {
        found.push(check::DESCRIPTORS_FEW.found(format!("at most {descriptors} files and connections may be open")));
    }
}

fn data(facts: &DoctorFacts<'_>, found: &mut Vec<Finding>) {
    if let Some(Err(why)) = &facts.checkpoint {
        found.push(check::CHECKPOINT_UNUSABLE.found(why.clone()));
    }
    let Some(inventory) = &facts.inventory else { return };
    if let Some(Ok(signed)) = facts.checkpoint
        && signed > inventory.revision
    {
        let what = format!(
            "the log ends at entry {}, and is signed up to {signed}",
            inventory.revision
        );
        found.push(check::AUDIT_LOG_SHORT.found(what));
    }
    let old = inventory.mighty_root_keys.iter();
    let old: Vec<_> = old
        .filter(|(_, since)| facts.now.millis_since(*since) > ROOT_KEY_OLD_MS)
        .collect();
    if !old.is_empty() {
        let ids = listed(old.iter().map(|(id, _)| id));
        let what = format!("instance root keys with every permission have had the same secret for a year: {ids}");
        found.push(check::ROOT_KEYS_OLD.found(what));
    }
    root_keys(facts.now, inventory, found);
    let endless = &inventory.census.endless;
    if !endless.is_empty() {
        let tenants = listed(
            endless
                .iter()
                .take(10)
                .map(|(tenant, count)| format!("{tenant} ({count})")),
        );
        found.push(check::KEYS_WITHOUT_END.found(format!("tenants have keys that never expire: {tenants}")));
    }
    let (keys, capacity) = (inventory.census.active, facts.settings.cache_entries);
    if u64::try_from(capacity).is_ok_and(|capacity| capacity < keys) {
        let what = format!("{keys} keys are usable, and at most {capacity} fit into memory");
        found.push(check::MEMORY_TOO_SMALL.found(what));
    }
}

/// Root keys that will soon stop working, and those that nothing uses.
fn root_keys(now: Timestamp, inventory: &Inventory, found: &mut Vec<Finding>) {
    let those = |all: &[(String, Timestamp)], is_meant: &dyn Fn(Timestamp) -> bool| {
        let meant = all.iter().filter(|(_, at)| is_meant(*at)).take(ROOT_KEYS_NAMED);
        Some(listed(meant.map(|(id, _)| id))).filter(|ids| !ids.is_empty())
    };
    let is_soon = |end: Timestamp| end > now && end.millis_since(now) <= ROOT_KEY_SOON_MS;
    if let Some(ids) = those(&inventory.expiring_root_keys, &is_soon) {
        let what = format!("root keys expire within 14 days: {ids}");
        found.push(check::ROOT_KEYS_EXPIRE_SOON.found(what));
    }
    let is_idle = |at: Timestamp| now.millis_since(at) > ROOT_KEY_IDLE_MS;
    if let Some(ids) = those(&inventory.idle_root_keys, &is_idle) {
        let what = format!("root keys have not been used for 90 days: {ids}");
        found.push(check::ROOT_KEYS_UNUSED.found(what));
    }
}

fn lease(facts: &DoctorFacts<'_>, found: &mut Vec<Finding>) {
    let of_node = facts.running.as_ref().and_then(|running| running.node.as_ref());
    let Some(ms) = of_node.map(|node| node.lease_ms).or(facts.settings.lease_ms) else {
        return;
    };
    let what = format!("the lease is {ms} ms");
    match ms {
        LEASE_LONG_MS.. if ms > LEASE_LONG_MS => found.push(check::LEASE_LONG.found(what)),
        ..LEASE_SHORT_MS => found.push(check::LEASE_SHORT.found(what)),
        _ => {}
    }
}

fn running(facts: &DoctorFacts<'_>, found: &mut Vec<Finding>) {
    let Some(running) = &facts.running else { return };
    if running.skew_ms > SKEW_MAX_MS {
        let what = format!(
            "this machine's clock and the database's differ by {} ms",
            running.skew_ms
        );
        found.push(check::CLOCK_SKEW.found(what));
    }
    let Some(NodeFact {
        durability, has_hints, ..
    }) = &running.node
    else {
        return;
    };
    if *durability == Durability::AtRisk {
        let what = "the database may lose an acknowledged change: fsync or full_page_writes is off, or a standby \
                    replicates asynchronously";
        found.push(check::DURABILITY_AT_RISK.found(what));
    }
    if !has_hints {
        found.push(check::HINTS_MISSING.found("no notification of the database has arrived since the start"));
    }
}
