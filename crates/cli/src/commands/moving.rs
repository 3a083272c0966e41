//! `keyreeve move`: moves an instance from SQLite in a data directory to Postgres.

use crate::output;
use crate::settings::DatabaseOptions;
use clap::Args;
use keyreeve_server::moving::move_to_postgres;
use serde_json::json;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Example:
  keyreeve move --data /var/lib/keyreeve --database postgres://keyreeve@db.example/keyreeve
  keyreeve serve --data /var/lib/keyreeve --database postgres://keyreeve@db.example/keyreeve

Stop the server first. Everything is copied in one transaction and compared: rows by table, and the chain of the audit
log. All keys and root keys stay as they are. The directory is then marked, so that it is not served again by mistake.";

/// Move the instance in a data directory into an empty Postgres database.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Move {
    /// The data directory of the stopped server
    #[arg(long, env = "KEYREEVE_DATA", default_value = "./keyreeve-data")]
    data: PathBuf,
    #[command(flatten)]
    database: DatabaseOptions,
    /// The output format
    #[arg(short, long, value_enum, default_value = "table")]
    output: output::Format,
}

impl Move {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let database = self.database.required(output::say_waiting)?;
        let moved = move_to_postgres(&self.data, &database).await?;
        let tables: Vec<_> = moved
            .tables
            .iter()
            .map(|one| json!({"table": one.table, "rows": one.rows}))
            .collect();
        let done = json!({"revision": moved.revision, "data": tables});
        output::list(self.output, &done, &["table", "rows"]);
        output::say(&format!(
            "Moved up to revision {}: rows and the chain of the audit log are the same. Start with --database now.",
            moved.revision
        ));
        Ok(())
    }
}
