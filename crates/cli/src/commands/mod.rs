//! The commands, and how they reach a server.

mod accept_restore;
#[cfg(test)]
mod advice;
mod audit;
mod backup;
mod check_policies;
mod connect;
mod database;
mod dev;
mod doctor;
pub(crate) mod duration;
mod gateways;
mod healthcheck;
mod keys;
mod manager;
mod moment;
mod moving;
mod nodes;
mod policy;
mod restore;
mod restore_choice;
mod root_keys;
mod scanner;
mod serve;
mod tenants;
mod users;
mod verifier;
mod verifiers;

use crate::output;
use clap::{CommandFactory as _, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  keyreeve dev                                   a throw-away server with a ready key
  keyreeve serve                                 a server on 127.0.0.1:7300, data in ./keyreeve-data
  KEY=$(keyreeve keys create ci --subject user_1 --secret-only)
  printf %s \"$KEY\" | keyreeve keys verify -
  keyreeve keys list --subject user_1 -o json
  keyreeve keys revoke ak_… --reason \"left the company\"

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the answer is no, 4 not allowed, 5 not found, 6 conflict,
7 unreachable (try again), 8 the database is not the one that was signed, 130 interrupted.";

/// A self-hosted API-key authority: when revoke returns, no verifier anywhere still accepts the key.
#[derive(Debug, Parser)]
#[command(name = "keyreeve", version, about, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::Serve),
    /// Run a temporary server with a ready key, and print the curl command that verifies it
    Dev(dev::Dev),
    /// Issue, list, change, rotate, revoke and verify keys
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Create, list and revoke root keys
    #[command(subcommand)]
    RootKeys(root_keys::RootKeys),
    /// Show and replace a tenant's policy
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Manage what gateways require of keys
    #[command(subcommand)]
    CheckPolicies(check_policies::CheckPolicies),
    /// Print configurations for gateways in front of an API
    #[command(subcommand)]
    Gateways(gateways::Gateways),
    /// Create, list, change and remove users
    #[command(subcommand)]
    Users(users::Users),
    /// Create, list, suspend and remove tenants
    #[command(subcommand)]
    Tenants(tenants::Tenants),
    /// Read, follow, export and verify the audit log
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Decide what happens with keys after a restore, and release keys that it has put on hold
    #[command(subcommand)]
    Restore(restore::Restore),
    /// Show the nodes, with their leases and lags
    Nodes(nodes::NodesCommand),
    /// Verify keys line by line from its own memory, as an application does
    Verifier(verifier::RunVerifier),
    /// Show and close connections of verifiers inside applications
    #[command(subcommand)]
    Verifiers(verifiers::Verifiers),
    /// Report every setting that is insecure or slow, with a remedy
    Doctor(doctor::Doctor),
    /// Check whether a server on this machine is ready: for containers without curl
    Healthcheck(healthcheck::Healthcheck),
    /// Make, verify and restore backups
    #[command(subcommand)]
    Backup(backup::Backup),
    /// Move the instance in a data directory into an empty Postgres database
    Move(moving::Move),
    /// Prepare the database that several nodes share
    #[command(subcommand)]
    Database(database::DatabaseCommand),
    /// Print the rules by which a secret scanner finds keys
    Scanner(scanner::ScannerArgs),
    /// Print the OpenAPI document of this version
    Openapi,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Runs a command.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Serve(serve) => serve.run().await,
        Command::Dev(dev) => dev.run().await,
        Command::Keys(keys) => keys.run().await,
        Command::RootKeys(root_keys) => root_keys.run().await,
        Command::Policy(policy) => policy.run().await,
        Command::CheckPolicies(policies) => policies.run().await,
        Command::Gateways(gateways) => gateways.run(),
        Command::Users(users) => users.run().await,
        Command::Tenants(tenants) => tenants.run().await,
        Command::Audit(audit) => audit.run().await,
        Command::Restore(restore) => restore.run().await,
        Command::Nodes(nodes) => nodes.run().await,
        Command::Verifier(verifier) => verifier.run().await,
        Command::Verifiers(verifiers) => verifiers.run().await,
        Command::Doctor(doctor) => doctor.run().await,
        Command::Healthcheck(healthcheck) => healthcheck.run().await,
        Command::Backup(backup) => backup.run().await,
        Command::Move(moving) => moving.run().await,
        Command::Database(database) => database.run().await,
        Command::Scanner(scanner) => scanner.run(),
        Command::Openapi => {
            output::print(keyreeve_server::openapi_document().trim_end());
            Ok(())
        }
        Command::Completions { shell } => {
            // Into memory first: the library panics if it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "keyreeve", &mut script);
            output::print(String::from_utf8_lossy(&script).trim_end());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_sound() {
        Cli::command().debug_assert();
    }
}
