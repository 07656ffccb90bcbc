//! Signature headers of webhooks: read or refused, and what is read has a signature's length (the function asserts that).
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_webhook_signature::fuzzing::signature_header;

fuzz_target!(|data: (u8, &[u8], Option<&[u8]>)| {
    let (choice, value, again) = data;
    // A single value, a list, a list of pairs, base64, a numbered series, DER, a token.
    let (preset, header) = match choice % 7 {
        0 => ("github", "x-hub-signature-256"),
        1 => ("stripe", "stripe-signature"),
        2 => ("standard-webhooks", "webhook-signature"),
        3 => ("shopify", "x-shopify-hmac-sha256"),
        4 => ("docusign", "x-docusign-signature-1"),
        5 => ("sendgrid", "x-twilio-email-event-webhook-signature"),
        _ => ("gitlab-token", "x-gitlab-token"),
    };
    let mut pairs = vec![(header, value)];
    pairs.extend(again.map(|value| (header, value)));
    let _ = signature_header(preset, &pairs);
});
