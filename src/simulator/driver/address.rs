//! Where a webhook goes, what URL its signature covers, and how often Twilio tries.

use super::Endpoint;

/// The two names of one callbook: where it listens, and what Twilio is told to call it.
#[derive(Debug, Clone)]
pub struct Addresses {
    target: String,
    webhook: String,
}

/// One callback URL, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Where the request goes.
    pub url: String,
    /// What is signed: the public URL without its fragment, byte for byte (CONTRACT §2).
    pub signed_url: String,
    pub retries: Retries,
}

/// When Twilio tries again; "connection overrides" in the fragment of a URL say otherwise (CONTRACT §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    pub count: u32,
    pub on_connect_failure: bool,
    pub on_timeout: bool,
    pub on_4xx: bool,
    pub on_5xx: bool,
}

impl Default for Retries {
    fn default() -> Self {
        Retries { count: 1, on_connect_failure: true, on_timeout: false, on_4xx: false, on_5xx: false }
    }
}

impl Addresses {
    pub fn new(target_base_url: &str, webhook_base_url: &str) -> Self {
        let base = |url: &str| url.trim_end_matches('/').to_owned();
        Addresses { target: base(target_base_url), webhook: base(webhook_base_url) }
    }

    pub fn target(&self, path: &str) -> String {
        format!("{}{path}", self.target)
    }

    /// The URL that is configured at Twilio for `endpoint`.
    pub fn standard(&self, endpoint: Endpoint) -> Destination {
        Destination {
            url: self.target(endpoint.path()),
            signed_url: format!("{}{}", self.webhook, endpoint.path()),
            retries: Retries::default(),
        }
    }

    /// A URL that TwiML gave; `None` when it leads away from this callbook, where simulated calls never go.
    pub fn resolve(&self, callback: &str) -> Option<Destination> {
        let (url, fragment) = callback.split_once('#').unwrap_or((callback, ""));
        let signed_url =
            if url.starts_with('/') { format!("{}{url}", self.origin()) } else { url.to_owned() };
        let path = signed_url.strip_prefix(&self.webhook).filter(|path| path.starts_with('/'))?;
        Some(Destination { url: self.target(path), retries: Retries::read(fragment), signed_url })
    }

    /// `https://host:port` of the webhook URL, against which TwiML's absolute paths resolve.
    fn origin(&self) -> &str {
        let host = self.webhook.find("://").map_or(0, |at| at + 3);
        let end = self.webhook[host..].find('/').map_or(self.webhook.len(), |at| host + at);
        &self.webhook[..end]
    }
}

impl Retries {
    /// Reads `rc=2&rp=5xx,ct`.
    fn read(fragment: &str) -> Retries {
        let mut retries = Retries::default();
        for (key, value) in fragment.split('&').filter_map(|pair| pair.split_once('=')) {
            match key {
                "rc" => retries.count = value.parse().unwrap_or(retries.count).min(5),
                "rp" => {
                    let when = |policy| value.split(',').any(|given| given == policy || given == "all");
                    retries.on_connect_failure = when("ct");
                    retries.on_timeout = when("rt");
                    retries.on_4xx = when("4xx");
                    retries.on_5xx = when("5xx");
                }
                _ => {}
            }
        }
        retries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        Addresses::new("http://127.0.0.1:3000/", "https://calls.example.com")
    }

    #[test]
    fn a_callback_is_signed_as_public_url_and_sent_to_the_target() {
        for callback in ["/webhooks/x?leg=1&a=%2B", "https://calls.example.com/webhooks/x?leg=1&a=%2B"] {
            let destination = addresses().resolve(callback).unwrap();
            assert_eq!(destination.signed_url, "https://calls.example.com/webhooks/x?leg=1&a=%2B");
            assert_eq!(destination.url, "http://127.0.0.1:3000/webhooks/x?leg=1&a=%2B");
            assert_eq!(destination.retries, Retries::default());
        }
    }

    #[test]
    fn the_fragment_is_not_signed_and_says_when_to_try_again() {
        let destination = addresses().resolve("/x#rc=2&rp=5xx,ct").unwrap();
        assert_eq!(destination.signed_url, "https://calls.example.com/x");
        let retries = Retries { count: 2, on_5xx: true, ..Retries::default() };
        assert_eq!(destination.retries, retries);
        assert!(addresses().resolve("/x#rp=all").unwrap().retries.on_timeout);
    }

    #[test]
    fn other_hosts_are_never_called() {
        for callback in
            ["https://elsewhere.example.com/x", "https://calls.example.com.evil.example/x", "x", ""]
        {
            assert_eq!(addresses().resolve(callback), None, "{callback}");
        }
    }

    #[test]
    fn absolute_paths_resolve_against_the_host_and_not_a_prefix() {
        let addresses = Addresses::new("http://127.0.0.1:3000", "https://example.com/calls");
        assert_eq!(
            addresses.standard(Endpoint::DialAction).url,
            "http://127.0.0.1:3000/webhooks/twilio/dial-action"
        );
        let destination = addresses.resolve("/calls/webhooks/x").unwrap();
        assert_eq!(destination.signed_url, "https://example.com/calls/webhooks/x");
        assert_eq!(destination.url, "http://127.0.0.1:3000/webhooks/x");
    }
}
