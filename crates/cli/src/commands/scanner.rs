//! `keyreeve scanner`: rules for secret scanners.

use crate::exit::UsageError;
use crate::output;
use clap::{Args, ValueEnum};
use keyreeve_server::scanner;

const EXAMPLES: &str = "\
Examples:
  keyreeve scanner gitleaks > keyreeve.toml && gitleaks dir . --config keyreeve.toml
  keyreeve scanner trufflehog > keyreeve.yaml && trufflehog filesystem . --config keyreeve.yaml
  keyreeve scanner detect-secrets > keyreeve.py && detect-secrets scan -p keyreeve.py
  keyreeve scanner github --prefix acme_live

One rule finds every tenant's keys, and root keys, by the marker in their middle. A pattern cannot check the checksum at
a key's end, so what was found may be no key; the plugin for detect-secrets checks it.";

/// Print the rules by which a secret scanner finds keys.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ScannerArgs {
    /// The scanner
    #[arg(value_enum)]
    tool: Tool,
    /// Only keys with this prefix [default: every prefix]
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tool {
    /// A configuration in TOML
    Gitleaks,
    /// A custom detector in YAML
    Trufflehog,
    /// The fields of a custom pattern
    Github,
    /// A plugin in Python, which also verifies the checksum
    DetectSecrets,
}

impl ScannerArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let tool = match self.tool {
            Tool::Gitleaks => scanner::Scanner::Gitleaks,
            Tool::Trufflehog => scanner::Scanner::Trufflehog,
            Tool::Github => scanner::Scanner::GitHub,
            Tool::DetectSecrets => scanner::Scanner::DetectSecrets,
        };
        let rules = scanner::rules(tool, self.prefix.as_deref());
        let rules = rules.map_err(|error| UsageError(format!("--prefix: {error}")))?;
        output::print(rules.trim_end());
        Ok(())
    }
}
