//! Each finding, caused by a set-up that has this fault and no other.

use super::facts::{DoctorFacts, Files, NodeFact, Running, TlsFact};
use super::judge::judge;
use super::{ALL, Severity};
use crate::settings::Settings;
use crate::tls::{Certificate, TlsFiles};
use keyreeve_authority::Inventory;
use keyreeve_core::Timestamp;
use keyreeve_core::text::Slug;
use keyreeve_store::cluster::Durability;
use keyreeve_store::model::Census;
use std::collections::BTreeSet;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const DAY_MS: i64 = 24 * 3_600_000;
const NOTHING: [&str; 0] = [];

fn settings() -> Settings {
    Settings {
        listen: vec!["127.0.0.1:7300".parse().unwrap(), "unix:/run/a.sock".parse().unwrap()],
        check_listen: vec!["[::1]:7301".parse().unwrap()],
        ops_listen: "127.0.0.1:7302".parse().unwrap(),
        cache_entries: 1_000,
        lease_ms: Some(15_000),
        node_name: "a".to_owned(),
        ..Settings::on_loopback("/data".into())
    }
}

fn facts(settings: &Settings) -> DoctorFacts<'_> {
    DoctorFacts {
        settings,
        now: NOW,
        files: Files {
            free_bytes: Some(1 << 40),
            descriptors: Some(65_536),
            ..Files::default()
        },
        tls: Vec::new(),
        inventory: Some(Inventory {
            census: Census::default(),
            mighty_root_keys: vec![("rk_1".to_owned(), NOW)],
            expiring_root_keys: vec![("rk_1".to_owned(), in_days(15))],
            idle_root_keys: vec![("rk_1".to_owned(), in_days(-90))],
            revision: 10,
        }),
        checkpoint: Some(Ok(10)),
        running: Some(Running { skew_ms: 0, node: None }),
    }
}

fn in_days(days: i64) -> Timestamp {
    Timestamp::from_millis(NOW.millis() + days * DAY_MS)
}

fn tls(client_ca: bool) -> TlsFiles {
    TlsFiles {
        cert: "c".into(),
        key: "k".into(),
        client_ca: client_ca.then(|| "ca".into()),
    }
}

fn shown(days: i64, complaint: Option<&str>) -> TlsFact {
    TlsFact {
        listener: "listen",
        certificate: Some(Certificate {
            dns_names: vec!["keys.example".to_owned()],
            addresses: Vec::new(),
            not_before: Timestamp::from_millis(0),
            not_after: Timestamp::from_millis(NOW.millis() + days * DAY_MS),
        }),
        complaint: complaint.map(str::to_owned),
    }
}

fn ids(facts: &DoctorFacts<'_>) -> Vec<&'static str> {
    judge(facts).iter().map(|finding| finding.id).collect()
}

fn in_settings(change: impl FnOnce(&mut Settings)) -> Vec<&'static str> {
    let mut settings = settings();
    change(&mut settings);
    ids(&facts(&settings))
}

fn in_facts(change: impl FnOnce(&mut DoctorFacts<'_>)) -> Vec<&'static str> {
    let settings = settings();
    let mut facts = facts(&settings);
    change(&mut facts);
    ids(&facts)
}

fn in_files(change: impl FnOnce(&mut Files)) -> Vec<&'static str> {
    in_facts(|facts| change(&mut facts.files))
}

fn in_data(change: impl FnOnce(&mut Inventory)) -> Vec<&'static str> {
    in_facts(|facts| change(facts.inventory.as_mut().unwrap()))
}

fn in_tls(fact: TlsFact) -> Vec<&'static str> {
    in_facts(|facts| facts.tls = vec![fact])
}

fn in_node(lease_ms: u64, durability: Durability, has_hints: bool) -> Vec<&'static str> {
    let node = NodeFact {
        lease_ms,
        durability,
        has_hints,
    };
    in_facts(|facts| {
        facts.running = Some(Running {
            skew_ms: 100,
            node: Some(node),
        });
    })
}

#[test]
fn a_clean_set_up_has_nothing() {
    assert_eq!(in_settings(|_| {}), NOTHING);
    assert_eq!(in_node(15_000, Durability::Local, true), NOTHING);
    assert_eq!(in_tls(shown(90, None)), NOTHING);
    let encrypted = in_settings(|settings| {
        settings.listen = vec!["0.0.0.0:7300".parse().unwrap()];
        settings.check_listen = vec!["0.0.0.0:7301".parse().unwrap()];
        (settings.tls, settings.check_tls) = (Some(tls(false)), Some(tls(true)));
    });
    assert_eq!(encrypted, NOTHING);
}

fn faults_of_settings() -> Vec<(&'static str, Vec<&'static str>)> {
    let anywhere = || vec!["0.0.0.0:1".parse().unwrap()];
    let nobody_asked = in_settings(|settings| {
        settings.check_listen = anywhere();
        settings.check_tls = Some(tls(false));
    });
    let far = Some("postgres://u@db.example/k".to_owned());
    let misspelt = vec!["KEYREEVE_LISEN".to_owned()];
    vec![
        ("api-without-tls", in_settings(|it| it.listen = anywhere())),
        ("check-without-tls", in_settings(|it| it.check_listen = anywhere())),
        ("check-without-client-certificates", nobody_asked),
        (
            "ops-exposed",
            in_settings(|it| it.ops_listen = "10.0.0.1:1".parse().unwrap()),
        ),
        ("unknown-variables", in_settings(|it| it.unknown_variables = misspelt)),
        ("database-unencrypted", in_settings(|it| it.database = far)),
    ]
}

fn faults_of_files() -> Vec<(&'static str, Vec<&'static str>)> {
    let open = || vec![("/data/x".into(), 0o644)];
    vec![
        ("tls-files-unusable", in_tls(shown(90, Some("does not match")))),
        ("certificate-ended", in_tls(shown(-1, None))),
        ("certificate-ends-soon", in_tls(shown(13, None))),
        ("tls-key-open", in_files(|it| it.open_tls_keys = open())),
        ("data-open", in_files(|it| it.open_data = open())),
        (
            "root-key-left",
            in_files(|it| it.root_key = Some("/data/root-key".into())),
        ),
        ("disk-short", in_files(|it| it.free_bytes = Some(1 << 20))),
        ("descriptors-few", in_files(|it| it.descriptors = Some(1_024))),
    ]
}

fn faults_of_data_and_server() -> Vec<(&'static str, Vec<&'static str>)> {
    let old = Timestamp::from_millis(NOW.millis() - 366 * DAY_MS);
    let endless = vec![(Slug::parse("acme").unwrap(), 3)];
    let torn = Some(Err("is torn".to_owned()));
    let skewed = Some(Running {
        skew_ms: 2_001,
        node: None,
    });
    vec![
        ("memory-too-small", in_data(|it| it.census.active = 1_001)),
        ("keys-without-end", in_data(|it| it.census.endless = endless)),
        (
            "root-keys-old",
            in_data(|it| it.mighty_root_keys = vec![("rk_2".to_owned(), old)]),
        ),
        (
            "root-keys-expire-soon",
            in_data(|it| it.expiring_root_keys = vec![("rk_2".to_owned(), in_days(14))]),
        ),
        (
            "root-keys-unused",
            in_data(|it| it.idle_root_keys = vec![("rk_2".to_owned(), in_days(-91))]),
        ),
        ("audit-log-short", in_data(|it| it.revision = 9)),
        ("checkpoint-unusable", in_facts(|facts| facts.checkpoint = torn)),
        ("clock-skew", in_facts(|facts| facts.running = skewed)),
        ("lease-long", in_node(60_001, Durability::Local, true)),
        ("lease-short", in_node(2_000, Durability::Replicated, true)),
        ("durability-at-risk", in_node(15_000, Durability::AtRisk, true)),
        ("hints-missing", in_node(15_000, Durability::Local, false)),
    ]
}

fn every_fault() -> Vec<(&'static str, Vec<&'static str>)> {
    [faults_of_settings(), faults_of_files(), faults_of_data_and_server()].concat()
}

#[test]
fn each_fault_is_found_once_and_nothing_else_with_it() {
    for (id, found) in every_fault() {
        assert_eq!(found, [id]);
    }
}

#[test]
fn the_same_of_two_listeners_is_said_once() {
    let found = in_facts(|facts| facts.tls = vec![shown(-1, None), shown(-2, None)]);
    assert_eq!(found, ["certificate-ended"]);
}

#[test]
fn everything_that_can_be_found_is_tried_here_and_stands_on_the_page() {
    let tried: BTreeSet<_> = every_fault().into_iter().map(|(id, _)| id).collect();
    let known: BTreeSet<_> = ALL.iter().map(|check| check.id).collect();
    assert_eq!(tried, known);
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations/doctor.md");
    let page = std::fs::read_to_string(page).unwrap();
    let listed: BTreeSet<_> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(listed, known);
}

#[test]
fn the_worst_comes_first() {
    let settings = settings();
    let mut facts = facts(&settings);
    facts.inventory.as_mut().unwrap().census.endless = vec![(Slug::parse("acme").unwrap(), 3)];
    facts.files.root_key = Some("/data/root-key".into());
    facts.files.open_data = vec![("/data".into(), 0o755)];
    let found = judge(&facts);
    let severities: Vec<_> = found.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, ["danger", "warning", "advice"]);
    assert!(Severity::Danger < Severity::Warning && Severity::Warning < Severity::Advice);
}
