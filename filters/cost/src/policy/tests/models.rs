use super::*;

const MODELS: &str = r#""prices": [
  {"name": "mini", "model": "gpt-4-mini", "per_token": {"output": "0.0001"}},
  {"name": "four", "model": {"prefix": "gpt-4"}, "per_token": {"output": "0.01"}},
  {"name": "flat", "model": "image-1", "base": "0.05"}]"#;

#[test]
fn the_model_of_the_answer_chooses_the_rule() {
    let b = bench(MODELS);
    for (model, price, cost, reason) in [
        ("gpt-4-mini", "mini", "0.01", "usage"),
        ("gpt-4-0613", "four", "1", "usage"),
        ("image-1", "flat", "0.05", "flat"),
        ("unheard-of", "four", "1", "unknown_model"),
    ] {
        let before = b.reason(reason);
        let mut run = b.start("/", "ann");
        run.held(&usage(5, 100).replace("gpt-4", model));
        assert_eq!(
            run.shown("x-request-cost").as_deref(),
            Some(cost),
            "{model}"
        );
        assert_eq!(run.end()["tollgate.price"], price);
        assert_eq!(b.reason(reason), before + 1, "{model}");
    }
}

#[test]
fn breaking_off_or_hiding_the_model_does_not_make_a_call_cheaper() {
    let b = bench(&[MODELS, r#", "budgets": [{"name": "b", "daily": "100"}]"#].concat());
    // The estimate of 1000 output tokens at the highest price.
    let mut run = b.start("/", "ann");
    assert_eq!(run.end()["tollgate.cost"], "10");
    let mut run = b.start("/", "ann");
    run.held(r#"{"usage":{"prompt_tokens":5,"completion_tokens":100}}"#);
    assert_eq!(run.shown("x-request-cost").as_deref(), Some("1"));
    assert_eq!(run.shown("x-budget-remaining").as_deref(), Some("89"));
    assert_eq!(b.reason("unknown_model"), 1);
}
