//! The older text format of metrics (version 0.0.4), for clients that do not accept the newer one: counters have
//! `_total` in their descriptions too, and there are no units. `# EOF` stays, which is a comment in this format.

/// Converts the newer format into the older one.
pub(super) fn from_openmetrics(text: &str) -> String {
    let mut counters: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.strip_suffix(" counter"))
        {
            counters.push(name);
        }
    }
    let mut out = String::with_capacity(text.len());
    for line in text.lines().filter(|line| !line.starts_with("# UNIT ")) {
        let described = ["# HELP ", "# TYPE "].iter().find_map(|start| {
            let (name, rest) = line.strip_prefix(start)?.split_once(' ')?;
            counters.contains(&name).then(|| format!("{start}{name}_total {rest}"))
        });
        out.push_str(described.as_deref().unwrap_or(line));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_under_the_name_of_their_samples() {
        let new = "# HELP a Some things.\n# TYPE a counter\na_total{x=\"# TYPE\"} 1\n# HELP b_seconds B.\n\
                   # TYPE b_seconds gauge\n# UNIT b_seconds seconds\nb_seconds 2\n# EOF\n";
        let old = "# HELP a_total Some things.\n# TYPE a_total counter\na_total{x=\"# TYPE\"} 1\n\
                   # HELP b_seconds B.\n# TYPE b_seconds gauge\nb_seconds 2\n# EOF\n";
        assert_eq!(from_openmetrics(new), old);
    }
}
