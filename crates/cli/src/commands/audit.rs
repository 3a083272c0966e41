//! `keyreeve audit`: reads, follows, exports and verifies the audit log.

use super::accept_restore::AcceptRestore;
use super::connect::ServerOptions;
use super::duration::Duration;
use crate::exit::AnswerIsNo;
use crate::output::{self, Format};
use clap::{Args, Subcommand};
use keyreeve_client::Client;
use serde_json::{Value, json};
use std::io::IsTerminal as _;
use std::path::PathBuf;

/// Entries of one request.
const PAGE: usize = 1_000;
/// Interval at which `tail -f` requests more.
const FOLLOW_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// Read, follow, export and verify the audit log.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  keyreeve audit tail -f\n  keyreeve audit tail --action key.revoked --since 7d\n  \
                        keyreeve audit export > audit.jsonl\n  keyreeve audit verify\n  \
                        keyreeve audit verify --file copy-of-keyreeve.db --checkpoint kept-elsewhere"
)]
pub(crate) enum Audit {
    /// Print the newest entries, one a line: as text on a terminal, as JSON otherwise; with -f wait for more
    Tail(Tail),
    /// Print all entries, oldest first, one JSON object a line
    Export(Export),
    /// Verify that no entry was changed, removed, reordered or truncated
    Verify(AuditVerifyArgs),
    /// Accept a database that is not the one that was signed, such as an older copy
    AcceptRestore(AcceptRestore),
    /// Print the newest signed checkpoint, to be stored elsewhere
    Checkpoint {
        #[command(flatten)]
        connection: ServerOptions,
    },
}

/// Selects entries.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    /// Only entries about this key, user or root key
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Only entries by this actor
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// Only this action, or a kind of action with its dot: `key.`
    #[arg(long)]
    action: Option<String>,
    /// Only entries of the last 1w, 12h, 1h30m, …
    #[arg(long, value_name = "DURATION")]
    since: Option<Duration>,
    /// The tenant [default: the root key's own, or `default`]
    #[arg(long, env = "KEYREEVE_TENANT")]
    tenant: Option<String>,
}

/// Print the newest entries.
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// Wait for more entries
    #[arg(short, long)]
    follow: bool,
    /// How many of the newest entries
    #[arg(short = 'n', long, default_value_t = 10)]
    lines: u32,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    connection: ServerOptions,
}

/// Print all entries.
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    connection: ServerOptions,
}

/// Verify the audit log.
#[derive(Debug, Args)]
pub(crate) struct AuditVerifyArgs {
    /// Verify this database file, or data directory, without a server
    #[arg(long)]
    file: Option<PathBuf>,
    /// A checkpoint that was stored elsewhere [default: the newest of the server, or the one beside the file]
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// The key that verifies the checkpoint [default: the one beside the file]
    #[arg(long, value_name = "FILE", requires = "file")]
    verifier_key: Option<PathBuf>,
    #[command(flatten)]
    connection: ServerOptions,
}

impl Audit {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::AcceptRestore(accept) => accept.run().await,
            Self::Tail(tail) => tail.run().await,
            Self::Export(export) => export.run().await,
            Self::Verify(verify) => verify.run().await,
            Self::Checkpoint { connection } => {
                let found = connection
                    .with_server(async |client| Ok(client.get("v1/audit/checkpoint", &[]).await?))
                    .await?;
                let note = found.get("note").and_then(Value::as_str).unwrap_or_default();
                output::print(note.trim_end());
                Ok(())
            }
        }
    }
}

impl Filter {
    fn query(&self) -> Vec<(&'static str, String)> {
        let since = self.since.and_then(|since| since.0);
        let given = [
            ("key_id", self.key.clone()),
            ("actor_id", self.actor.clone()),
            ("action", self.action.clone()),
            ("since", since.map(|seconds| output::ago(seconds).to_string())),
        ];
        given
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }

    /// Prints entries, oldest first, from `cursor` on. Returns the last printed revision.
    async fn print_from(&self, client: &Client, mut cursor: u64, format: Format) -> anyhow::Result<u64> {
        loop {
            let mut query = self.query();
            query.push(("order", "asc".to_owned()));
            query.push(("limit", PAGE.to_string()));
            if cursor > 0 {
                query.push(("cursor", cursor.to_string()));
            }
            let page = client.get("v1/audit_events", &query).await?;
            let events = page
                .get("data")
                .and_then(Value::as_array)
                .map_or(&[][..], Vec::as_slice);
            for event in events {
                output::print(&line(format, event));
                cursor = revision(event).unwrap_or(cursor);
            }
            if events.len() < PAGE {
                return Ok(cursor);
            }
        }
    }
}

/// Formats an entry as one line: time, action, object, actor, tenant and reason; or as JSON.
fn line(format: Format, event: &Value) -> String {
    if format == Format::Json {
        return event.to_string();
    }
    let text = |place: &str| event.pointer(place).and_then(Value::as_str).unwrap_or_default();
    let at = event
        .get("at")
        .and_then(Value::as_i64)
        .map_or_else(String::new, output::time);
    let actor = format!("by {} {}", text("/actor/type"), text("/actor/id"));
    let mut parts = vec![
        at,
        text("/action").to_owned(),
        text("/target/id").to_owned(),
        actor.trim_end().to_owned(),
    ];
    for (word, place) in [("in", "/tenant"), ("because:", "/reason")] {
        if !text(place).is_empty() {
            parts.push(format!("{word} {}", text(place)));
        }
    }
    parts.join("  ")
}

fn revision(event: &Value) -> Option<u64> {
    event.get("revision").and_then(Value::as_u64)
}

impl Tail {
    async fn run(self) -> anyhow::Result<()> {
        self.connection
            .with_server(async |client| self.follow(client).await)
            .await
    }

    async fn follow(&self, client: Client) -> anyhow::Result<()> {
        let client = client.for_tenant(self.filter.tenant.clone());
        let mut query = self.filter.query();
        query.push(("limit", self.lines.clamp(1, 1_000).to_string()));
        let page = client.get("v1/audit_events", &query).await?;
        let newest_first = page.get("data").and_then(Value::as_array).into_iter().flatten();
        let mut cursor = 0;
        // A pipe always gets JSON, because programs parse it.
        let format = match std::io::stdout().is_terminal() {
            true => self.connection.output,
            false => Format::Json,
        };
        for event in newest_first.rev() {
            output::print(&line(format, event));
            cursor = revision(event).unwrap_or(cursor);
        }
        if !self.follow {
            return Ok(());
        }
        loop {
            tokio::time::sleep(FOLLOW_EVERY).await;
            cursor = self.filter.print_from(&client, cursor, format).await?;
        }
    }
}

impl Export {
    async fn run(self) -> anyhow::Result<()> {
        let (filter, tenant) = (&self.filter, self.filter.tenant.clone());
        self.connection
            .with_server(async |client| {
                filter
                    .print_from(&client.for_tenant(tenant), 0, Format::Json)
                    .await
                    .map(drop)
            })
            .await
    }
}

impl AuditVerifyArgs {
    async fn run(self) -> anyhow::Result<()> {
        let check = match &self.file {
            Some(file) => {
                let (checkpoint, key) = (self.checkpoint.as_deref(), self.verifier_key.as_deref());
                let check = keyreeve_server::offline::verify_audit(file, checkpoint, key).await?;
                serde_json::to_value(check)?
            }
            None => {
                let note = self.checkpoint.as_ref().map(std::fs::read_to_string).transpose()?;
                let wish = json!({ "checkpoint": note });
                self.connection
                    .with_server(async |client| Ok(client.post("v1/audit/verify", &wish).await?))
                    .await?
            }
        };
        output::one(self.connection.output, &check);
        if check.get("checkpoint_revision").is_none_or(Value::is_null) {
            output::say(
                "there was no checkpoint: a log that was truncated together with its head would not be detected",
            );
        }
        match check.get("ok").and_then(Value::as_bool) {
            Some(true) => Ok(()),
            Some(false) | None => Err(AnswerIsNo.into()),
        }
    }
}
