//! Headline figures, written to CloudWatch for whoever looks there.
//!
//! An audit copy and nothing more: what is written is seen up to minutes later, so nothing that
//! Tidegate decides may depend on it.

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use jiff::Timestamp;
use scaler::ports::SignalError;
use tokio::sync::OnceCell;

use super::connection::{self, Place, Repeats};

/// Figures of one call; CloudWatch takes 1,000 and 1 MB.
const BATCH: usize = 500;

/// One measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// `Requests`
    pub name: &'static str,
    /// In `unit`; one that is not finite is left out.
    pub value: f64,
    /// Of the value.
    pub unit: Unit,
    /// What it is a measurement of: `Site`, `Pool`. Each combination costs by the month.
    pub dimensions: Vec<(&'static str, String)>,
}

/// Units that we use, out of CloudWatch's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number of things.
    Count,
    /// A number of things in one second.
    CountPerSecond,
}

/// Writes figures of one namespace.
pub struct CloudWatchWriter {
    namespace: String,
    place: Place,
    /// Made with the first figures: looking for credentials may take time.
    client: OnceCell<Client>,
}

impl CloudWatchWriter {
    /// Touches no network yet.
    pub fn new(namespace: String, place: Place) -> CloudWatchWriter {
        CloudWatchWriter { namespace, place, client: OnceCell::new() }
    }

    /// Writes all of them, measured at `at`.
    ///
    /// # Errors
    ///
    /// The first call that failed; figures of the calls before it are written.
    pub async fn put(&self, at: Timestamp, figures: &[Figure]) -> Result<(), SignalError> {
        let connect =
            || async { Client::new(&connection::connect(&self.place, Repeats::Sdk).await) };
        let client = self.client.get_or_init(connect).await;
        let data = figures.iter().filter(|figure| figure.value.is_finite());
        let data: Vec<MetricDatum> = data.map(|figure| datum(at, figure)).collect();
        for batch in data.chunks(BATCH) {
            let put = client.put_metric_data().namespace(&self.namespace);
            let sent = put.set_metric_data(Some(batch.to_vec())).send().await;
            sent.map_err(|error| SignalError {
                from: "cloudwatch",
                source: connection::plain(&error).into(),
            })?;
        }
        Ok(())
    }
}

fn datum(at: Timestamp, figure: &Figure) -> MetricDatum {
    let dimension =
        |(name, value): &(&str, String)| Dimension::builder().name(*name).value(value).build();
    MetricDatum::builder()
        .metric_name(figure.name)
        .timestamp(DateTime::from_millis(at.as_millisecond()))
        .value(figure.value)
        .unit(match figure.unit {
            Unit::Count => StandardUnit::Count,
            Unit::CountPerSecond => StandardUnit::CountSecond,
        })
        .set_dimensions(Some(figure.dimensions.iter().map(dimension).collect()))
        .build()
}
