//! What the metrics of a door under test say.

use std::net::SocketAddr;

use crate::client::TestClient;
use crate::door::TestDoor;

impl TestDoor {
    /// The value of one series, as a scraper of `[observe] metrics.listen` sees it now. Fails the
    /// test where there is none.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.metrics().await;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("no `{series}` in\n{text}"));
        value.parse().expect("the value of a series is a number")
    }

    /// All of them.
    pub async fn metrics(&self) -> String {
        let request = "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
        TestClient::connect(self.metrics_addr()).await.request(request).await.text()
    }

    /// Where they are scraped, as the ready message says.
    pub fn metrics_addr(&self) -> SocketAddr {
        let output = self.output();
        let rest = output.lines().find_map(|line| line.strip_prefix("metrics http://"));
        let address = rest.and_then(|rest| rest.split('/').next()?.parse().ok());
        address.expect("the configuration has `[observe] metrics.listen`")
    }
}
