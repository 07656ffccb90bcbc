//! What a refused client is told: problem+json (RFC 9457) and a challenge (RFC 9110, 11.6.1; RFC 6750, 3).

use crate::reason::Reason;
use crate::refuse::Refusal;
use crate::rules::Allow;
use crate::source::{Source, Sources};
use crate::table::Key;
use tollgate_core::LocalReply;
use tollgate_core::problem::Problem;

/// The texts of one rule, made once when the configuration is read.
pub(crate) struct Answers {
    /// Challenges in the order of the sources, one per scheme.
    challenges: Vec<Challenge>,
    /// How to send a key.
    how: String,
    /// What keys begin with here.
    prefix: Option<String>,
    /// Scopes one of which is needed, separated by blanks.
    scopes: String,
}

struct Challenge {
    text: String,
    bearer: bool,
}

impl Answers {
    pub(crate) fn new(sources: &Sources, realm: &str, prefix: Option<&str>, allow: &Allow) -> Self {
        let places: Vec<String> = sources.iter().map(place).collect();
        let how = match places.split_last() {
            Some((last, [])) => format!("Send your API key {last}."),
            Some((last, others)) => {
                format!("Send your API key {} or {last}.", others.join(", "))
            }
            None => String::from("No place for an API key is configured."),
        };
        Self {
            challenges: challenges(sources, realm),
            how,
            prefix: prefix.map(str::to_owned),
            scopes: allow.scopes.join(" "),
        }
    }

    /// The answer; `None` if the reason is one to let the request pass.
    pub(crate) fn refuse(&self, refusal: &Refusal, key: Option<&Key>) -> Option<LocalReply> {
        let Refusal {
            reason,
            by_bearer,
            scope,
            ..
        } = *refusal;
        let said = reason.refused()?;
        let mut problem = Problem::new(said.status, said.problem, said.title, said.grpc);
        problem = match (reason, &self.prefix) {
            (Reason::Missing, _) => problem.detail(&self.how),
            (Reason::WrongPrefix, Some(prefix)) => {
                problem.detail(&format!("API keys begin with {prefix} here."))
            }
            (Reason::Forbidden, _) if scope => {
                problem.detail("The API key does not have a scope that this needs.")
            }
            (_, _) => problem.detail(said.detail),
        };
        // Told to nobody but the holder of the true key.
        let moment = match (reason, key) {
            (Reason::Expired, Some(key)) => key.expires_at.map(|at| ("expired_at", at)),
            (Reason::NotYetValid, Some(key)) => key.not_before.map(|at| ("valid_from", at)),
            _ => None,
        };
        if let Some((name, at)) = moment {
            problem = problem.string(name, &at.to_string());
        }
        if reason == Reason::Forbidden && scope {
            problem = problem.strings("required_scopes", self.scopes.split(' '));
        }
        let reply = problem.reply(said.details);
        Some(
            match self.challenge(said.status, by_bearer, scope, reason) {
                Some(challenge) => reply.header("www-authenticate", challenge),
                None => reply,
            },
        )
    }

    /// 401 always has all challenges; 400 and 403 have the one for Bearer, if the key came that way.
    fn challenge(
        &self,
        status: u16,
        by_bearer: bool,
        scope: bool,
        reason: Reason,
    ) -> Option<String> {
        let said = reason.refused()?;
        let error = said.bearer_error.filter(|_| by_bearer);
        if status != 401 && (error.is_none() || (reason == Reason::Forbidden && !scope)) {
            return None;
        }
        let shown = self.challenges.iter().filter(|c| status == 401 || c.bearer);
        let texts: Vec<String> = shown
            .map(|challenge| {
                let mut text = challenge.text.clone();
                if let Some(error) = error.filter(|_| challenge.bearer) {
                    text.push_str(", error=\"");
                    text.push_str(error);
                    text.push_str("\", error_description=\"");
                    text.push_str(said.title);
                    text.push('"');
                    if reason == Reason::Forbidden {
                        text.push_str(", scope=\"");
                        text.push_str(&self.scopes);
                        text.push('"');
                    }
                }
                text
            })
            .collect();
        (!texts.is_empty()).then(|| texts.join(", "))
    }
}

fn place(source: &Source) -> String {
    match source {
        Source::Header(name) => format!("in the header {name}"),
        Source::Scheme(name, scheme) => format!("in the header {name} after the word {scheme}"),
        Source::Query(name) => format!("in the query parameter {name}"),
        Source::Cookie(name, _) => format!("in the cookie {name}"),
    }
}

/// A 401 needs a challenge, and no registered scheme means "a key in this header": so there is `ApiKey`, with
/// the words `in` and `name` as OpenAPI uses them for the same thing.
fn challenges(sources: &Sources, realm: &str) -> Vec<Challenge> {
    let mut all: Vec<(String, Challenge)> = Vec::new();
    for source in sources.iter() {
        let (scheme, place) = match source {
            Source::Scheme(_, scheme) => (scheme.as_str(), None),
            Source::Header(name) => ("ApiKey", Some(("header", name.as_str()))),
            Source::Query(name) => ("ApiKey", Some(("query", name.as_str()))),
            Source::Cookie(name, _) => ("ApiKey", Some(("cookie", name.as_str()))),
        };
        if all.iter().any(|(s, _)| s.eq_ignore_ascii_case(scheme)) {
            continue;
        }
        let mut text = format!("{scheme} realm=\"{realm}\"");
        if let Some((kind, name)) = place {
            text.push_str(&format!(", in=\"{kind}\", name=\"{name}\""));
        }
        let bearer = scheme.eq_ignore_ascii_case("bearer");
        all.push((scheme.to_owned(), Challenge { text, bearer }));
    }
    all.into_iter().map(|(_, challenge)| challenge).collect()
}
