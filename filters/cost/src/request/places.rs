//! Where requests of the known providers say what.

use crate::json::{Node, ROOT, Table};

pub(super) const MODEL: Node = 1;
pub(super) const STREAM: Node = 2;
pub(super) const OPTIONS: Node = 3;
pub(super) const INCLUDE_USAGE: Node = 4;
/// Chat completions, Anthropic, Bedrock.
pub(super) const MESSAGES: Node = 5;
/// Gemini.
pub(super) const CONTENTS: Node = 6;
/// Responses and embeddings: a text, texts, or messages.
pub(super) const INPUT: Node = 7;
/// Completions.
pub(super) const PROMPT: Node = 8;
/// Numbers are 9 to 18.
const FIRST_NUMBER: Node = 9;
const LAST_NUMBER: Node = 18;
pub(super) const MAX_TOKENS: [Node; 5] = [9, 10, 11, 12, 13];
pub(super) const TEMPERATURES: [Node; 3] = [14, 15, 16];
pub(super) const CHOICES: [Node; 2] = [17, 18];
pub(super) const GENERATION: Node = 19;
pub(super) const INFERENCE: Node = 20;
// From here on things may come more than once.
pub(super) const MESSAGE: Node = 32;
pub(super) const CONTENT: Node = 33;
pub(super) const PART: Node = 34;
pub(super) const TEXT: Node = 35;
const SYSTEM: Node = 36;
/// Known, and nothing that makes a message full.
const IGNORED: Node = 37;

const MEMBERS: &[(Node, &str, Node)] = &[
    (ROOT, "model", MODEL),
    (ROOT, "stream", STREAM),
    (ROOT, "stream_options", OPTIONS),
    (OPTIONS, "include_usage", INCLUDE_USAGE),
    (ROOT, "messages", MESSAGES),
    (ROOT, "contents", CONTENTS),
    (ROOT, "input", INPUT),
    (ROOT, "prompt", PROMPT),
    (ROOT, "instructions", TEXT),
    (ROOT, "system", CONTENT),
    (ROOT, "systemInstruction", SYSTEM),
    (ROOT, "system_instruction", SYSTEM),
    (SYSTEM, "parts", CONTENT),
    (ROOT, "max_tokens", 9),
    (ROOT, "max_completion_tokens", 10),
    (ROOT, "max_output_tokens", 11),
    (ROOT, "generationConfig", GENERATION),
    (ROOT, "generation_config", GENERATION),
    (GENERATION, "maxOutputTokens", 12),
    (GENERATION, "max_output_tokens", 12),
    (ROOT, "inferenceConfig", INFERENCE),
    (INFERENCE, "maxTokens", 13),
    (ROOT, "temperature", 14),
    (GENERATION, "temperature", 15),
    (INFERENCE, "temperature", 16),
    (ROOT, "n", 17),
    (GENERATION, "candidateCount", 18),
    (GENERATION, "candidate_count", 18),
    (MESSAGE, "content", CONTENT),
    (MESSAGE, "parts", CONTENT),
    (MESSAGE, "role", IGNORED),
    (MESSAGE, "name", IGNORED),
    (MESSAGE, "type", IGNORED),
    (MESSAGE, "id", IGNORED),
    (MESSAGE, "status", IGNORED),
    (PART, "text", TEXT),
    (PART, "content", CONTENT),
    (PART, "type", IGNORED),
    (PART, "cache_control", IGNORED),
];

const NAMES: [(Node, &str); 18] = [
    (MODEL, "model"),
    (STREAM, "stream"),
    (OPTIONS, "stream_options"),
    (INCLUDE_USAGE, "stream_options.include_usage"),
    (MESSAGES, "messages"),
    (CONTENTS, "contents"),
    (INPUT, "input"),
    (PROMPT, "prompt"),
    (9, "max_tokens"),
    (10, "max_completion_tokens"),
    (11, "max_output_tokens"),
    (12, "generationConfig.maxOutputTokens"),
    (13, "inferenceConfig.maxTokens"),
    (14, "temperature"),
    (15, "generationConfig.temperature"),
    (16, "inferenceConfig.temperature"),
    (17, "n"),
    (18, "generationConfig.candidateCount"),
];

/// The table for [`super::Reader`].
#[must_use]
pub fn table() -> Table {
    Table::new(MEMBERS)
        .with_items(MESSAGES, MESSAGE)
        .with_items(CONTENTS, MESSAGE)
        .with_items(INPUT, MESSAGE)
        .with_items(PROMPT, TEXT)
        .with_items(CONTENT, PART)
}

pub(super) fn name_of(node: Node) -> &'static str {
    let found = NAMES.iter().find(|(n, _)| *n == node);
    found.map_or("body", |(_, name)| name)
}

pub(super) fn is_number(node: Node) -> bool {
    (FIRST_NUMBER..=LAST_NUMBER).contains(&node)
}

/// Whether a request may say it once only.
pub(super) fn is_once(node: Node) -> bool {
    node != ROOT && node <= INFERENCE
}

pub(super) fn bit(node: Node) -> u64 {
    1_u64.checked_shl(u32::from(node)).unwrap_or(0)
}
