//! What an unquoted word means: a number, a flag, nothing, or just text.

use super::Dialect;
use crate::tree::Kind;

/// What an unquoted scalar means.
pub(super) fn resolve(text: &str, dialect: Dialect) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        _ => {}
    }
    if let Some(b) = boolean(text) {
        return Kind::Bool(b);
    }
    match dialect {
        Dialect::Envoy => match whole(text) {
            Some(n) if i32::try_from(n).is_ok() => number(n),
            Some(n) => Kind::Text(n.to_string()),
            None => Kind::Text(text.to_owned()),
        },
        Dialect::Kubernetes => {
            let text_without = text.replace('_', "");
            match whole(&text_without) {
                Some(n) => number(n),
                None => fraction(&text_without).unwrap_or_else(|| Kind::Text(text.to_owned())),
            }
        }
    }
}

/// Both read the words of YAML 1.1, in lower case, upper case or with a capital.
fn boolean(text: &str) -> Option<bool> {
    let lower = text.to_ascii_lowercase();
    let mut rest = text.chars();
    rest.next();
    let cased = text == lower
        || text == text.to_ascii_uppercase()
        || rest.as_str() == rest.as_str().to_ascii_lowercase();
    match lower.as_str() {
        "y" | "yes" | "true" | "on" if cased => Some(true),
        "n" | "no" | "false" | "off" if cased => Some(false),
        _ => None,
    }
}

fn whole(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = if let Some(hex) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        parse_radix(hex, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        parse_radix(digits, 8)
    } else {
        parse_radix(digits, 10)
    }?;
    if negative {
        magnitude.checked_neg()
    } else {
        Some(magnitude)
    }
}

fn parse_radix(digits: &str, radix: u32) -> Option<i64> {
    digits
        .chars()
        .all(|c| c.is_digit(radix))
        .then(|| i64::from_str_radix(digits, radix).ok())?
}

/// A decimal with point or exponent, `.inf`, `.nan`; whole ones that are exact count as whole.
fn fraction(text: &str) -> Option<Kind> {
    let bare = text.trim_start_matches(['-', '+']);
    let special = matches!(bare.to_ascii_lowercase().as_str(), ".inf" | ".nan");
    let numeric = bare.bytes().any(|b| b.is_ascii_digit())
        && bare
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if special {
        return Some(Kind::Fraction(f64::NAN));
    }
    let value: f64 = numeric.then(|| text.parse().ok()).flatten()?;
    // 60.0 is the same 60 here as in the filter. Beyond 2^53 a double names no single whole number.
    let whole = value.to_string().parse::<u64>().ok();
    Some(match whole.filter(|n| *n < 1 << 53) {
        Some(n) => Kind::Integer(n),
        None => Kind::Fraction(value),
    })
}

fn number(n: i64) -> Kind {
    match u64::try_from(n) {
        Ok(n) => Kind::Integer(n),
        #[allow(clippy::cast_precision_loss)] // only its being negative matters
        Err(_) => Kind::Fraction(n as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::super::documents;
    use super::*;

    fn shape(text: &str, dialect: Dialect) -> String {
        let text = format!("v: {text}\n");
        match documents(&text, dialect).unwrap()[0].pairs()[0].1.kind {
            Kind::Null => "null".to_owned(),
            Kind::Bool(b) => format!("bool {b}"),
            Kind::Integer(n) => format!("int {n}"),
            Kind::Fraction(f) => format!("float {f}"),
            Kind::Text(ref t) => format!("text {t}"),
            Kind::List(_) => "list".to_owned(),
            Kind::Object(_) => "object".to_owned(),
        }
    }

    /// Each line was seen in the `node.metadata` of a running Envoy 1.40.
    #[test]
    fn reads_scalars_as_envoy_does() {
        for (text, expected) in [
            ("off", "bool false"),
            ("Y", "bool true"),
            ("n", "bool false"),
            ("\"off\"", "text off"),
            ("'off'", "text off"),
            ("True", "bool true"),
            ("60", "int 60"),
            ("60.0", "text 60.0"),
            ("0.5", "text 0.5"),
            ("3000000000", "text 3000000000"),
            ("9007199254740993", "text 9007199254740993"),
            ("-5", "float -5"),
            ("1e3", "text 1e3"),
            ("0x1F", "int 31"),
            ("017", "int 15"),
            ("+5", "int 5"),
            ("1_000", "text 1_000"),
            ("0o17", "text 0o17"),
            ("", "null"),
            ("~", "null"),
            ("2027-02-18", "text 2027-02-18"),
            ("2026-12-31T00:00:00Z", "text 2026-12-31T00:00:00Z"),
            ("12:30:45", "text 12:30:45"),
            (".inf", "text .inf"),
            ("!!str 60", "int 60"),
            ("tRUE", "text tRUE"),
        ] {
            assert_eq!(shape(text, Dialect::Envoy), expected, "{text}");
        }
    }

    #[test]
    fn reads_scalars_as_kubernetes_does() {
        for (text, expected) in [
            ("off", "bool false"),
            ("60", "int 60"),
            ("60.0", "int 60"),
            ("0.5", "float 0.5"),
            ("1e3", "int 1000"),
            ("3000000000", "int 3000000000"),
            ("1_000", "int 1000"),
            ("!!str 60", "text 60"),
            ("2027-02-18", "text 2027-02-18"),
            ("v1.2", "text v1.2"),
            ("e", "text e"),
            ("1.2.3", "text 1.2.3"),
            (
                "12345678901234567890123456789012",
                "float 12345678901234567000000000000000",
            ),
        ] {
            assert_eq!(shape(text, Dialect::Kubernetes), expected, "{text}");
        }
    }
}
