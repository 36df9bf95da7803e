//! The two text forms of `/metrics`: OpenMetrics for who asks for it, the older one of Prometheus for all others.

use std::collections::HashMap;

use axum::http::{HeaderMap, header};

/// What the older form is called (Prometheus' exposition formats).
pub const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// True where the caller reads OpenMetrics, as Prometheus itself does.
pub fn wants_openmetrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("application/openmetrics-text"))
}

/// The same samples in the older form, which names a counter as its sample, and knows neither units nor `info`.
pub fn classic(openmetrics: &str) -> String {
    let described = |line: &str, what: &str| -> Option<(String, String)> {
        let (name, rest) = line.strip_prefix("# ")?.strip_prefix(what)?.strip_prefix(' ')?.split_once(' ')?;
        Some((name.to_owned(), rest.to_owned()))
    };
    let kinds: HashMap<String, String> =
        openmetrics.lines().filter_map(|line| described(line, "TYPE")).collect();
    let named = |name: &str| match kinds.get(name).map(String::as_str) {
        Some("counter") => format!("{name}_total"),
        Some("info") => format!("{name}_info"),
        _ => name.to_owned(),
    };
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let line = if let Some((name, help)) = described(line, "HELP") {
            format!("# HELP {} {help}", named(&name))
        } else if let Some((name, kind)) = described(line, "TYPE") {
            let kind = if kind == "info" { "gauge" } else { kind.as_str() };
            format!("# TYPE {} {kind}", named(&name))
        } else if line.starts_with("# UNIT ") || line == "# EOF" {
            continue;
        } else {
            line.to_owned()
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_form_names_counters_as_their_samples() {
        let text = "# HELP moongate The program.\n# TYPE moongate info\nmoongate_info{version=\"1\"} 1\n\
                    # HELP a_jobs Jobs: ended.\n# TYPE a_jobs counter\na_jobs_total{result=\"ok\"} 2\n\
                    # HELP b_bytes Size.\n# TYPE b_bytes gauge\n# UNIT b_bytes bytes\nb_bytes 3\n# EOF\n";
        let expected = "# HELP moongate_info The program.\n# TYPE moongate_info gauge\nmoongate_info{version=\"1\"} 1\n\
                        # HELP a_jobs_total Jobs: ended.\n# TYPE a_jobs_total counter\na_jobs_total{result=\"ok\"} 2\n\
                        # HELP b_bytes Size.\n# TYPE b_bytes gauge\nb_bytes 3\n";
        assert_eq!(classic(text), expected);
    }
}
