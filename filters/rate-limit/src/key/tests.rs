use super::address::parse_address;
use super::query::decoded;
use super::*;
use proptest::prelude::*;
use tollgate_core::Headers;
use tollgate_core::testing::TestWorld;
use tollgate_core::world::Attribute;

fn key_of(part: Part, headers: &[(&str, &str)], address: &str) -> Result<Vec<u8>, Duplicate> {
    let world = TestWorld::default();
    world.set_attribute(Attribute::SourceAddress, address);
    let mut exchange = Exchange::new(Headers::from_pairs(headers.iter().copied()), true);
    let mut key = Vec::new();
    part.write(
        &mut key,
        &mut Request {
            exchange: &mut exchange,
            world: &world,
            matcher: &Matcher::default(),
            rule: AddressRule {
                ipv6_prefix: 64,
                trusted_hops: None,
            },
            address: &mut Address::default(),
        },
    )?;
    Ok(key)
}

fn address_key(address: &str) -> Vec<u8> {
    key_of(Part::ClientAddress, &[], address).unwrap()
}

#[test]
fn an_ipv6_client_is_its_network() {
    assert_eq!(
        address_key("[2001:db8:1:2:3::4]:80"),
        address_key("[2001:db8:1:2:ffff::1]:81")
    );
    assert_ne!(
        address_key("[2001:db8:1:2::]:80"),
        address_key("[2001:db8:1:3::]:80")
    );
    assert_eq!(address_key("10.0.0.1:80"), address_key("10.0.0.1:81"));
    assert_ne!(address_key("10.0.0.1:80"), address_key("10.0.0.2:80"));
    assert_eq!(
        address_key("[::ffff:10.0.0.1]:80"),
        address_key("10.0.0.1:80")
    );
    // A pipe has no address: absent.
    assert_eq!(address_key("/run/envoy.sock"), [0]);
}

#[test]
fn trusted_hops_count_from_the_right() {
    let address = |hops, lines: &[(&str, &str)]| {
        let world = TestWorld::default();
        world.set_attribute(Attribute::SourceAddress, "10.9.9.9:1");
        let exchange = Exchange::new(Headers::from_pairs(lines.iter().copied()), true);
        let mut known = Address::default();
        let found = known.get(&exchange, &world, hops);
        assert_eq!(known.get(&exchange, &world, hops), found);
        found.map(|a| a.to_string()).unwrap()
    };
    let xff = |text| [("x-forwarded-for", text)];
    let three = xff("6.6.6.6, 203.0.113.7 ,10.0.0.1");
    assert_eq!(address(None, &three), "10.9.9.9");
    assert_eq!(address(Some(0), &three), "10.0.0.1");
    assert_eq!(address(Some(1), &three), "203.0.113.7");
    assert_eq!(address(Some(2), &three), "6.6.6.6");
    // Not even so many entries: the peer.
    assert_eq!(address(Some(3), &three), "10.9.9.9");
    assert_eq!(address(Some(1), &xff("who knows,10.0.0.1")), "10.9.9.9");
    assert_eq!(address(Some(0), &[]), "10.9.9.9");
    let lines = [
        ("x-forwarded-for", "1.1.1.1,2.2.2.2"),
        ("x-forwarded-for", "[2001:db8::1]:443, 10.0.0.1"),
    ];
    assert_eq!(address(Some(1), &lines), "2001:db8::1");
    assert_eq!(address(Some(2), &lines), "2.2.2.2");
    assert_eq!(address(Some(0), &xff("[2001:db8::2]")), "2001:db8::2");
}

#[test]
fn one_query_value_is_one_key_however_it_is_written() {
    let key = |path| key_of(Part::Query(b"user".to_vec()), &[(":path", path)], "");
    assert_eq!(key("/x?user=abc"), key("/y?a=1&%75ser=%61bc"));
    assert_ne!(key("/x?user=abc"), key("/x?user=abd"));
    assert_eq!(key("/x"), Ok(vec![0]));
    assert_eq!(key("/x?user="), Ok(vec![0]));
    assert_eq!(key("/x?user=a&user=b"), Err(Duplicate));
}

#[test]
fn a_cookie_is_found_among_others() {
    let key = |cookies: &[(&str, &str)]| key_of(Part::Cookie(b"id".to_vec()), cookies, "");
    assert_eq!(
        key(&[("cookie", "a=1; id=x")]),
        key(&[("cookie", "id=x"), ("cookie", "b=2")])
    );
    assert_eq!(key(&[("cookie", "id=x; id=y")]), Err(Duplicate));
    assert_eq!(key(&[("cookie", "xid=x")]), Ok(vec![0]));
}

#[test]
fn a_cookie_counts_with_its_quotes_and_also_without_a_value() {
    let key = |line| key_of(Part::Cookie(b"id".to_vec()), &[("cookie", line)], "");
    assert_ne!(key("id=\"x\""), key("id=x"));
    assert_eq!(key("a=1; id"), Ok(vec![0]));
    assert_eq!(key("id; id=x"), Err(Duplicate));
}

#[test]
fn a_header_sent_twice_is_no_key() {
    let part = Part::Header(HeaderName::from_static("x-tenant"));
    let twice = [("x-tenant", "a"), ("x-tenant", "b")];
    assert_eq!(key_of(part.clone(), &twice, ""), Err(Duplicate));
    let once = [("x-tenant", "a")];
    let expected = [&[1, 1, 0, 0, 0, 0, 0, 0, 0][..], b"a"].concat();
    assert_eq!(key_of(part, &once, ""), Ok(expected));
}

#[test]
fn a_host_is_the_same_in_any_case_and_with_any_port() {
    let key = |host| key_of(Part::Host, &[(":authority", host)], "");
    assert_eq!(key("API.example.com:8080"), key("api.example.com"));
    assert_ne!(key("[::1]:8080"), key("[::2]:8080"));
}

proptest! {
    #[test]
    fn any_bytes_are_decoded(text in prop::collection::vec(any::<u8>(), 0..40), name in "[a-z]{1,3}") {
        prop_assert!(decoded(&text).len() <= text.len());
        let _ = query_value(&text, name.as_bytes());
        let _ = parse_address(&text);
    }

    #[test]
    fn what_is_escaped_is_decoded(value in prop::collection::vec(any::<u8>(), 0..20)) {
        let escaped: String = value.iter().map(|b| format!("%{b:02x}")).collect();
        prop_assert_eq!(decoded(escaped.as_bytes()), value);
    }
}
