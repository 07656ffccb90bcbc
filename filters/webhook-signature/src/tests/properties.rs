//! Whatever is signed passes; nothing else does.

use super::*;
use crate::template;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is signed with any preset passes, however the body is cut, and with another secret does not.
    #[test]
    fn what_is_signed_passes(body in proptest::collection::vec(any::<u8>(), 1..300), secret in "[a-f0-9]{32,64}") {
        let presets = Presets::load();
        for name in presets.names() {
            let Some(scheme) = presets.get(&name).filter(|s| !s.algorithm.has_public_key() && s.body_values.is_empty() && s.body_digest_query.is_none()) else {
                continue;
            };
            let url = if scheme.signs(&template::Part::Url) { r#", "public_url": "https://hooks.example.com""# } else { "" };
            let b = bench(&format!(
                r#"{{"scheme": "{name}", "secrets": [{{"value": "{secret}", "encoding": "text"}}]{url}}}"#
            ));
            let good = signed(&scheme, secret.as_bytes(), &body, NOW);
            prop_assert_eq!(b.send(&pairs(&good), Some(&body)), passed(&name));
            let bad = signed(&scheme, format!("{secret}x").as_bytes(), &body, NOW);
            let seen = b.send(&pairs(&bad), Some(&body));
            let held = !scheme.ignores_body();
            prop_assert_eq!(seen, refused(401, "mismatch", held));
        }
    }

    /// No request, however odd, does anything but pass verified or be refused.
    #[test]
    fn odd_headers_never_pass(
        value: Vec<u8>, time: Vec<u8>, id: Vec<u8>, length: Vec<u8>, body in proptest::option::of(any::<Vec<u8>>()),
    ) {
        for (preset, names) in [
            ("stripe", ["stripe-signature", "x-1", "x-2"]),
            ("standard-webhooks", ["webhook-signature", "webhook-timestamp", "webhook-id"]),
            ("docusign", ["x-docusign-signature-1", "x-docusign-signature-2", "x-docusign-signature-3"]),
        ] {
            let b = bench(&format!(r#"{{"scheme": "{preset}", "secrets": [{{"env": "SECRET", "encoding": "text"}}]}}"#));
            let headers = [(names[0], &value[..]), (names[1], &time), (names[2], &id), ("content-length", &length)];
            let seen = b.send(&headers, body.as_deref());
            prop_assert!(matches!(seen, Seen::Reply(400..=413, ..)), "{:?}", seen);
        }
    }
}
