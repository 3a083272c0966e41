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
pub struct DoctorCheck {
    /// Its name, which never changes.
    pub id: &'static str,
    /// Its severity.
    pub severity: Severity,
    why: &'static str,
    fix: &'static str,
}

impl DoctorCheck {
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
        $(pub(crate) const $name: DoctorCheck = DoctorCheck {
            id: $id,
            severity: Severity::$severity,
            why: $why,
            fix: $fix,
        };)+

        /// All checks, in the order of the page.
        pub const ALL: &[&DoctorCheck] = &[$(&$name),+];
    };
}

checks! {
    API_WITHOUT_TLS, "api-without-tls", Danger,
        "root keys, passwords and new secrets can be read by any host on the network path",
        "give --tls-cert and --tls-key, or listen on 127.0.0.1 or a socket behind a proxy that has TLS";
    CHECK_WITHOUT_TLS, "check-without-tls", Danger,
        "the keys of your callers can be read by any host on the network path",
        "give --tls-cert and --tls-key without --check-plain, or listen on 127.0.0.1 or a socket";
    CHECK_WITHOUT_CLIENT_CA, "check-without-client-certificates", Warning,
        "any client that reaches the check listener can try keys there",
        "give --check-client-ca, so that only your gateways are served";
    OPS_EXPOSED, "ops-exposed", Warning,
        "metrics reveal the number of keys, the load and the state of the server",
        "set --ops-listen to a loopback address, or to an address that only your monitoring reaches";
    TLS_FILES_UNUSABLE, "tls-files-unusable", Danger,
        "the start fails, or a renewed certificate is not used and the old one expires",
        "provide a certificate and its matching key, in PEM, readable by the server";
    CERTIFICATE_ENDED, "certificate-ended", Danger,
        "clients refuse to connect",
        "renew the certificate; new files are used without a restart";
    CERTIFICATE_ENDS_SOON, "certificate-ends-soon", Warning,
        "clients refuse to connect once it has expired",
        "renew the certificate, and find out why automatic renewal failed";
    TLS_KEY_OPEN, "tls-key-open", Danger,
        "every user of the machine can read it and impersonate this server",
        "chmod 640 or less, with a group that only the server is in";
    DATA_OPEN, "data-open", Danger,
        "other users of the machine can read or change digests, names and the key that signs the audit log",
        "chmod 700 the data directory and 600 its files";
    ROOT_KEY_LEFT, "root-key-left", Warning,
        "a file with an instance root key gives access to everything, and is copied by backups",
        "move the key into your secret store and delete the file";
    ROOT_KEYS_OLD, "root-keys-old", Warning,
        "over time, the copies of a credential that may do everything are no longer known",
        "give them new secrets (`keyreeve root-keys rotate ID --overlap 1d`), or make new root keys with fewer permissions, \
         an expiry and networks (`keyreeve root-keys create`) and revoke the old ones";
    ROOT_KEYS_EXPIRE_SOON, "root-keys-expire-soon", Warning,
        "from its expiry on a root key is refused, and what uses it stops working",
        "give it a new secret and a new expiry: `keyreeve root-keys rotate ID --expires 52w --overlap 1d`";
    ROOT_KEYS_UNUSED, "root-keys-unused", Advice,
        "a root key that no client uses is a risk without a benefit",
        "find out who has it, and revoke it: `keyreeve root-keys revoke ID`";
    KEYS_WITHOUT_END, "keys-without-end", Advice,
        "a forgotten key stays valid indefinitely",
        "set expiry.max_days in the policy of the tenant, and an expiry on keys that matter";
    MEMORY_TOO_SMALL, "memory-too-small", Warning,
        "keys that do not fit are looked up in the database each time, which is slower and fails when the database \
         does",
        "raise --cache-entries; a million keys take about 200 MB";
    LEASE_LONG, "lease-long", Warning,
        "every revocation waits that long for a node that cannot be reached",
        "set --lease to the longest wait that is acceptable; 15s is the default";
    LEASE_SHORT, "lease-short", Advice,
        "a short pause of the database stops verification",
        "set --lease to a few times the longest pause that you expect; 15s is the default";
    DATABASE_UNENCRYPTED, "database-unencrypted", Danger,
        "digests and all other data cross the network unencrypted, and answers could be forged",
        "reach the database through a tunnel, a socket, or a pooler on this machine that connects to it with TLS";
    DURABILITY_AT_RISK, "durability-at-risk", Danger,
        "a revoked key could become valid again after a crash or a failover",
        "turn fsync and full_page_writes on, name synchronous standbys, and start with --require-sync";
    HINTS_MISSING, "hints-missing", Warning,
        "a revocation takes until the next poll, up to a second, instead of milliseconds",
        "connect without the pooler, or set it to session mode: notifications do not pass in transaction mode";
    CLOCK_SKEW, "clock-skew", Warning,
        "times in logs differ from the audit log, and certificates may be accepted or rejected wrongly",
        "run a time service on this machine and on the database's";
    DISK_SHORT, "disk-short", Danger,
        "when the disk is full every change is refused, revocations too",
        "free space, or move the data directory to a larger disk";
    DESCRIPTORS_FEW, "descriptors-few", Warning,
        "each connection uses a descriptor: when none is left, new connections are refused",
        "raise the limit of open files (LimitNOFILE in a unit, ulimit -n in a shell)";
    AUDIT_LOG_SHORT, "audit-log-short", Danger,
        "signed entries of the log are missing: it was truncated, or replaced by an older copy",
        "keep the database as it is, run `keyreeve audit verify`, and compare with a backup";
    CHECKPOINT_UNUSABLE, "checkpoint-unusable", Warning,
        "without a signed end, the log could be truncated without detection",
        "find out what changed the files audit-checkpoint, audit-signing-key and audit-verifier-key, and restore \
         them; failing that, `keyreeve audit accept-restore`";
    UNKNOWN_VARIABLES, "unknown-variables", Warning,
        "a misspelt setting has no effect, and the default applies",
        "correct the name, or remove the variable; `keyreeve serve --help` lists all";
}
