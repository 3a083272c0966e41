//! `keyreeve keys`: one file per verb, or pair of verbs.

mod create;
mod end;
mod get;
mod hold;
mod list;
mod look;
mod rotate;
mod targets;
mod update;
mod verify;

use clap::Subcommand;

/// Issue, list, change, rotate, revoke and verify keys.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  keyreeve keys create ci --subject user_1 --scope read --expires 90d\n  \
                        keyreeve keys list --subject user_1\n  keyreeve keys rotate ak_… --secret-only\n  \
                        keyreeve keys revoke ak_… --reason \"found in a repository\" --reason-code leaked\n  \
                        printf %s \"$KEY\" | keyreeve keys verify -"
)]
pub(crate) enum Keys {
    /// Issue a key; its secret is shown once
    Create(create::KeyCreateArgs),
    /// List keys, newest first
    List(list::KeyListArgs),
    /// Show a key
    Get(get::KeyGetArgs),
    /// Change name, description, scopes, limits, claims or expiry
    Update(update::KeyUpdateArgs),
    /// Give a key a new secret; the old one is refused at once unless an overlap is requested
    Rotate(rotate::KeyRotateArgs),
    /// Revoke keys, as the tenant's policy defines it
    Revoke(end::KeyRevokeArgs),
    /// Disable keys
    Disable(hold::Disable),
    /// Re-activate disabled keys
    Reactivate(hold::KeyReactivateArgs),
    /// Finalize revocations that can still be undone
    Finalize(end::Finalize),
    /// Delete the records of keys
    Delete(end::Delete),
    /// Delete the records of keys that were revoked, or that expired, long ago
    Purge(end::Purge),
    /// Show the events of a key
    History(look::KeyHistoryArgs),
    /// Show the verifications of a key
    Usage(look::KeyUsageArgs),
    /// Show the state of a key's limits, or reset their counters
    Limits(look::KeyLimitsArgs),
    /// Verify a secret, which is read from standard input
    Verify(verify::KeyVerifyArgs),
}

impl Keys {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run().await,
            Self::List(list) => list.run().await,
            Self::Get(get) => get.run().await,
            Self::Update(update) => update.run().await,
            Self::Rotate(rotate) => rotate.run().await,
            Self::Revoke(revoke) => revoke.run().await,
            Self::Disable(disable) => disable.run().await,
            Self::Reactivate(reactivate) => reactivate.run().await,
            Self::Finalize(finalize) => finalize.run().await,
            Self::Delete(delete) => delete.run().await,
            Self::Purge(purge) => purge.run().await,
            Self::History(history) => history.run().await,
            Self::Usage(usage) => usage.run().await,
            Self::Limits(limits) => limits.run().await,
            Self::Verify(verify) => verify.run().await,
        }
    }
}
