//! Any text as the configuration of any filter: accepted, or refused with an error, and never both.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_core::Metrics;
use tollgate_core::config::{self, Report};

fuzz_target!(|text: &str| {
    for root_id in tollgate_gateway::ROOT_IDS {
        let report = Report::default();
        let compiled = config::parse(text, &report).and_then(|root| {
            let mut metrics = Metrics::default();
            let env = |_: &str| Some("0123456789abcdef0123456789abcdef".to_owned());
            tollgate_gateway::compile(root_id, &root, &report, &env, &mut metrics)
        });
        assert!(
            compiled.is_some() || !report.is_ok(),
            "refused without a reason"
        );
        for error in report.errors() {
            let line = error.to_string();
            assert!(
                !line.contains('\n'),
                "{line:?} takes more than one line of a log"
            );
        }
    }
});
