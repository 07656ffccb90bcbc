use super::*;

#[test]
fn all_mistakes_are_reported_at_once_with_their_place() {
    let (cost, _, errors) = compile(
        r#"{"currency": "usd", "hold_response_bytes": -1, "prise": 1, "on_missing_consumer": "maybe",
            "prices": [{"name": "a", "base": 0.002}, {"name": "a", "per_token": {"inptu": "1"}},
                       {"base": "1e3", "free_status": ["6xx", 99, "4x", true]},
                       {"base": "1", "estimate": {"input": 1}, "on_missing_usage": "free"},
                       {"per_token": {"input": "18000000"}}, {"per_token": {"input": "0.1"}, "on_missing_usage": "max"},
                       {"model": "", "base": "1"}, {}],
            "budgets": [{"name": "b"}, {"daily": "1.0.0", "time_zone": "Mars/Olympus", "status": 200, "key": ["path"]},
                        {"name": "c", "daily": "1", "consumers": []}, {"name": "d", "daily": "1"}, {"name": "d", "monthly": "1"}],
            "headers": {"cost": ":path", "remaining": true}}"#,
    );
    assert!(cost.is_none());
    let place = |e: &String| e.split(": ").next().unwrap_or_default().to_owned();
    let mut places: Vec<String> = errors.iter().map(place).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(
        places,
        [
            "budgets[0]",
            "budgets[1].daily",
            "budgets[1].key",
            "budgets[1].name",
            "budgets[1].status",
            "budgets[1].time_zone",
            "budgets[2].consumers",
            "budgets[4]",
            "currency",
            "headers.cost",
            "headers.remaining",
            "hold_response_bytes",
            "on_missing_consumer",
            "prices[0].base",
            "prices[1].per_token",
            "prices[1].per_token.inptu",
            "prices[2].base",
            "prices[2].free_status[0]",
            "prices[2].free_status[1]",
            "prices[2].free_status[2]",
            "prices[2].free_status[3]",
            "prices[3].estimate",
            "prices[3].on_missing_usage",
            "prices[4]",
            "prices[5]",
            "prices[6].model",
            "prices[7]",
            "prise",
        ]
    );
}

#[test]
fn names_and_lists_must_be_what_they_seem() {
    let errors = |json: &str| compile(json).2;
    assert_eq!(errors("{}"), ["prices: is missing"]);
    assert_eq!(errors(r#"{"prices": []}"#), ["prices: must not be empty"]);
    assert_eq!(
        errors(r#"{"prices": [{"name": "a", "base": "1"}, {"name": "a", "base": "2"}]}"#),
        ["prices[1]: name is used twice"]
    );
    let many: Vec<String> = (0..17)
        .map(|i| format!(r#"{{"name": "b{i}", "daily": "1"}}"#))
        .collect();
    assert_eq!(
        errors(&format!(
            r#"{{"prices": [{{"base": "1"}}], "budgets": [{}]}}"#,
            many.join(",")
        )),
        ["at most 16 budgets are possible"]
    );
}
