//! Rules for secret scanners, derived from the format of keys.
//!
//! One rule finds the keys of all tenants, whatever their prefix, and root keys too, by the marker in their middle. A
//! pattern cannot verify the checksum at the end; the plugin for detect-secrets is code and does.

use keyreeve_core::key::{self, InvalidPrefix, MARKER, Prefix};

/// A supported scanner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scanner {
    /// gitleaks: a configuration in TOML.
    Gitleaks,
    /// trufflehog: a custom detector in YAML.
    Trufflehog,
    /// GitHub: the fields of a custom pattern.
    GitHub,
    /// detect-secrets: a plugin in Python.
    DetectSecrets,
}

/// The random part of an example key, which opens nothing.
const EXAMPLE_RANDOM: [u8; 32] = [0; 32];

/// Returns the rules for a scanner, for keys of one prefix or of all.
pub fn rules(scanner: Scanner, prefix: Option<&str>) -> Result<String, InvalidPrefix> {
    let prefix = prefix.map(Prefix::parse).transpose()?;
    let pattern = key::pattern(prefix.as_ref());
    let example = keyreeve_core::Secret::mint(&prefix.unwrap_or_else(Prefix::standard), &EXAMPLE_RANDOM);
    let template = match scanner {
        Scanner::Gitleaks => GITLEAKS,
        Scanner::Trufflehog => TRUFFLEHOG,
        Scanner::GitHub => GITHUB,
        Scanner::DetectSecrets => DETECT_SECRETS,
    };
    Ok(template
        .replace("{pattern}", &pattern)
        .replace("{marker}", MARKER)
        .replace("{example}", example.expose()))
}

const GITLEAKS: &str = "\
# gitleaks: API keys and root keys of Keyreeve. Use it alone with --config, or put the rule into a file of yours.
title = \"Keyreeve\"

[[rules]]
id = \"keyreeve-api-key\"
description = \"An API key or root key of Keyreeve: report it at /v1/leaks, which revokes it.\"
regex = '''\\b{pattern}\\b'''
keywords = [\"{marker}\"]
";

const TRUFFLEHOG: &str = "\
# trufflehog: API keys and root keys of Keyreeve, as a custom detector (--config).
detectors:
  - name: Keyreeve
    keywords:
      - {marker}
    regex:
      key: '\\b({pattern})\\b'
";

const GITHUB: &str = "\
# GitHub: a custom pattern for secret scanning (Settings, Advanced Security, Custom patterns).
pattern_name: Keyreeve API key
secret_format: '{pattern}'
before_secret: '\\A|[^0-9A-Za-z_]'
after_secret: '\\z|[^0-9A-Za-z_]'
test_string: '{example}'
";

const DETECT_SECRETS: &str = "\
\"\"\"detect-secrets: API keys and root keys of Keyreeve. Use it with `detect-secrets scan -p keyreeve.py`.\"\"\"
import re
import zlib

from detect_secrets.plugins.base import RegexBasedDetector

DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'


class KeyreeveDetector(RegexBasedDetector):
    \"\"\"Finds what has the form of a key and a checksum that fits.\"\"\"

    secret_type = 'Keyreeve API key'
    denylist = [re.compile(r'\\b{pattern}\\b')]

    def analyze_string(self, string):
        return (found for found in super().analyze_string(string) if fits(found))


def fits(key):
    number, checksum = zlib.crc32(key[:-6].encode()), ''
    for _ in range(6):
        number, digit = divmod(number, len(DIGITS))
        checksum = DIGITS[digit] + checksum
    return key.endswith(checksum)
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scanner_gets_the_pattern_of_one_prefix_or_of_all() {
        let all = "[a-z][a-z0-9]{1,15}(?:_[a-z0-9]{1,15})?_kr1[0-9A-Za-z]{49}";
        for scanner in [
            Scanner::Gitleaks,
            Scanner::Trufflehog,
            Scanner::GitHub,
            Scanner::DetectSecrets,
        ] {
            assert!(rules(scanner, None).unwrap().contains(all), "{scanner:?}");
            let own = rules(scanner, Some("acme_live")).unwrap();
            assert!(
                own.contains("acme_live_kr1[0-9A-Za-z]{49}") && !own.contains("{marker}"),
                "{own}"
            );
            assert!(rules(scanner, Some("A.*")).is_err());
        }
    }
}
