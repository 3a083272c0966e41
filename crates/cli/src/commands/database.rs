//! `keyreeve database`: prepares the database that several nodes share.

use crate::output;
use crate::settings::DatabaseOptions;
use clap::{Args, Subcommand};
use keyreeve_server::migration::migrate_database;
use serde_json::json;
use tracing_subscriber::filter::LevelFilter;

const EXAMPLES: &str = "\
Example:
  keyreeve database migrate --database postgres://keyreeve_owner@db.example/keyreeve

`serve` does the same when it starts. This command is for a set-up in which the role of the nodes may not change the schema
(deploy/postgres/roles.sql), and for a migration that is to be over before the first node is replaced. All missing
migrations run in one transaction; nodes of the version before keep running. A database of a newer version is refused.";

/// Prepare the database that several nodes share.
#[derive(Debug, Subcommand)]
pub(crate) enum DatabaseCommand {
    /// Bring the schema of a Postgres database to this version
    Migrate(Migrate),
}

/// Bring the schema of a Postgres database to this version.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Migrate {
    #[command(flatten)]
    database: DatabaseOptions,
    /// The output format
    #[arg(short, long, value_enum, default_value = "table")]
    output: output::Format,
}

impl DatabaseCommand {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Migrate(migrate) => migrate.run().await,
        }
    }
}

impl Migrate {
    async fn run(self) -> anyhow::Result<()> {
        // One line for each migration; standard output has the result alone.
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .log_internal_errors(false)
            .with_ansi(false)
            .with_target(false)
            .with_max_level(LevelFilter::INFO)
            .init();
        let database = self.database.required(output::say_waiting)?;
        let versions = migrate_database(&database).await?;
        output::one(self.output, &json!({"from": versions.from, "to": versions.to}));
        output::say(&match versions.from == versions.to {
            true => format!("The schema has version {} already; nothing was changed.", versions.to),
            false => format!("Migrated from schema version {} to {}.", versions.from, versions.to),
        });
        Ok(())
    }
}
