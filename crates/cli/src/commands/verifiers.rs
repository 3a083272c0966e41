//! `keyreeve verifiers`: the verifiers inside applications that are connected to a server.

use super::connect::ServerOptions;
use crate::exit::UsageError;
use crate::output;
use clap::Subcommand;

const COLUMNS: [&str; 9] = [
    "id",
    "tenant",
    "root_key_id",
    "peer",
    "connected_at",
    "state",
    "lease_ends_at",
    "keys_held",
    "oldest_unacknowledged_ms",
];

/// Show and close connections of verifiers inside applications.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  keyreeve verifiers list\n  keyreeve verifiers list -o json     also the node that \
                        answered\n  keyreeve verifiers disconnect vf_…\n\nEach node lists its own. One that was \
                        disconnected may connect again: revoke its root key to keep it away."
)]
pub(crate) enum Verifiers {
    /// List the verifiers that are connected or still have a lease, those that changes wait for first
    List {
        /// Only verifiers of this tenant; without one, an instance root key lists all
        #[arg(long, env = "KEYREEVE_TENANT")]
        tenant: Option<String>,
        #[command(flatten)]
        connection: ServerOptions,
    },
    /// Close the connection of a verifier
    Disconnect {
        /// The verifier
        id: String,
        #[command(flatten)]
        connection: ServerOptions,
    },
}

impl Verifiers {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List { tenant, connection } => {
                let found = connection.client(tenant)?.get("v1/verifiers/connected", &[]).await?;
                output::list(connection.output, &found, &COLUMNS);
            }
            Self::Disconnect { id, connection } => {
                if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                    let wrong = "a verifier's id is vf_, 16 hex digits, _ and a number: see `keyreeve verifiers list`";
                    return Err(UsageError(wrong.to_owned()).into());
                }
                let path = format!("v1/verifiers/connected/{id}");
                let ended = connection.client(None)?.delete(&path).await?;
                output::say(&format!("disconnected {id}"));
                output::one(connection.output, &ended);
            }
        }
        Ok(())
    }
}
