//! Where answers say what they used: by provider, by JSON pointer, by header.

use crate::json::{Node, ROOT, Table};
use crate::usage::Findings;
use std::rc::Rc;
use tollgate_core::config::{Node as Config, Section, Value};
use tollgate_core::{HeaderName, Headers};

/// The places that mean something.
pub(crate) mod node {
    use crate::json::Node;

    /// The model's name.
    pub(crate) const MODEL: Node = 1;
    /// Counts are numbered from here.
    pub(crate) const FIRST_COUNT: Node = 2;
    /// Tokens of the prompt.
    pub(crate) const INPUT: Node = 2;
    /// Generated tokens.
    pub(crate) const OUTPUT: Node = 3;
    /// Both.
    pub(crate) const TOTAL: Node = 4;
    /// Part of the prompt from a cache.
    pub(crate) const CACHED_READ: Node = 5;
    /// Part of the prompt written to a cache.
    pub(crate) const CACHED_WRITE: Node = 6;
    /// Part of the generated tokens.
    pub(crate) const REASONING: Node = 7;
    /// Read from a cache, and not in the count of the prompt.
    pub(crate) const READ_APART: Node = 8;
    /// Written to a cache, and not in the count of the prompt.
    pub(crate) const WRITTEN_APART: Node = 9;
    /// Spent on reasoning, and not in the count of generated tokens.
    pub(crate) const THOUGHT_APART: Node = 10;
    /// More of the prompt that its count leaves out.
    pub(crate) const INPUT_APART: Node = 11;
    /// Part of what was written to a cache: what that keeps for an hour.
    pub(crate) const WRITTEN_HOUR: Node = 12;
    // Objects on the way, not counts.
    pub(super) const USAGE: Node = 32;
    pub(super) const RESPONSE: Node = 33;
    pub(super) const MESSAGE: Node = 34;
    pub(super) const INPUT_DETAILS: Node = 35;
    pub(super) const OUTPUT_DETAILS: Node = 36;
    pub(super) const GEMINI: Node = 37;
    pub(super) const CREATION: Node = 38;
}

use node::*;

type Members = &'static [(Node, &'static str, Node)];

/// Chat completions, completions and embeddings say `prompt_tokens`, Responses `input_tokens`; the
/// last event of a streamed Responses answer wraps the whole answer in `response`.
/// <https://platform.openai.com/docs/api-reference>. Many speak this dialect; `prompt_cache_hit_tokens` is `DeepSeek`'s,
/// `cache_write_tokens` `OpenRouter`'s.
const OPENAI: Members = &[
    (ROOT, "usage", USAGE),
    (ROOT, "model", MODEL),
    (ROOT, "response", RESPONSE),
    (RESPONSE, "usage", USAGE),
    (RESPONSE, "model", MODEL),
    (USAGE, "prompt_tokens", INPUT),
    (USAGE, "input_tokens", INPUT),
    (USAGE, "completion_tokens", OUTPUT),
    (USAGE, "output_tokens", OUTPUT),
    (USAGE, "total_tokens", TOTAL),
    (USAGE, "prompt_tokens_details", INPUT_DETAILS),
    (USAGE, "input_tokens_details", INPUT_DETAILS),
    (USAGE, "completion_tokens_details", OUTPUT_DETAILS),
    (USAGE, "output_tokens_details", OUTPUT_DETAILS),
    (USAGE, "prompt_cache_hit_tokens", CACHED_READ),
    (INPUT_DETAILS, "cached_tokens", CACHED_READ),
    (INPUT_DETAILS, "cache_write_tokens", CACHED_WRITE),
    (OUTPUT_DETAILS, "reasoning_tokens", REASONING),
];

/// `message_start` has the message with what the prompt took, `message_delta` what was generated so far.
/// `input_tokens` leaves out what was read from a cache or written to it; `cache_creation` splits the latter by how long the
/// cache keeps it. <https://docs.anthropic.com/en/docs/build-with-claude/streaming>,
/// <https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching>
const ANTHROPIC: Members = &[
    (ROOT, "usage", USAGE),
    (ROOT, "model", MODEL),
    (ROOT, "message", MESSAGE),
    (MESSAGE, "usage", USAGE),
    (MESSAGE, "model", MODEL),
    (USAGE, "input_tokens", INPUT),
    (USAGE, "output_tokens", OUTPUT),
    (USAGE, "cache_read_input_tokens", READ_APART),
    (USAGE, "cache_creation_input_tokens", WRITTEN_APART),
    (USAGE, "cache_creation", CREATION),
    (CREATION, "ephemeral_1h_input_tokens", WRITTEN_HOUR),
];

/// Streams without `alt=sse` are one list of answers. Thoughts and the prompts of tools are counted apart.
/// <https://ai.google.dev/api/generate-content#UsageMetadata>
const GEMINI_API: Members = &[
    (ROOT, "usageMetadata", GEMINI),
    (ROOT, "modelVersion", MODEL),
    (GEMINI, "promptTokenCount", INPUT),
    (GEMINI, "candidatesTokenCount", OUTPUT),
    (GEMINI, "totalTokenCount", TOTAL),
    (GEMINI, "cachedContentTokenCount", CACHED_READ),
    (GEMINI, "thoughtsTokenCount", THOUGHT_APART),
    (GEMINI, "toolUsePromptTokenCount", INPUT_APART),
];

/// Converse. `InvokeModel` answers as the model's own API does, and in headers.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html>
const BEDROCK: Members = &[
    (ROOT, "usage", USAGE),
    (USAGE, "inputTokens", INPUT),
    (USAGE, "outputTokens", OUTPUT),
    (USAGE, "totalTokens", TOTAL),
    (USAGE, "cacheReadInputTokens", READ_APART),
    (USAGE, "cacheWriteInputTokens", WRITTEN_APART),
];

/// One document a line; the last one counts. <https://github.com/ollama/ollama/blob/main/docs/api.md>
const OLLAMA: Members = &[
    (ROOT, "model", MODEL),
    (ROOT, "prompt_eval_count", INPUT),
    (ROOT, "eval_count", OUTPUT),
];

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html>
const BEDROCK_HEADERS: [(Node, &str); 4] = [
    (INPUT, "x-amzn-bedrock-input-token-count"),
    (OUTPUT, "x-amzn-bedrock-output-token-count"),
    (READ_APART, "x-amzn-bedrock-cache-read-input-token-count"),
    (
        WRITTEN_APART,
        "x-amzn-bedrock-cache-write-input-token-count",
    ),
];

/// How an answer reports what it used.
#[derive(Clone, Debug)]
pub struct Format {
    /// Where in the documents of its body; `None`: nowhere.
    pub table: Option<Rc<Table>>,
    headers: Vec<(Node, HeaderName)>,
}

impl Default for Format {
    /// Everything that the known providers say: their members have different names or mean the same.
    fn default() -> Self {
        let all = [OPENAI, ANTHROPIC, GEMINI_API, BEDROCK, OLLAMA].concat();
        Self {
            table: Some(Rc::new(Table::new(&all).with_items(ROOT, ROOT))),
            headers: bedrock_headers(),
        }
    }
}

impl Format {
    fn of(members: &[(Node, &'static str, Node)]) -> Self {
        Self {
            table: Some(Rc::new(Table::new(members).with_items(ROOT, ROOT))),
            headers: Vec::new(),
        }
    }

    /// Reads `usage`: a name, or `{json: {...}}`, or `{headers: {...}}`.
    #[must_use]
    pub fn compile(value: Value<'_>) -> Option<Self> {
        if !matches!(value.node(), Config::Object(_)) {
            let format = match value.one_of(&NAMES)? {
                Name::Auto => Self::default(),
                Name::OpenAi => Self::of(OPENAI),
                Name::Anthropic => Self::of(ANTHROPIC),
                Name::Gemini => Self::of(GEMINI_API),
                Name::Ollama => Self::of(OLLAMA),
                Name::Bedrock => Self {
                    headers: bedrock_headers(),
                    ..Self::of(&[BEDROCK, ANTHROPIC].concat())
                },
            };
            return Some(format);
        }
        let section = value.section()?;
        let json = section.optional("json").map(pointers);
        let headers = section.optional("headers").map(header_names);
        if json.is_none() && headers.is_none() {
            section.error("needs json, headers or both");
        }
        section.finish();
        Some(Self {
            table: match json {
                Some(table) => Some(Rc::new(table?)),
                None => None,
            },
            headers: match headers {
                Some(headers) => headers?,
                None => Vec::new(),
            },
        })
    }

    /// What the headers of an answer say; `None` if they say nothing about tokens.
    #[must_use]
    pub fn in_headers(&self, headers: &Headers) -> Option<Findings> {
        let mut findings = Findings::default();
        let mut any = false;
        for (node, name) in &self.headers {
            let Some(value) = headers.first(name.as_str()) else {
                continue;
            };
            if *node == MODEL {
                findings.model = Some(value.to_vec());
            } else {
                any = true;
                findings.note_text(*node, value);
            }
        }
        any.then_some(findings)
    }
}

#[derive(Clone, Copy)]
enum Name {
    Auto,
    OpenAi,
    Anthropic,
    Gemini,
    Bedrock,
    Ollama,
}

const NAMES: [(&str, Name); 6] = [
    ("auto", Name::Auto),
    ("openai", Name::OpenAi),
    ("anthropic", Name::Anthropic),
    ("gemini", Name::Gemini),
    ("bedrock", Name::Bedrock),
    ("ollama", Name::Ollama),
];

fn bedrock_headers() -> Vec<(Node, HeaderName)> {
    BEDROCK_HEADERS
        .iter()
        .map(|(node, name)| (*node, HeaderName::from_static(name)))
        .collect()
}

/// What can be told by pointer or header. The names are those of prices.
const FIELDS: [(&str, Node); 8] = [
    ("input", INPUT),
    ("output", OUTPUT),
    ("total", TOTAL),
    ("cached_read", CACHED_READ),
    ("cached_write", CACHED_WRITE),
    ("cached_write_1h", WRITTEN_HOUR),
    ("reasoning", REASONING),
    ("model", MODEL),
];

/// The place of a field; with `counted_apart`, what was cached or reasoned is not in `input` and `output`.
fn place(node: Node, apart: bool) -> Node {
    match (node, apart) {
        (CACHED_READ, true) => READ_APART,
        (CACHED_WRITE, true) => WRITTEN_APART,
        (REASONING, true) => THOUGHT_APART,
        (other, _) => other,
    }
}

fn counted_apart(section: &Section<'_>) -> Option<bool> {
    match section.optional("counted_apart") {
        Some(v) => v.boolean(),
        None => Some(false),
    }
}

fn pointers(value: Value<'_>) -> Option<Table> {
    let section = value.section()?;
    let apart = counted_apart(&section);
    let mut table = Table::default();
    let mut good = true;
    let mut counts = false;
    for (field, node) in FIELDS {
        let Some(v) = section.optional(field) else {
            continue;
        };
        counts |= node == INPUT || node == TOTAL;
        let place = place(node, apart.unwrap_or(false));
        let read = v.text().map(|text| table.pointer(text, place));
        good &= v
            .accept(
                read.flatten(),
                "must be a JSON pointer such as /usage/input_tokens",
            )
            .is_some();
    }
    if !counts {
        section.error("needs input or total");
    }
    section.finish();
    apart?;
    (good && counts).then_some(table)
}

fn header_names(value: Value<'_>) -> Option<Vec<(Node, HeaderName)>> {
    let section = value.section()?;
    let apart = counted_apart(&section);
    let mut names = Vec::new();
    let mut good = true;
    for (field, node) in FIELDS {
        if let Some(v) = section.optional(field) {
            match v.header_name() {
                Some(name) => names.push((place(node, apart.unwrap_or(false)), name)),
                None => good = false,
            }
        }
    }
    let counts = names.iter().any(|(n, _)| *n == INPUT || *n == TOTAL);
    if good && !counts {
        section.error("needs input or total");
    }
    section.finish();
    apart?;
    (good && counts).then_some(names)
}
