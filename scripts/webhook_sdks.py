#!/usr/bin/env python3
"""Requests signed by the senders' own libraries, through the shipped module in a real Envoy.

    scripts/webhook_sdks.py --envoy LABEL=PATH [--dist dist]

Installs stripe, svix, standardwebhooks, slack_sdk and twilio from PyPI and @octokit/webhooks from npm into .venv/webhook-sdks
(once; this is why it is a target of its own, `make test-sdks`). Each library signs a right request, which must reach the upstream;
with a byte changed, with another secret, and (where the scheme has one) with an old timestamp it must not. Ends with
`N passed, N failed`.
"""

import argparse
import http.client
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
HOME = ROOT / ".venv/webhook-sdks"
PYPI = ["stripe==16.1.0", "svix==2.9.1", "standardwebhooks==1.1.0", "slack_sdk==3.47.0", "twilio==9.13.0"]
NPM = ["@octokit/webhooks@14.2.0"]
BODY = '{"id":"evt_1","note":"\\u00fc \u00e9 \\/","amount":1200}'
OTHER = "another-secret-another-secret-00"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_WHSEC = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
TEXT = "0123456789abcdef0123456789abcdef"
ORIGIN = "https://hooks.example.com"


def install():
    """The libraries, and this program again with the interpreter that has them."""
    if pathlib.Path(sys.prefix).resolve() == HOME.resolve():
        return
    python = HOME / "bin/python"
    if not python.exists():
        print(f"== the senders' libraries into {HOME.relative_to(ROOT)} (once)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", HOME], check=True)
        try:
            subprocess.run([HOME / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *PYPI], check=True)
            subprocess.run(["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", HOME, *NPM], check=True)
        except BaseException:
            shutil.rmtree(HOME)
            raise
    os.execv(python, [str(python), *sys.argv])


def agree(verdict):
    assert verdict, "the library does not accept what it has signed"


def stripe(secret, body, at):
    import stripe as sdk
    value = f"t={at},v1=" + sdk.WebhookSignature._compute_signature(f"{at}.{body}", secret)
    return {"Stripe-Signature": value}, lambda: sdk.Webhook.construct_event(body, value, secret)


def svix(secret, body, at):
    import datetime
    from svix.webhooks import Webhook
    when = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
    headers = {"svix-id": "msg_1", "svix-timestamp": str(at), "svix-signature": Webhook(secret).sign("msg_1", when, body)}
    return headers, lambda: Webhook(secret).verify(body, headers)


def standard(secret, body, at):
    import datetime
    from standardwebhooks.webhooks import Webhook
    when = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(at),
               "webhook-signature": Webhook(secret).sign(msg_id="msg_1", timestamp=when, data=body)}
    return headers, lambda: Webhook(secret).verify(body, headers)


def slack(secret, body, at):
    from slack_sdk.signature import SignatureVerifier
    verifier = SignatureVerifier(secret)
    value = verifier.generate_signature(timestamp=str(at), body=body)
    return ({"X-Slack-Request-Timestamp": str(at), "X-Slack-Signature": value},
            lambda: agree(verifier.is_valid(body, str(at), value)))


def octokit(secret, body, at):
    program = ('import { Webhooks } from "@octokit/webhooks";'
               "const w = new Webhooks({ secret: process.env.S });"
               "const s = await w.sign(process.env.B);"
               "if (!(await w.verify(process.env.B, s))) process.exit(1);"
               "process.stdout.write(s);")
    out = subprocess.run(["node", "--input-type=module", "-e", program], cwd=HOME, check=True, capture_output=True,
                         env={**os.environ, "S": secret, "B": body}).stdout
    return {"X-Hub-Signature-256": out.decode(), "X-GitHub-Delivery": "1"}, lambda: None


def twilio_form(secret, body, at):
    from urllib.parse import parse_qs
    from twilio.request_validator import RequestValidator

    class Form(dict):
        """What web frameworks give the library: several values for a name."""

        def getall(self, name):
            return self[name]

    form = Form(parse_qs(body, keep_blank_values=True))
    value = RequestValidator(secret).compute_signature(ORIGIN + "/twilio-form?x=1", form)
    return ({"X-Twilio-Signature": value, "content-type": "application/x-www-form-urlencoded"},
            lambda: agree(RequestValidator(secret).validate(ORIGIN + "/twilio-form?x=1", form, value)))


def twilio_json(secret, body, at):
    from twilio.request_validator import RequestValidator
    validator = RequestValidator(secret)
    path = "/twilio-json?bodySHA256=" + validator.compute_hash(body)
    value = validator.compute_signature(ORIGIN + path, {})
    return ({"X-Twilio-Signature": value, "content-type": "application/json", ":path": path},
            lambda: agree(validator.validate(ORIGIN + path, body, value)))


FORM = "From=%2B14158675309&Body=h%C3%A9+llo%2B&Digits=1234&Digits=12&To="
# name, scheme, secret, another secret, how to sign, path, body, whether there is a timestamp
SENDERS = [
    ("stripe", "stripe", TEXT, OTHER, stripe, "/stripe", BODY, True),
    ("svix", "svix", WHSEC, OTHER_WHSEC, svix, "/svix", BODY, True),
    ("standardwebhooks", "standard-webhooks", WHSEC, OTHER_WHSEC, standard, "/standard", BODY, True),
    ("slack_sdk", "slack", TEXT, OTHER, slack, "/slack", BODY, True),
    ("twilio, a form", "twilio", TEXT, OTHER, twilio_form, "/twilio-form?x=1", FORM, False),
    ("twilio, JSON", "twilio", TEXT, OTHER, twilio_json, "/twilio-json", BODY, False),
    ("@octokit/webhooks", "github", TEXT, OTHER, octokit, "/github", BODY, False),
]


def send(port, path, headers, body):
    headers = dict(headers)
    path = headers.pop(":path", path)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", path, body.encode(), {**headers, "host": "hooks.example.com"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envoy", action="append", required=True, metavar="LABEL=PATH")
    parser.add_argument("--dist", default="dist")
    options = parser.parse_args()
    install()
    sys.path.insert(0, str(ROOT / "scripts"))
    import webhook_live as live

    rules = []
    for _, scheme, secret, _, _, path, _, _ in SENDERS:
        rule = {"match": {"path": {"prefix": path.split("?")[0]}}, "scheme": scheme, "secrets": [{"value": secret}]}
        if scheme == "twilio":
            rule["public_url"] = ORIGIN
        rules.append(rule)
    passed = failed = 0
    for label, binary in (envoy.split("=", 1) for envoy in options.envoy):
        with tempfile.TemporaryDirectory() as directory:
            upstream = live.Upstream()
            listeners = [live.listener(pathlib.Path(options.dist).resolve(), "sdks", {"rules": rules}, True)]
            envoy = live.Envoy(binary, directory, upstream, listeners)
            try:
                for name, _, secret, other, sign, path, body, stamped in SENDERS:
                    now = int(time.time())
                    tampered = body.replace("12", "92", 1)
                    cases = [("right", secret, body, now, 200), ("tampered", secret, tampered, now, 401),
                             ("another secret", other, body, now, 401)]
                    if stamped:
                        cases.append(("an hour old", secret, body, now - 3600, 401))
                    for what, key, sent, at, expected in cases:
                        headers, verify = sign(key, body, at)
                        if what == "right":
                            verify()  # the library itself must agree
                        upstream.reset()
                        status, text = send(envoy.ports["sdks"], path, headers, sent)
                        reached = upstream.seen()[2]
                        good = status == expected and reached == (1 if expected == 200 else 0)
                        passed, failed = passed + good, failed + (not good)
                        print(f"{'PASS' if good else 'FAIL'} signed by {name}: {what} ({label})", flush=True)
                        if not good:
                            print(f"     status {status}, {reached} requests at the upstream: {text[:200]}")
            finally:
                envoy.stop()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
