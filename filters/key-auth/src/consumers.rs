//! Consumers and their keys, as they are written in the configuration.

use crate::digest::Digest;
use crate::forward::Forwarding;
use crate::table::{Key, KeyTable};
use hashbrown::{HashMap, HashSet};
use std::rc::Rc;
use tollgate_core::Consumer;
use tollgate_core::config::{Compile, Section, Value};

/// Above this many keys a configuration is slow to push and to read.
const MANY_KEYS: usize = 10_000;
/// A key shorter than this can be guessed from its digest, or online.
const SHORT_KEY: usize = 16;

/// All consumers of a configuration.
#[derive(Default)]
pub(crate) struct Consumers {
    /// In the order of the configuration.
    pub(crate) ids: Vec<Rc<str>>,
    /// Their places there.
    pub(crate) places: HashMap<Rc<str>, usize>,
    /// What is written about them; kept only for keys from elsewhere.
    pub(crate) holders: Vec<Holder>,
    pub(crate) groups: Vec<Rc<str>>,
    pub(crate) scopes: Vec<Rc<str>>,
    pub(crate) metadata: Vec<String>,
    pub(crate) table: KeyTable,
    /// There are others in a remote key set, which nobody knows yet.
    pub(crate) remote: bool,
}

/// What is known about the holder of a key.
pub(crate) struct Described<'a> {
    pub(crate) id: &'a str,
    pub(crate) groups: &'a [Rc<str>],
    pub(crate) key_id: &'a str,
    pub(crate) scopes: &'a [Rc<str>],
    pub(crate) metadata: &'a [(String, Rc<[u8]>)],
}

/// What keys are checked against while they are read.
pub(crate) struct KeyRules<'a> {
    pub(crate) forwarding: &'a Forwarding,
    pub(crate) max_key_bytes: usize,
    pub(crate) prefix: Option<&'a str>,
    /// There is a remote key set, too.
    pub(crate) remote: bool,
}

/// A consumer as it is written.
pub(crate) struct Holder {
    pub(crate) id: Rc<str>,
    pub(crate) groups: Rc<[Rc<str>]>,
    pub(crate) scopes: Rc<[Rc<str>]>,
    pub(crate) metadata: Vec<(String, Rc<[u8]>)>,
}

impl Consumers {
    /// Reads the list `consumers`.
    pub(crate) fn compile(top: &Section<'_>, rules: &KeyRules<'_>, cx: &Compile<'_>) -> Self {
        let mut all = Self {
            remote: rules.remote,
            ..Self::default()
        };
        let list = if rules.remote {
            top.optional("consumers")
        } else {
            top.required("consumers")
        };
        let Some(list) = list else {
            return all;
        };
        let place = list.clone();
        for value in list.list().unwrap_or_default() {
            all.consumer(value, rules, cx);
        }
        if !rules.remote && all.table.is_empty() && top.report().is_ok() {
            place.warn("there is no key: every request that needs one is refused");
        }
        if all.table.len() > MANY_KEYS {
            place.warn(format!(
                "has more than {MANY_KEYS} keys: a configuration of this size is slow to push and to read; \
                 remote_keys takes a hundred thousand"
            ));
        }
        all
    }

    fn consumer(&mut self, value: Value<'_>, rules: &KeyRules<'_>, cx: &Compile<'_>) {
        let Some(section) = value.section() else {
            return;
        };
        let id_at = section.required("id");
        let id = id_at.as_ref().and_then(Value::identifier);
        if let (Some(at), Some(id)) = (&id_at, &id)
            && self.places.contains_key(id)
        {
            at.error(format!("the consumer {id} is there already"));
        }
        let holder = Holder {
            // Where the id is wrong its keys are still read, for their errors.
            id: id.unwrap_or_else(|| Rc::from("?")),
            groups: identifiers(&section, "groups").into(),
            scopes: identifiers(&section, "scopes").into(),
            metadata: metadata(&section),
        };
        merge(&mut self.groups, &holder.groups);
        merge(&mut self.scopes, &holder.scopes);
        for (key, _) in &holder.metadata {
            if !self.metadata.contains(key) {
                self.metadata.push(key.clone());
            }
        }
        let keys = section.items("keys");
        if keys.is_empty() && !rules.remote {
            section.warn("has no keys: nobody can be this consumer");
        }
        let mut key_ids: HashSet<Rc<str>> = HashSet::new();
        for key in keys {
            self.key(key, &holder, &mut key_ids, rules, cx);
        }
        section.finish();
        self.places.insert(holder.id.clone(), self.ids.len());
        self.ids.push(holder.id.clone());
        if rules.remote {
            self.holders.push(holder);
        }
    }

    fn key(
        &mut self,
        value: Value<'_>,
        holder: &Holder,
        key_ids: &mut HashSet<Rc<str>>,
        rules: &KeyRules<'_>,
        cx: &Compile<'_>,
    ) {
        let Some(section) = value.clone().section() else {
            return;
        };
        let id_at = section.required("id");
        let id = id_at.as_ref().and_then(Value::identifier);
        if let (Some(at), Some(id)) = (&id_at, &id)
            && !key_ids.insert(id.clone())
        {
            at.error(format!("{} has a key {id} already", holder.id));
        }
        let digest = digest(&section, rules, cx);
        let not_before = section.optional("not_before").and_then(|v| v.instant());
        let expires_at = section.optional("expires_at").and_then(|v| v.instant());
        if not_before
            .zip(expires_at)
            .is_some_and(|(from, to)| from >= to)
        {
            section.error("expires_at must be later than not_before");
        }
        let revoked = section.optional("revoked").and_then(|v| v.boolean());
        let scopes = scopes(&section, holder);
        section.finish();
        let (Some(id), Some(digest)) = (id, digest) else {
            return;
        };
        let described = Described {
            id: &holder.id,
            groups: &holder.groups,
            key_id: &id,
            scopes: &scopes,
            metadata: &holder.metadata,
        };
        let key = Key {
            digest,
            consumer: Some(self.ids.len()),
            headers: rules.forwarding.headers(&described),
            metadata: rules.forwarding.state(&described),
            identity: Rc::new(Consumer {
                id: holder.id.clone(),
                groups: holder.groups.clone(),
                key_id: Some(id.clone()),
            }),
            scopes,
            not_before,
            expires_at,
            revoked: revoked.unwrap_or(false),
        };
        if let Err(key) = self.table.insert(key) {
            let other = self.table.find(&key.digest);
            let other = other.and_then(|at| self.table.get(at));
            let names = |key: &Key| {
                let key_id = key.identity.key_id.as_deref().unwrap_or_default();
                format!("{}/{key_id}", key.identity.id)
            };
            value.error(format!(
                "{} is the same key as {}",
                names(&key),
                other.map(names).unwrap_or_default()
            ));
        }
    }
}

/// The digest of a key: written down, or computed from a variable of the VM, which is not kept.
fn digest(section: &Section<'_>, rules: &KeyRules<'_>, cx: &Compile<'_>) -> Option<Digest> {
    match (section.optional("sha256"), section.optional("env")) {
        (Some(value), None) => written(&value),
        (None, Some(value)) => from_env(&value, rules, cx),
        _ => {
            section.error("needs exactly one of sha256 (the digest of the key) and env (the variable that holds the key)");
            None
        }
    }
}

fn written(value: &Value<'_>) -> Option<Digest> {
    let digest = value.accept(
        Digest::parse(value.nonempty()?),
        "must be the SHA-256 of the key, never the key: 64 hex digits, or base64 of 32 bytes; \
         `printf %s \"$KEY\" | sha256sum` computes it",
    )?;
    value.accept(
        (!digest.is_of_nothing()).then_some(digest),
        "is the digest of an empty key",
    )
}

fn from_env(value: &Value<'_>, rules: &KeyRules<'_>, cx: &Compile<'_>) -> Option<Digest> {
    let name = value.nonempty()?;
    let first = |b: &u8| b.is_ascii_alphabetic() || *b == b'_';
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let is_name = name.as_bytes().first().is_some_and(first) && name.bytes().all(word);
    value.accept(
        is_name.then_some(()),
        "must be the name of an environment variable",
    )?;
    let key = value.accept(
        (cx.env)(name),
        "names a variable that the VM does not have: list it in host_env_keys of the filter's \
         vm_config.environment_variables, or in vmConfig.env with valueFrom: HOST, and set it for the proxy",
    )?;
    let problem = if key.is_empty() {
        "names a variable that is empty"
    } else if key.trim_ascii() != key {
        "names a variable that begins or ends with white space, which no header keeps: \
         store the key without a line break, e.g. with printf %s"
    } else if key.len() > rules.max_key_bytes {
        "names a variable that is longer than max_key_bytes"
    } else {
        if key.len() < SHORT_KEY {
            value.warn(format!(
                "names a key of less than {SHORT_KEY} bytes: it can be guessed; `openssl rand -hex 32` makes a good one"
            ));
        }
        if rules.prefix.is_some_and(|p| !key.starts_with(p)) {
            value.warn("names a key that does not begin with key_prefix");
        }
        return Some(Digest::of(key.as_bytes()));
    };
    value.error(problem);
    None
}

/// A key may do less than its consumer, never more.
fn scopes(section: &Section<'_>, holder: &Holder) -> Rc<[Rc<str>]> {
    if section.optional("scopes").is_none() {
        return holder.scopes.clone();
    }
    for value in section.items("scopes") {
        if let Some(scope) = value.identifier() {
            let known = holder.scopes.contains(&scope);
            value.accept(known.then_some(()), "is not a scope of the consumer");
        }
    }
    identifiers(section, "scopes").into()
}

fn metadata(section: &Section<'_>) -> Vec<(String, Rc<[u8]>)> {
    let Some(section) = section.optional("metadata").and_then(Value::section) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for (key, value) in section.entries() {
        let Some(text) = value.nonempty() else {
            continue;
        };
        let fits = text.len() <= 1024 && !text.chars().any(char::is_control);
        let fits = value.accept(
            fits.then_some(text),
            "must be at most 1024 bytes without control characters",
        );
        if let Some(text) = fits {
            all.push((key.to_owned(), Rc::from(text.as_bytes())));
        }
    }
    all
}

/// A list of identifiers that may be missing; one written twice is an error.
pub(crate) fn identifiers(section: &Section<'_>, field: &'static str) -> Vec<Rc<str>> {
    let mut all: Vec<Rc<str>> = Vec::new();
    for value in section.items(field) {
        if let Some(id) = value.identifier() {
            if all.contains(&id) {
                value.error("is there already");
            }
            all.push(id);
        }
    }
    all
}

fn merge(all: &mut Vec<Rc<str>>, some: &[Rc<str>]) {
    for one in some {
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
}
