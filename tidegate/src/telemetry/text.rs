//! The Prometheus text format (version 0.0.4) for what does not go through the exporter.
//!
//! Gauges and histograms are written at the scrape from the truth of that moment: nothing is
//! queued for them between scrapes, and the series of a member ends with the member.

use std::fmt::Write;

use balancer::stats::{BOUNDS_US, Histogram};

use super::names::Metric;

/// Families of samples.
#[derive(Debug, Default)]
pub(super) struct Text {
    out: String,
}

impl Text {
    /// Begins a family; samples of it follow.
    pub(super) fn family(&mut self, metric: &Metric) -> Samples<'_> {
        let (name, kind) = (metric.name, metric.kind.word());
        self.put(format_args!("# HELP {name} {}\n# TYPE {name} {kind}\n", metric.help));
        Samples { text: self, metric: *metric }
    }

    /// Everything written so far.
    pub(super) fn into_string(self) -> String {
        self.out
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // A String takes everything.
        let _ = self.out.write_fmt(text);
    }
}

/// Samples of one family.
pub(super) struct Samples<'a> {
    text: &'a mut Text,
    metric: Metric,
}

impl Samples<'_> {
    /// One sample with these values of the labels.
    pub(super) fn add(&mut self, values: &[&str], number: f64) -> &mut Self {
        self.line("", values, None, number);
        self
    }

    /// All samples of one histogram, cumulative as the format wants them.
    pub(super) fn histogram(&mut self, values: &[&str], histogram: &Histogram) {
        let mut below = 0;
        let bounds = BOUNDS_US.iter().map(|&us| seconds(us).to_string());
        for (count, bound) in histogram.buckets.iter().zip(bounds.chain(["+Inf".to_owned()])) {
            below += count;
            self.line("_bucket", values, Some(&bound), below as f64);
        }
        self.line("_sum", values, None, seconds(histogram.sum_us));
        self.line("_count", values, None, below as f64);
    }

    fn line(&mut self, suffix: &str, values: &[&str], bound: Option<&str>, number: f64) {
        debug_assert_eq!(self.metric.labels.len(), values.len(), "labels of {}", self.metric.name);
        self.text.put(format_args!("{}{suffix}", self.metric.name));
        let labels = self.metric.labels.iter().copied().zip(values.iter().copied());
        for (place, (name, value)) in labels.chain(bound.map(|bound| ("le", bound))).enumerate() {
            let open = if place == 0 { '{' } else { ',' };
            self.text.put(format_args!("{open}{name}=\"{}\"", Escaped(value)));
        }
        let close = if values.is_empty() && bound.is_none() { "" } else { "}" };
        self.text.put(format_args!("{close} {number}\n"));
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// The value of a label: `\`, `"` and the line's end are escaped, all else is UTF-8.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Puts families in the order of their names and the samples of counters in order too, so that two
/// scrapes can be compared by eye. The exporter's own order is that of a hash table.
pub(super) fn in_order(texts: &[String]) -> String {
    let mut families: Vec<Vec<&str>> = Vec::new();
    for line in texts.iter().flat_map(|text| text.lines()).filter(|line| !line.is_empty()) {
        let begins = line.starts_with("# HELP") || {
            // The exporter writes no help for what nobody described.
            let after_help = families.last().is_some_and(|family| family.len() == 1);
            line.starts_with("# TYPE") && !after_help
        };
        if begins || families.is_empty() {
            families.push(Vec::new());
        }
        if let Some(family) = families.last_mut() {
            family.push(line);
        }
    }
    for family in &mut families {
        if family.iter().any(|line| line.starts_with("# TYPE") && line.ends_with(" counter")) {
            // `#` is before every letter, and HELP before TYPE.
            family.sort_unstable();
        }
    }
    families.sort_unstable_by_key(|family| family.first().map(|line| name_of(line)));
    let mut out = String::new();
    for line in families.into_iter().flatten() {
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// `x` of `# HELP x ...`.
fn name_of(line: &str) -> &str {
    line.split(' ').nth(2).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::names::{BACKEND_HEALTHY, CONFIG_OK, REQUEST_SECONDS};

    #[test]
    fn families_are_written_as_the_format_wants_them() {
        let mut text = Text::default();
        text.family(&CONFIG_OK).add(&[], 1.0);
        text.family(&BACKEND_HEALTHY).add(&["a\"\\\n", "한"], 0.5);
        assert_eq!(
            text.into_string().lines().filter(|line| !line.contains("HELP")).collect::<Vec<_>>(),
            [
                "# TYPE tidegate_config_last_reload_successful gauge",
                "tidegate_config_last_reload_successful 1",
                "# TYPE tidegate_backend_healthy gauge",
                r#"tidegate_backend_healthy{pool="a\"\\\n",backend="한"} 0.5"#,
            ]
        );
    }

    #[test]
    fn buckets_are_cumulative_and_end_with_all() {
        let mut histogram = Histogram { sum_us: 30_500_000, ..Histogram::default() };
        (histogram.buckets[0], histogram.buckets[2], histogram.buckets[13]) = (2, 3, 1);
        let mut text = Text::default();
        text.family(&REQUEST_SECONDS).histogram(&["app"], &histogram);
        let text = text.into_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2 + 14 + 2);
        for line in [
            r#"tidegate_request_duration_seconds_bucket{route="app",le="0.001"} 2"#,
            r#"tidegate_request_duration_seconds_bucket{route="app",le="0.0025"} 2"#,
            r#"tidegate_request_duration_seconds_bucket{route="app",le="0.005"} 5"#,
            r#"tidegate_request_duration_seconds_bucket{route="app",le="10"} 5"#,
            r#"tidegate_request_duration_seconds_bucket{route="app",le="+Inf"} 6"#,
            r#"tidegate_request_duration_seconds_sum{route="app"} 30.5"#,
            r#"tidegate_request_duration_seconds_count{route="app"} 6"#,
        ] {
            assert!(lines.contains(&line), "{line} in\n{text}");
        }
    }

    #[test]
    fn families_are_sorted_and_stay_whole() {
        let exported = "# HELP b_total Help.\n# TYPE b_total counter\nb_total{x=\"2\"} 1\n\
                        b_total{x=\"1\"} 2\n\n# TYPE a_total counter\na_total 1\n\n";
        let own = "# HELP c Help.\n# TYPE c gauge\nc{x=\"2\"} 1\nc{x=\"1\"} 1\n";
        let expected = "# TYPE a_total counter\na_total 1\n# HELP b_total Help.\n\
                        # TYPE b_total counter\nb_total{x=\"1\"} 2\nb_total{x=\"2\"} 1\n";
        let sorted = in_order(&[exported.to_owned(), own.to_owned()]);
        assert_eq!(sorted, format!("{expected}{own}"));
    }
}
