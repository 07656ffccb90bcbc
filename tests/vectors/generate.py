#!/usr/bin/env python3
"""Writes own.json: cases beside the published vectors, signed here with Python's hmac and the openssl program, that is,
without a line of the code under test.

    tests/vectors/generate.py            # rewrites own.json; ECDSA signatures are random, so they differ every time

Each preset gets right, tampered, another secret and, with a timestamp, its window; then spellings, duplicates, bodies, and
senders that have no preset, written out in configuration alone (`rule`). `reason` is what a refusal must be counted as.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import subprocess
import tempfile
from email.utils import formatdate

HERE = pathlib.Path(__file__).parent
NOW = 1795262400  # 2026-11-21T12:00:00Z
TEXT = "0123456789abcdef0123456789abcdef"
RAW = bytes(range(32))
BODY = '{"event":"order.paid","amount":1200,"note":"\\u00fc \\/ caf\u00e9"}\n'
CASES = []


def mac(algorithm, key, payload):
    return hmac.new(key, payload, algorithm).digest()


def hexed(raw):
    return raw.hex()


def b64(raw):
    return base64.b64encode(raw).decode()


def case(name, scheme, headers, body=BODY, valid=True, reason=None, **fields):
    """One case. `headers` is a list of pairs, as they go over the wire."""
    assert valid == (reason is None), name
    entry = {"name": name, "scheme": scheme, "method": "POST", "url": "https://hooks.example.com/in", "now": NOW,
             "secret": TEXT, "secret_encoding": "text", **fields, "headers": [list(pair) for pair in headers],
             "valid": valid}
    if isinstance(body, bytes):
        entry["body_base64"] = b64(body)
    elif body is not None:
        entry["body"] = body
    if reason:
        entry["reason"] = reason
    CASES.append(entry)


def data(body):
    return body if isinstance(body, bytes) else (body or "").encode()


def family(scheme, make, body=BODY, window=None, unit=1, tampers=True, **fields):
    """The usual cases. `make(body bytes, key bytes, unix time)` gives the headers."""
    key = fields.pop("key", TEXT.encode())
    other = fields.pop("other", b"another-secret-another-secret-00")

    def one(what, at=NOW, signed=None, using=key, sent=body, **more):
        case(f"{scheme}-{what}", scheme, make(data(sent if signed is None else signed), using, at), sent,
             **{**fields, **more})

    one("right")
    if tampers:
        one("tampered", signed=body, sent=body.replace("1200", "9200") if isinstance(body, str) else body + b"x",
            valid=False, reason="mismatch")
        one("one-byte-more", signed=body, sent=body + (" " if isinstance(body, str) else b" "), valid=False,
            reason="mismatch")
    one("another-secret", using=other, valid=False, reason="mismatch")
    if window is not None:
        one("at-the-old-edge", at=NOW - window)
        one("too-old", at=NOW - window - unit, valid=False, reason="stale")
        one("at-the-new-edge", at=NOW + window)
        one("too-new", at=NOW + window + unit, valid=False, reason="stale")


def simple(scheme, header, algorithm="sha256", show=hexed, prefix="", **fields):
    family(scheme, lambda body, key, at: [(header, prefix + show(mac(algorithm, key, body)))], **fields)


def rfc3339(at):
    import datetime
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def presets():
    simple("x-signature", "X-Signature")
    simple("github", "X-Hub-Signature-256", prefix="sha256=")
    simple("hub-sha1", "X-Hub-Signature", "sha1", prefix="sha1=")
    simple("hub-sha512", "X-Hub-Signature-512", "sha512", prefix="sha512=")
    simple("bitbucket", "X-Hub-Signature", prefix="sha256=")
    simple("meta", "X-Hub-Signature-256", prefix="sha256=")
    simple("intercom", "X-Hub-Signature", "sha1", prefix="sha1=")
    simple("typeform", "Typeform-Signature", show=b64, prefix="sha256=")
    simple("shopify", "X-Shopify-Hmac-Sha256", show=b64)
    simple("woocommerce", "X-WC-Webhook-Signature", show=b64)
    simple("line", "x-line-signature", show=b64)
    simple("adyen", "HmacSignature", show=b64, key=RAW, secret=RAW.hex(), secret_encoding="hex")
    simple("docusign", "X-DocuSign-Signature-7", show=b64)
    simple("dropbox", "X-Dropbox-Signature")
    simple("asana", "X-Hook-Signature")
    simple("sentry", "Sentry-Hook-Signature")
    simple("calcom", "X-Cal-Signature-256")
    simple("vercel", "x-vercel-signature", "sha1")
    simple("circleci", "circleci-signature", prefix="v1=")
    simple("pagerduty", "X-PagerDuty-Signature", prefix="v1=")

    def stamped(t, sign):
        return lambda body, key, at: [(sign[0], sign[1](at, mac("sha256", key, t(at, body)).hex()))]

    dot = lambda at, body: b"%d.%s" % (at, body)
    family("stripe", stamped(dot, ("Stripe-Signature", lambda at, m: f"t={at},v1={m}")), window=300)
    family("calendly", stamped(dot, ("Calendly-Webhook-Signature", lambda at, m: f"t={at},v1={m}")), window=180)
    colon = lambda at, body: b"%d:%s" % (at, body)
    family("paddle", stamped(colon, ("Paddle-Signature", lambda at, m: f"ts={at};h1={m}")), window=5)

    def v0(name, time):
        return lambda body, key, at: [(time, str(at)), (name, "v0=" + mac("sha256", key, b"v0:%d:%s" % (at, body)).hex())]

    family("slack", v0("X-Slack-Signature", "X-Slack-Request-Timestamp"), window=300)
    family("zoom", v0("x-zm-signature", "x-zm-request-timestamp"), window=300)
    family("zendesk", lambda body, key, at: [
        ("X-Zendesk-Webhook-Signature-Timestamp", rfc3339(at)),
        ("X-Zendesk-Webhook-Signature", b64(mac("sha256", key, rfc3339(at).encode() + body)))], window=300)

    def standard(kind):
        return lambda body, key, at: [
            (f"{kind}-id", "msg_1"), (f"{kind}-timestamp", str(at)),
            (f"{kind}-signature", "v1," + b64(mac("sha256", key, b"msg_1.%d.%s" % (at, body))))]

    whsec = {"key": RAW, "secret": "whsec_" + b64(RAW), "secret_encoding": "whsec", "window": 300}
    family("standard-webhooks", standard("webhook"), **whsec)
    family("svix", standard("svix"), **whsec)
    family("square", lambda body, key, at: [
        ("x-square-hmacsha256-signature", b64(mac("sha256", key, b"https://hooks.example.com/in" + body)))],
        public_url="https://hooks.example.com")
    family("hubspot-v3", lambda body, key, at: [
        ("X-HubSpot-Request-Timestamp", str(int(at * 1000))),
        ("X-HubSpot-Signature-v3", b64(mac("sha256", key, b"POSThttps://hooks.example.com/in?a=%%20b:c%s%d" % (body, int(at * 1000)))))],
        url="https://hooks.example.com/in?a=%20b%3Ac", public_url="https://hooks.example.com", window=300, unit=0.001)
    linear = '{"action":"create","webhookTimestamp":%d,"amount":1200}' % (NOW * 1000)
    simple("linear", "Linear-Signature", body=linear)
    for what, off, good in [("old-edge", -60000, True), ("too-old", -60001, False), ("new-edge", 60000, True), ("too-new", 60001, False)]:
        body = '{"data":{"webhookTimestamp":1},"webhookTimestamp":%d}' % (NOW * 1000 + off)
        case(f"linear-{what}", "linear", [("linear-signature", mac("sha256", TEXT.encode(), body.encode()).hex())], body,
             good, None if good else "stale")
    for what, body in [("no-timestamp", "{}"), ("timestamp-twice", '{"webhookTimestamp":%d000,"webhookTimestamp":%d000}' % (NOW, NOW)),
                       ("not-json", "webhookTimestamp=%d000" % NOW), ("timestamp-is-a-list", '{"webhookTimestamp":[%d000]}' % NOW)]:
        case(f"linear-{what}", "linear", [("linear-signature", mac("sha256", TEXT.encode(), body.encode()).hex())], body,
             False, "malformed")
    case("gitlab-token-right", "gitlab-token", [("X-Gitlab-Token", TEXT)])
    case("gitlab-token-longer", "gitlab-token", [("X-Gitlab-Token", TEXT + "0")], valid=False, reason="mismatch")
    case("gitlab-token-shorter", "gitlab-token", [("X-Gitlab-Token", TEXT[:-1])], valid=False, reason="mismatch")

    def mailgun(at, token="t0k3n", key=TEXT.encode(), signed=None):
        sign = mac("sha256", key, b"%d%s" % (at, (signed or token).encode())).hex()
        return {"signature": {"timestamp": str(at), "token": token, "signature": sign}, "event-data": {"event": "opened"}}

    case("mailgun-right", "mailgun", [], json.dumps(mailgun(NOW)))
    case("mailgun-other-order", "mailgun", [], json.dumps(dict(reversed(list(mailgun(NOW).items()))), indent=1))
    case("mailgun-other-token", "mailgun", [], json.dumps(mailgun(NOW, signed="other")), False, "mismatch")
    case("mailgun-other-secret", "mailgun", [], json.dumps(mailgun(NOW, key=b"x" * 32)), False, "mismatch")
    case("mailgun-too-old", "mailgun", [], json.dumps(mailgun(NOW - 301)), False, "stale")
    case("mailgun-no-signature", "mailgun", [], '{"event-data": {}}', False, "missing")
    case("mailgun-no-body", "mailgun", [], None, False, "missing")
    case("mailgun-two-signatures", "mailgun", [], json.dumps(mailgun(NOW))[:-1] + ', "signature": {}}', False, "malformed")
    form = mailgun(NOW)["signature"]
    text = "&".join(f"{k}={v}" for k, v in form.items()) + "&recipient=a%40b"
    case("mailgun-form-right", "mailgun-form", [("content-type", "application/x-www-form-urlencoded")], text)
    case("mailgun-form-token-twice", "mailgun-form", [("content-type", "application/x-www-form-urlencoded")],
         text + "&token=x", False, "malformed")


def twilio():
    url = "https://hooks.example.com/in?x=1"
    form = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")]
    public = {"url": url, "public_url": "https://hooks.example.com"}

    def sign(url, payload="", key=TEXT.encode()):
        return [("X-Twilio-Signature", b64(mac("sha1", key, (url + payload).encode())))]

    case("twilio-form", "twilio", form + sign(url, "Bodyh\u00e9 llo+Froma"), "From=a&Body=h%C3%A9+llo%2B", **public)
    case("twilio-form-values-sorted-and-single", "twilio", form + sign(url, "A1A2B"), "B=&A=2&A=1&A=2", **public)
    case("twilio-form-plus-kept", "twilio", form + sign(url, "A1+2"), "A=1+2", valid=False, reason="mismatch", **public)
    case("twilio-port-added", "twilio", form + sign("https://hooks.example.com:443/in?x=1", "A1"), "A=1", **public)
    case("twilio-port-taken-away", "twilio", form + sign(url, "A1"), "A=1", url=url, public_url="https://hooks.example.com:8443")
    case("twilio-another-port", "twilio", form + sign("https://hooks.example.com:444/in?x=1", "A1"), "A=1", valid=False,
         reason="mismatch", **public)
    case("twilio-another-path", "twilio", form + sign("https://hooks.example.com/out?x=1", "A1"), "A=1", valid=False,
         reason="mismatch", **public)
    case("twilio-http-instead-of-https", "twilio", form + sign("http://hooks.example.com/in?x=1", "A1"), "A=1", valid=False,
         reason="mismatch", **public)
    digest = hashlib.sha256(BODY.encode()).hexdigest()
    json_url = url + "&bodySHA256=" + digest
    here = {"url": json_url, "public_url": "https://hooks.example.com"}
    js = [("content-type", "application/json")]
    case("twilio-json", "twilio", js + sign(json_url), **here)
    case("twilio-json-upper-case-digest", "twilio", js + sign(url + "&bodySHA256=" + digest.upper()),
         url=url + "&bodySHA256=" + digest.upper(), public_url="https://hooks.example.com")
    case("twilio-json-no-content-type", "twilio", sign(json_url), **here)
    case("twilio-json-tampered", "twilio", js + sign(json_url), BODY + " ", False, "mismatch", **here)
    case("twilio-json-without-digest", "twilio", js + sign(url), BODY, False, "malformed", **public)
    case("twilio-json-two-digests", "twilio", js + sign(json_url + "&bodySHA256=" + digest), BODY, False, "malformed",
         url=json_url + "&bodySHA256=" + digest, public_url="https://hooks.example.com")
    case("twilio-json-short-digest", "twilio", js + sign(json_url[:-2]), BODY, False, "malformed", url=json_url[:-2],
         public_url="https://hooks.example.com")
    case("twilio-json-path-in-public-url", "twilio", js + sign("https://hooks.example.com/outside?x=1&bodySHA256=" + digest),
         url=json_url, public_url="https://hooks.example.com/outside")
    case("twilio-get", "twilio", sign(url), None, method="GET", **public)
    case("twilio-get-form-claimed", "twilio", form + sign(url), None, method="GET", **public)
    case("twilio-multipart", "twilio", [("content-type", "multipart/form-data; boundary=x")] + sign(url), "--x--", False,
         "malformed", **public)


def spellings():
    good = mac("sha256", TEXT.encode(), BODY.encode())
    for what, value, ok in [
        ("upper-case", good.hex().upper(), True), ("mixed-case", good.hex()[:32].upper() + good.hex()[32:], True),
        ("0x", "0x" + good.hex(), False), ("short", good.hex()[:-2], False), ("long", good.hex() + "00", False),
        ("odd", good.hex()[:-1], False), ("spaced", good.hex()[:32] + " " + good.hex()[32:], False),
        ("quoted", '"' + good.hex() + '"', False), ("base64", b64(good), False), ("empty", "", False),
        ("prefixed", "sha256=" + good.hex(), False), ("twice", good.hex() + "," + good.hex(), False),
        ("colons", ":".join(f"{b:02x}" for b in good), False),
    ]:
        case(f"hex-{what}", "x-signature", [("x-signature", value)], valid=ok, reason=None if ok else "malformed")
    # A signature whose base64 has all the characters that spellings differ in.
    n = next(n for n in range(10000) if "+" in (s := b64(mac("sha256", TEXT.encode(), b"%d" % n))) and "/" in s)
    body = str(n)
    good = mac("sha256", TEXT.encode(), body.encode())
    text = b64(good)
    trailing = text[:-2] + chr(ord(text[-2]) + 1) + "="
    for what, value, ok in [
        ("right", text, True), ("no-padding", text.rstrip("="), False), ("more-padding", text + "=", False),
        ("url-safe", text.replace("+", "-").replace("/", "_"), False), ("hex", good.hex(), False),
        ("trailing-bits", trailing, False), ("inner-space", text[:20] + " " + text[20:], False), ("empty", "", False),
        ("doubled", b64(text.encode()), False),
    ]:
        case(f"base64-{what}", "shopify", [("x-shopify-hmac-sha256", value)], body, ok, None if ok else "malformed")
    url_safe = {"scheme": {"name": "url-safe", "signature": {"headers": ["x-sig"]}, "encoding": "base64url",
                           "algorithm": "hmac-sha256", "payload": "{body}"}}
    safe = text.replace("+", "-").replace("/", "_")
    for what, value, ok in [("padded", safe, True), ("bare", safe.rstrip("="), True), ("standard", text, False)]:
        case(f"base64url-{what}", "url-safe", [("x-sig", value)], body, ok, None if ok else "malformed", rule=url_safe)


def lists_and_duplicates():
    stripe = mac("sha256", TEXT.encode(), b"%d.%s" % (NOW, BODY.encode())).hex()
    bad = "0" * 64
    for what, pairs, reason in [
        ("rolled", [f"t={NOW},v1={bad},v1={stripe}"], None), ("other-order", [f"v1={stripe},t={NOW}"], None),
        ("spaces", [f" t={NOW} , v1={stripe} "], None), ("two-headers", [f"t={NOW}", f"v1={stripe}"], None),
        ("the-same-timestamp-twice", [f"t={NOW},t={NOW},v1={stripe}"], None),
        ("two-timestamps", [f"t={NOW},t={NOW - 1},v1={stripe}"], "malformed"),
        ("v0-only", [f"t={NOW},v0={stripe}"], "malformed"), ("no-timestamp", [f"v1={stripe}"], "malformed"),
        ("timestamp-plus", [f"t=+{NOW},v1={stripe}"], "malformed"), ("timestamp-float", [f"t={NOW}.0,v1={stripe}"], "malformed"),
        ("timestamp-exponent", [f"t=1e9,v1={stripe}"], "malformed"), ("timestamp-ms", [f"t={NOW}000,v1={stripe}"], "malformed"),
        ("timestamp-huge", [f"t=18446744073709551615,v1={stripe}"], "malformed"),
        ("key-in-capitals", [f"t={NOW},V1={stripe}"], "malformed"), ("63-junk", [",".join(["a=b"] * 62 + [f"t={NOW}", f"v1={stripe}"])], None),
        ("64-junk", [",".join(["a=b"] * 63 + [f"t={NOW}", f"v1={stripe}"])], "malformed"),
        ("semicolons", [f"t={NOW};v1={stripe}"], "malformed"),
    ]:
        case(f"list-{what}", "stripe", [("stripe-signature", value) for value in pairs], valid=reason is None, reason=reason)
    good = mac("sha256", TEXT.encode(), BODY.encode()).hex()
    case("duplicate-signature", "x-signature", [("x-signature", good), ("X-Signature", good)], valid=False, reason="duplicate")
    case("duplicate-signature-first-bad", "x-signature", [("x-signature", bad), ("x-signature", good)], valid=False, reason="duplicate")
    ts = [("X-Slack-Request-Timestamp", str(NOW))]
    slack = [("X-Slack-Signature", "v0=" + mac("sha256", TEXT.encode(), b"v0:%d:%s" % (NOW, BODY.encode())).hex())]
    case("duplicate-timestamp-header", "slack", ts + ts + slack, valid=False, reason="duplicate")
    case("missing-timestamp-header", "slack", slack, valid=False, reason="malformed")
    case("empty-timestamp-header", "slack", [("X-Slack-Request-Timestamp", "")] + slack, valid=False, reason="malformed")
    sw = lambda i: b64(mac("sha256", RAW, b"%s.%d.%s" % (i.encode(), NOW, BODY.encode())))
    key = {"secret": "whsec_" + b64(RAW), "secret_encoding": "whsec"}
    stamp = ("webhook-timestamp", str(NOW))
    case("id-twice", "standard-webhooks", [("webhook-id", "a"), ("webhook-id", "a"), stamp, ("webhook-signature", "v1," + sw("a"))],
         valid=False, reason="duplicate", **key)
    case("id-with-dot", "standard-webhooks", [("webhook-id", "a.b"), stamp, ("webhook-signature", "v1," + sw("a.b"))],
         valid=False, reason="malformed", **key)
    case("id-missing", "standard-webhooks", [stamp, ("webhook-signature", "v1," + sw(""))], valid=False, reason="malformed", **key)
    case("id-256", "standard-webhooks", [("webhook-id", "i" * 256), stamp, ("webhook-signature", "v1," + sw("i" * 256))], **key)
    case("id-257", "standard-webhooks", [("webhook-id", "i" * 257), stamp, ("webhook-signature", "v1," + sw("i" * 257))],
         valid=False, reason="malformed", **key)
    case("secret-without-prefix", "standard-webhooks", [("webhook-id", "a"), stamp, ("webhook-signature", "v1," + sw("a"))],
         secret=b64(RAW), secret_encoding="whsec")
    case("no-signature-at-all", "github", [], valid=False, reason="missing")
    case("another-vendors-signature", "github", [("x-signature", good)], valid=False, reason="missing")
    case("rotation-old-secret", "x-signature", [("x-signature", good)], secrets=["new-secret-new-secret-new", TEXT])
    case("rotation-retired-secret", "x-signature", [("x-signature", good)], secrets=["new-secret-new-secret-new"], valid=False,
         reason="mismatch")
    case("series-second-key", "docusign", [("x-docusign-signature-1", b64(b"\0" * 32)),
                                            ("x-docusign-signature-2", b64(mac("sha256", TEXT.encode(), BODY.encode())))])
    case("series-number-0", "docusign", [("x-docusign-signature-0", b64(mac("sha256", TEXT.encode(), BODY.encode())))],
         valid=False, reason="missing")


def bodies():
    for what, body in [("no-text", bytes(range(256))), ("nul", b"\0"), ("newlines", b"\r\n\n"), ("gzip-looking", b"\x1f\x8b\x08\0\0"),
                       ("64KiB-and-one", b"x" * 65537), ("blank", b" ")]:
        case(f"body-{what}", "github", [("x-hub-signature-256", "sha256=" + mac("sha256", TEXT.encode(), body).hex())], body)
    empty = mac("sha256", TEXT.encode(), b"").hex()
    case("body-empty-not-allowed", "x-signature", [("x-signature", empty)], None, False, "empty_body")
    case("body-empty-allowed", "x-signature", [("x-signature", empty)], None, rule={"allow_empty_body": True})
    case("body-too-large", "x-signature", [("x-signature", empty)], "x" * 101, False, "too_large", rule={"max_body_bytes": 100})


def openssl(*arguments, stdin=None):
    return subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=True).stdout


def public_keys():
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory)
        keys = {}
        for kind, how in [("p256", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]), ("p256-other", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
                          ("ed", ["-algorithm", "ED25519"]), ("ed-other", ["-algorithm", "ED25519"])]:
            openssl("genpkey", *how, "-out", str(path / kind))
            keys[kind] = openssl("pkey", "-in", str(path / kind), "-pubout", "-outform", "DER")

        def ecdsa(payload, key="p256"):
            return openssl("dgst", "-sha256", "-sign", str(path / key), stdin=payload)

        def ed(payload, key="ed"):
            (path / "payload").write_bytes(payload)
            return openssl("pkeyutl", "-sign", "-rawin", "-in", str(path / "payload"), "-inkey", str(path / key))

        sendgrid = lambda body, key, at: [
            ("X-Twilio-Email-Event-Webhook-Timestamp", str(at)),
            ("X-Twilio-Email-Event-Webhook-Signature", b64(ecdsa(b"%d%s" % (at, body), key)))]
        p256 = {"secret": b64(keys["p256"]), "secret_encoding": "base64", "key": "p256", "other": "p256-other"}
        family("sendgrid", sendgrid, window=300, **p256)
        pem = openssl("pkey", "-in", str(path / "p256"), "-pubout").decode()
        right = sendgrid(BODY.encode(), "p256", NOW)
        case("sendgrid-pem", "sendgrid", right, secret=pem, secret_encoding="pem")
        case("sendgrid-point-in-hex", "sendgrid", right, secret=keys["p256"][26:].hex(), secret_encoding="hex")
        der = base64.b64decode(right[1][1])
        for what, text in [("padded-der", der + b"\0"), ("cut-der", der[:-1]), ("no-der", b"\0" * 64), ("long-form-length", b"\x30\x81" + der[1:])]:
            case(f"sendgrid-{what}", "sendgrid", [right[0], (right[1][0], b64(text))], valid=False, reason="malformed",
                 secret=b64(keys["p256"]), secret_encoding="base64")

        def fixed(der):
            r, rest = der[4:4 + der[3]], der[4 + der[3]:]
            s = rest[2:2 + rest[1]]
            return r[-32:].rjust(32, b"\0") + s[-32:].rjust(32, b"\0")

        rule = {"scheme": {"name": "fixed", "signature": {"headers": ["x-sig"]}, "encoding": "base64url",
                           "algorithm": "ecdsa-p256-sha256-fixed", "payload": "{body}"}}
        family("fixed", lambda body, key, at: [("x-sig", base64.urlsafe_b64encode(fixed(ecdsa(body, key))).decode().rstrip("="))],
               rule=rule, **p256)

        discord = lambda body, key, at: [
            ("X-Signature-Timestamp", str(at)), ("X-Signature-Ed25519", ed(b"%d%s" % (at, body), key).hex())]
        ed_keys = {"key": "ed", "other": "ed-other"}
        family("discord", discord, window=300, secret=keys["ed"][12:].hex(), secret_encoding="hex", **ed_keys)
        v1a = lambda body, key, at: [
            ("webhook-id", "msg_1"), ("webhook-timestamp", str(at)),
            ("webhook-signature", "v1a," + b64(ed(b"msg_1.%d.%s" % (at, body), key)))]
        family("standard-webhooks-v1a", v1a, window=300, secret="whpk_" + b64(keys["ed"][12:]), secret_encoding="whpk", **ed_keys)
        telnyx = {"scheme": {"name": "telnyx", "signature": {"headers": ["telnyx-signature-ed25519"]}, "encoding": "base64",
                             "algorithm": "ed25519", "payload": "{timestamp}|{body}", "secret_encoding": "base64",
                             "timestamp": {"header": "telnyx-timestamp", "format": "unix"}}}
        family("telnyx", lambda body, key, at: [("telnyx-timestamp", str(at)), ("telnyx-signature-ed25519", b64(ed(b"%d|%s" % (at, body), key)))],
               window=300, rule=telnyx, secret=b64(keys["ed"][12:]), secret_encoding="base64", **ed_keys)
        case("ed25519-pem", "discord", discord(BODY.encode(), "ed", NOW), secret_encoding="pem",
             secret=openssl("pkey", "-in", str(path / "ed"), "-pubout").decode())


def by_configuration():
    """Senders without a preset."""

    def scheme(name, signature, payload, encoding="hex", algorithm="hmac-sha256", **more):
        return {"scheme": {"name": name, "signature": signature, "encoding": encoding, "algorithm": algorithm,
                           "payload": payload, **more}}

    def one(name, rule, make, **fields):
        family(name, make, rule=rule, **fields)

    header = lambda *names: {"headers": list(names)}
    keyed = lambda name, key, item=",", sep="=": {"headers": [name], "item_separator": item, "key_separator": sep, "key": key}
    sha = lambda key, payload, algorithm="sha256": mac(algorithm, key, payload)

    box = scheme("box", header("box-signature-primary", "box-signature-secondary"), "{body}{timestamp}", "base64",
                 timestamp={"header": "box-delivery-timestamp", "format": "rfc3339", "tolerance": "600s"},
                 require={"box-signature-version": "1", "box-signature-algorithm": "HmacSHA256"})

    def box_headers(at):
        return [("box-signature-version", "1"), ("box-signature-algorithm", "HmacSHA256"), ("box-delivery-timestamp", rfc3339(at))]

    one("box", box, lambda body, key, at: box_headers(at) + [("box-signature-primary", b64(sha(key, body + rfc3339(at).encode())))], window=600)
    signed = b64(sha(TEXT.encode(), BODY.encode() + rfc3339(NOW).encode()))
    case("box-secondary", "box", box_headers(NOW) + [("box-signature-primary", b64(b"\0" * 32)), ("box-signature-secondary", signed)], rule=box)
    case("box-version-2", "box", [("box-signature-version", "2")] + box_headers(NOW)[1:] + [("box-signature-primary", signed)],
         valid=False, reason="malformed", rule=box)
    case("box-without-version", "box", box_headers(NOW)[1:] + [("box-signature-primary", signed)], valid=False, reason="malformed", rule=box)
    case("box-version-twice", "box", [("box-signature-version", "1")] + box_headers(NOW) + [("box-signature-primary", signed)],
         valid=False, reason="duplicate", rule=box)

    one("workos", scheme("workos", keyed("workos-signature", "v1"), "{timestamp}.{body}",
                         timestamp={"field": "t", "format": "unix_ms", "tolerance": "180s"}),
        lambda body, key, at: [("workos-signature", f"t={int(at * 1000)}, v1=" + sha(key, b"%d.%s" % (int(at * 1000), body)).hex())],
        window=180, unit=0.001)
    one("twitch", scheme("twitch", {"headers": ["twitch-eventsub-message-signature"], "prefix": "sha256="}, "{id}{timestamp}{body}",
                         timestamp={"header": "twitch-eventsub-message-timestamp", "format": "rfc3339", "tolerance": "10m"},
                         id="twitch-eventsub-message-id"),
        lambda body, key, at: [("twitch-eventsub-message-id", "e7"), ("twitch-eventsub-message-timestamp", rfc3339(at)[:-1] + ".123456789Z"),
                               ("twitch-eventsub-message-signature", "sha256=" + sha(key, b"e7" + rfc3339(at)[:-1].encode() + b".123456789Z" + body).hex())],
        window=600)
    one("klaviyo", scheme("klaviyo", header("klaviyo-signature"), "{body}{timestamp}", "hex",
                          timestamp={"header": "klaviyo-timestamp", "format": "http-date"}),
        lambda body, key, at: [("klaviyo-timestamp", formatdate(at, usegmt=True)), ("klaviyo-signature", sha(key, body + formatdate(at, usegmt=True).encode()).hex())],
        window=300)
    one("ripple", scheme("ripple", header("x-ripple"), "{timestamp}.{body_sha256}", timestamp={"header": "x-time", "format": "unix"}),
        lambda body, key, at: [("x-time", str(at)), ("x-ripple", sha(key, b"%d.%s" % (at, hashlib.sha256(body).hexdigest().encode())).hex())],
        window=300)
    one("string-to-sign", scheme("string-to-sign", header("x-sig"), "{method}\n{path}\n{header:date}\n{body_sha256:base64}", "base64"),
        lambda body, key, at: [("date", "today"), ("x-sig", b64(sha(key, b"POST\n/in\ntoday\n" + b64(hashlib.sha256(body).digest()).encode())))])
    one("paystack", scheme("paystack", header("x-paystack-signature"), "{body}", algorithm="hmac-sha512"),
        lambda body, key, at: [("x-paystack-signature", sha(key, body, "sha512").hex())])
    one("x-twitter", scheme("x-twitter", {"headers": ["x-twitter-webhooks-signature"], "prefix": "sha256="}, "{body}", "base64"),
        lambda body, key, at: [("x-twitter-webhooks-signature", "sha256=" + b64(sha(key, body)))])
    one("close", scheme("close", header("close-sig-hash"), "{timestamp}{body}", secret_encoding="hex",
                        timestamp={"header": "close-sig-timestamp", "format": "unix"}),
        lambda body, key, at: [("close-sig-timestamp", str(at)), ("close-sig-hash", sha(key, b"%d%s" % (at, body)).hex())],
        key=RAW, secret=RAW.hex(), secret_encoding="hex", window=300)
    one("trello", scheme("trello", header("x-trello-webhook"), "{body}{url}", "base64", "hmac-sha1"),
        lambda body, key, at: [("x-trello-webhook", b64(sha(key, body + b"https://hooks.example.com/in", "sha1")))],
        public_url="https://hooks.example.com/in")
    one("cloudflare-stream", scheme("cloudflare-stream", keyed("webhook-signature", "sig1"), "{timestamp}.{body}",
                                    timestamp={"field": "time", "format": "unix"}),
        lambda body, key, at: [("webhook-signature", f"time={at},sig1=" + sha(key, b"%d.%s" % (at, body)).hex())], window=300)
    one("convoy", scheme("convoy", keyed("x-convoy-signature", "v1"), "{timestamp},{body}", algorithm="hmac-sha512",
                         timestamp={"field": "t", "format": "unix", "tolerance": "1h", "future": "15s"}),
        lambda body, key, at: [("x-convoy-signature", f"t={at},v1=" + sha(key, b"%d,%s" % (at, body), "sha512").hex())])
    one("retell", scheme("retell", keyed("x-retell-signature", "d"), "{body}{timestamp}", timestamp={"field": "v", "format": "unix_ms"}),
        lambda body, key, at: [("x-retell-signature", f"v={int(at * 1000)},d=" + sha(key, b"%s%d" % (body, int(at * 1000))).hex())],
        window=300, unit=0.001)
    one("buildkite", scheme("buildkite", keyed("x-buildkite-signature", "signature"), "{timestamp}.{body}",
                            timestamp={"field": "timestamp", "format": "unix"}),
        lambda body, key, at: [("x-buildkite-signature", f"timestamp={at},signature=" + sha(key, b"%d.%s" % (at, body)).hex())], window=300)
    one("greenhouse", scheme("greenhouse", {"headers": ["signature"], "prefix": "sha256 "}, "{body}"),
        lambda body, key, at: [("signature", "sha256 " + sha(key, body).hex())])
    one("airtable", scheme("airtable", {"headers": ["x-airtable-content-mac"], "prefix": "hmac-sha256="}, "{body}", secret_encoding="base64"),
        lambda body, key, at: [("x-airtable-content-mac", "hmac-sha256=" + sha(key, body).hex())], key=RAW, secret=b64(RAW), secret_encoding="base64")
    mandrill = scheme("mandrill", header("x-mandrill-signature"), "{url}{sorted_form}", "base64", "hmac-sha1")
    form = [("content-type", "application/x-www-form-urlencoded")]
    case("mandrill-right", "mandrill", form + [("x-mandrill-signature", b64(sha(TEXT.encode(), b"https://hooks.example.com/inmandrill_events[{}]", "sha1")))],
         "mandrill_events=%5B%7B%7D%5D", rule=mandrill, public_url="https://hooks.example.com/in")
    case("mandrill-not-a-form", "mandrill", [("x-mandrill-signature", b64(sha(TEXT.encode(), b"https://hooks.example.com/in", "sha1")))],
         "{}", False, "malformed", rule=mandrill, public_url="https://hooks.example.com/in")
    figma = {"scheme": {"name": "figma", "signature": {"json_pointer": "/passcode"}, "algorithm": "token"}}
    case("figma-passcode", "figma", [], json.dumps({"event": "x", "passcode": TEXT}), rule=figma)
    case("figma-other-passcode", "figma", [], json.dumps({"event": "x", "passcode": TEXT + "1"}), False, "mismatch", rule=figma)
    case("figma-no-passcode", "figma", [], "{}", False, "missing", rule=figma)
    graph = {"scheme": {"name": "graph", "signature": {"json_pointer": "/value/0/clientState"}, "algorithm": "token"}}
    case("graph-client-state", "graph", [], json.dumps({"value": [{"clientState": TEXT}, {}]}), rule=graph)
    case("graph-second-item", "graph", [], json.dumps({"value": [{}, {"clientState": TEXT}]}), False, "missing", rule=graph)
    lever = scheme("lever", {"json_pointer": "/signature"}, "{json:/token}{json:/triggeredAt}", unsigned_body=True)
    signed = sha(TEXT.encode(), b"tok%d" % NOW).hex()
    case("lever-right", "lever", [], '{"token":"tok","triggeredAt":%d,"signature":"%s"}' % (NOW, signed), rule=lever)
    case("lever-escaped", "lever", [], '{"to\\u006ben":"\\u0074ok","triggeredAt":%d,"signature":"%s"}' % (NOW, signed), rule=lever)
    case("lever-number-written-otherwise", "lever", [], '{"token":"tok","triggeredAt":%d.0,"signature":"%s"}' % (NOW, signed), False,
         "mismatch", rule=lever)
    case("lever-without-token", "lever", [], '{"triggeredAt":%d,"signature":"%s"}' % (NOW, signed), False, "malformed", rule=lever)
    late = scheme("id-before-body", header("x-sig"), "{json:/id}.{body}")
    body = '{"id":"e1","amount":1200}'
    one("id-before-body", late, lambda b, key, at: [("x-sig", sha(key, b"e1." + b).hex())], body=body)
    telegram = {"scheme": {"name": "telegram", "signature": {"headers": ["x-telegram-bot-api-secret-token"]}, "algorithm": "token"}}
    case("telegram-right", "telegram", [("X-Telegram-Bot-Api-Secret-Token", TEXT)], rule=telegram)
    case("telegram-wrong", "telegram", [("X-Telegram-Bot-Api-Secret-Token", TEXT.upper())], valid=False, reason="mismatch", rule=telegram)
    bearer = {"scheme": {"name": "bearer", "signature": {"headers": ["authorization"], "prefix": "Bearer "}, "algorithm": "token"}}
    case("bearer-right", "bearer", [("Authorization", "Bearer " + TEXT)], rule=bearer)
    case("bearer-without-prefix", "bearer", [("Authorization", TEXT)], valid=False, reason="malformed", rule=bearer)


def main():
    presets()
    twilio()
    spellings()
    lists_and_duplicates()
    bodies()
    public_keys()
    by_configuration()
    names = [entry["name"] for entry in CASES]
    assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)
    text = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in CASES)
    (HERE / "own.json").write_text(f"[\n{text}\n]\n")
    print(len(CASES), "cases")


if __name__ == "__main__":
    main()
