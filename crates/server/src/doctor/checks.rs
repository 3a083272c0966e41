//! Every finding: its name, severity, reason and remedy. `docs/operations/doctor.md` has the same names; a test
//! compares them.

use keyreeve_api::doctor::Finding;

/// Severity of a finding, the worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// An attacker can do harm, or data can be lost.
    Danger,
    /// It may lead to that.
    Warning,
    /// An improvement.
    Advice,
}

/// A possible finding.
#[derive(Debug)]
pub struct Check {
    /// Its name, which never changes.
    pub id: &'static str,
    /// Its severity.
    pub severity: Severity,
    why: &'static str,
    fix: &'static str,
}

impl Check {
    /// Returns the finding with its particulars.
    pub(crate) fn found(&self, what: impl Into<String>) -> Finding {
        let severity = match self.severity {
            Severity::Danger => "danger",
            Severity::Warning => "warning",
            Severity::Advice => "advice",
        };
        Finding {
            id: self.id,
            severity,
            what: what.into(),
            why: self.why,
            fix: self.fix,
            docs: format!("docs/operations/doctor.md#{}", self.id),
        }
    }
}

macro_rules! checks {
    ($($name:ident, $id:literal, $severity:ident, $why:literal, $fix:literal;)+) => {
        $(pub(crate) const $name: Check = Check {
            id: $id,
            severity: Severity::$severity,
            why: $why,
            fix: $fix,
        };)+

        /// All checks, in the order of the page.
        pub const ALL: &[&Check] = &[$(&$name),+];
    };
}

checks! {
    API_WITHOUT_TLS, "api-without-tls", Danger,
        "root keys, passwords and new secrets can be read by everybody on the way",
        "give --tls-cert and --tls-key, or listen on 127.0.0.1 or a socket behind a proxy that has TLS";
    CHECK_WITHOUT_TLS, "check-without-tls", Danger,
        "the keys of your callers can be read by everybody on the way",
        "give --tls-cert and --tls-key without --check-plain, or listen on 127.0.0.1 or a socket";
    CHECK_WITHOUT_CLIENT_CA, "check-without-client-certificates", Warning,
        "whoever reaches the check listener can try keys there",
        "give --check-client-ca, so that only your gateways are served";
    OPS_EXPOSED, "ops-exposed", Warning,
        "metrics tell outsiders what you have and how it is",
        "let --ops-listen be a loopback address, or one of a network that only your monitoring reaches";
    TLS_FILES_UNUSABLE, "tls-files-unusable", Danger,
        "a start fails, or a renewed certificate is not used and the old one ends",
        "put a certificate and its key there that belong together, in PEM, readable by the server";
    CERTIFICATE_ENDED, "certificate-ended", Danger,
        "clients refuse to connect",
        "renew the certificate; new files are used without a restart";
    CERTIFICATE_ENDS_SOON, "certificate-ends-soon", Warning,
        "when it has ended clients refuse to connect",
        "renew the certificate, and see why that did not happen by itself";
    TLS_KEY_OPEN, "tls-key-open", Danger,
        "every user of the machine can read it and pass for this server",
        "chmod 640 or less, with a group that only the server is in";
    DATA_OPEN, "data-open", Danger,
        "others on the machine can read digests, names and the key that signs the audit log, or change them",
        "chmod 700 the data directory and 600 what is in it";
    ROOT_KEY_LEFT, "root-key-left", Warning,
        "a file with an instance root key is a way to everything, and is copied by backups",
        "move the key into your secret store and delete the file";
    ROOT_KEYS_OLD, "root-keys-old", Warning,
        "a credential that may do everything should not be older than people remember where it was put",
        "make new root keys with fewer permissions (`keyreeve root-keys create --permission …`) and revoke the old ones";
    KEYS_WITHOUT_END, "keys-without-end", Advice,
        "a key that is forgotten works for ever",
        "set expiry.max_days in the policy of the tenant, and an expiry on keys that matter";
    MEMORY_TOO_SMALL, "memory-too-small", Warning,
        "keys that do not fit are looked up in the database each time, which is slower and fails with it",
        "raise --cache-entries; a million keys take about 200 MB";
    LEASE_LONG, "lease-long", Warning,
        "a node that cannot be reached makes every revocation wait so long",
        "set --lease to what you want to wait at worst; 15s is the default";
    LEASE_SHORT, "lease-short", Advice,
        "a short pause of the database ends verification",
        "set --lease to a few times the longest pause that you expect; 15s is the default";
    DATABASE_UNENCRYPTED, "database-unencrypted", Danger,
        "digests and everything else go over the network as they are, and answers could be forged",
        "reach the database through a tunnel, a socket, or a pooler on this machine that speaks TLS to it";
    DURABILITY_AT_RISK, "durability-at-risk", Danger,
        "a key that was revoked could come back after a crash or a failover",
        "turn fsync and full_page_writes on, name synchronous standbys, and start with --require-sync";
    HINTS_MISSING, "hints-missing", Warning,
        "a revocation takes until the next poll, up to a second, instead of milliseconds",
        "connect past the pooler, or let it keep sessions: notifications do not pass in transaction mode";
    CLOCK_SKEW, "clock-skew", Warning,
        "times in logs disagree with the audit log, and certificates may be judged wrongly",
        "run a time service on this machine and on the database's";
    DISK_SHORT, "disk-short", Danger,
        "when the disk is full nothing can be changed any more, also not revoked",
        "make room, or move the data directory to a larger disk";
    DESCRIPTORS_FEW, "descriptors-few", Warning,
        "a connection is a descriptor: when they run out nobody is let in any more",
        "raise the limit of open files (LimitNOFILE in a unit, ulimit -n in a shell)";
    AUDIT_LOG_SHORT, "audit-log-short", Danger,
        "entries of the log that were signed for are gone: somebody cut it off, or an older copy was put in place",
        "keep the database as it is, run `keyreeve audit verify`, and compare with a backup";
    CHECKPOINT_UNUSABLE, "checkpoint-unusable", Warning,
        "without a signed end, entries could be cut off the log unseen",
        "see who changed the files audit-checkpoint, audit-signing-key and audit-verifier-key, and put them back; failing that, \
         `keyreeve audit accept-restore`";
    UNKNOWN_VARIABLES, "unknown-variables", Warning,
        "a setting that is misspelt does nothing, and the default stands",
        "correct the name, or remove the variable; `keyreeve serve --help` lists all";
}
