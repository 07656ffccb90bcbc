//! What cannot be right about the fields of a scheme taken together.

use crate::carrier::Carrier;
use crate::mac::Algorithm;
use crate::place::Place;
use crate::scheme::Scheme;
use crate::template::Part;

/// All of it.
pub(crate) fn of(scheme: &Scheme) -> Vec<&'static str> {
    let token = scheme.algorithm == Algorithm::Token;
    let stamp = scheme.timestamp.as_ref().map(|t| &t.source);
    let own_key = matches!((stamp, &scheme.layout.keyed), (Some(Place::Field(f)), Some((_, key))) if f == key);
    // One inside a body that is signed as a whole is signed, too.
    let stamp_signed = scheme.signs(&Part::Timestamp)
        || (stamp.is_some_and(Place::is_late) && scheme.covers_body());
    let in_list = scheme.layout.keyed.is_some() && scheme.layout.item_separator.is_some();
    let rules = [
        (
            !token && !scheme.covers_body() && !scheme.unsigned_body,
            "payload must have {body}, {body_sha256} or {sorted_form}: otherwise anybody may exchange the body \
             (unsigned_body: true, if the sender leaves it unsigned)",
        ),
        (
            scheme.unsigned_body && (token || scheme.covers_body()),
            "unsigned_body is for payloads without the body",
        ),
        (
            !token && stamp.is_some() && !stamp_signed,
            "payload must have {timestamp}: a timestamp that is not signed protects nothing; leave it out",
        ),
        (
            stamp.is_none() && scheme.signs(&Part::Timestamp),
            "payload has {timestamp}, so timestamp must say where it is",
        ),
        (
            scheme.id.is_none() && scheme.signs(&Part::Id),
            "payload has {id}, so id must name its header",
        ),
        (
            !scheme.id_forbid.is_empty() && !scheme.signs(&Part::Id),
            "id_forbid is for an {id} in payload",
        ),
        (
            !scheme.url_decode.is_empty() && !scheme.signs(&Part::Url),
            "url_decode is for a {url} in payload",
        ),
        (
            scheme.url_port_variants && !scheme.signs(&Part::Url),
            "url_port_variants is for a {url} in payload",
        ),
        (
            scheme.body_digest_query.is_some() && !scheme.signs(&Part::Url),
            "body_digest_query is for a {url} in payload: a digest that is not signed protects nothing",
        ),
        (
            scheme.signs(&Part::SortedForm) && bodies(scheme) > 0,
            "payload has {sorted_form} and {body}: only one of them can be what the sender signs",
        ),
        (
            token
                && (stamp.is_some()
                    || scheme.payload.parts().next().is_some()
                    || scheme.payload.streams),
            "a token signs nothing: leave out payload and timestamp",
        ),
        (
            matches!(stamp, Some(Place::Field(_))) && !in_list,
            "timestamp.field needs signature.item_separator, key_separator and key",
        ),
        (own_key, "timestamp.field and signature.key must differ"),
        (
            scheme.algorithm == Algorithm::Ed25519 && matches!(scheme.carrier, Carrier::Body(_)),
            "ed25519 needs its signature in a header: it is part of what is hashed before the body",
        ),
    ];
    rules
        .iter()
        .filter_map(|(broken, problem)| broken.then_some(*problem))
        .collect()
}

fn bodies(scheme: &Scheme) -> usize {
    usize::from(scheme.payload.streams).saturating_add(
        scheme
            .payload
            .tail
            .iter()
            .filter(|p| **p == Part::Body)
            .count(),
    )
}
