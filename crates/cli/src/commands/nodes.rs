//! `keyreeve nodes`: the nodes, and the changes that each has applied.

use super::connect::ServerOptions;
use crate::output;
use clap::Args;

const COLUMNS: [&str; 6] = ["name", "state", "applied_revision", "lag", "lease_age_ms", "started_at"];

/// Show the nodes, with their leases and lags.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  keyreeve nodes\n  keyreeve nodes -o json     also the lease, the longest wait and the durability"
)]
pub(crate) struct NodesCommand {
    #[command(flatten)]
    connection: ServerOptions,
}

impl NodesCommand {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let nodes = self
            .connection
            .with_server(async |client| Ok(client.get("v1/nodes", &[]).await?))
            .await?;
        output::list(self.connection.output, &nodes, &COLUMNS);
        Ok(())
    }
}
