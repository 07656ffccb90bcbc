"""What `make run` shows: generated credentials, and one curl command for each policy."""

import base64
import hashlib
import hmac
import os
import re
import secrets
import textwrap

ORDER = '{"order": 1}'


def secrets_for(config, file):
    """A value for every name under host_env_keys: what `file` has, new random ones for the rest.

    Never from the environment: a real key of yours must not be printed.
    """
    names = re.findall(r"\w+", " ".join(re.findall(r"host_env_keys: *\[([^\]]*)\]", config)))
    known = {}
    if file.exists():
        lines = [line for line in file.read_text().splitlines() if "=" in line and not line.startswith("#")]
        known = dict(line.split("=", 1) for line in lines)
    if missing := [name for name in names if name not in known]:
        known.update((name, generate(name)) for name in missing)
        lines = ["# Made up by `make run` for the demo on this machine. Delete the file for new ones."]
        lines += [f"{name}={value}" for name, value in known.items()]
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write("\n".join(lines) + "\n")
    return {name: known[name] for name in names}


def generate(name):
    """A random value that has the form of the credential it stands for."""
    if name.startswith(("STRIPE", "STANDARD_WEBHOOKS")):
        return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    if name.endswith("API_KEY"):
        return "ps_test_" + secrets.token_hex(12)
    return "demo_" + secrets.token_hex(16)


def commands(port, env):
    """(policy, what it shows, command) for each policy."""
    at = f"127.0.0.1:{port}"
    key = f"-H 'x-api-key: {env['WEB_APP_API_KEY']}'"
    mac = hmac.new(env["WEBHOOK_SECRET"].encode(), ORDER.encode(), hashlib.sha256).hexdigest()
    chat = '{"model": "gpt-4", "messages": [{"role": "user", "content": "Hello"}]}'
    return [
        ("key auth", "no key: 401 as problem+json. Add the key of the next command, and the upstream sees "
         "x-consumer-id: web-app but not the key.",
         f"curl -i {at}/api/hello"),
        ("rate limit", "/api/optimize has 5 tokens, one more each second: five 200, then 429 (see retry-after with -i).",
         f"curl -s -o /dev/null -w '%{{http_code}}\\n' {key} '{at}/api/optimize?[1-7]'"),
        ("canary", 'a tester is always sent to the canary: x-upstream: canary. Without the header 5 % of the users are.',
         f"curl -i {key} -H 'x-user-group: canary-testers' {at}/checkout"),
        ("cost", "x-request-cost is the exact price of the tokens used, x-budget-remaining what is left of 1.00 USD today.",
         f"curl -i {key} -d '{chat}' {at}/v1/chat/completions"),
        ("webhook signature", "signed: 200. Change one character of the body: 401, and the upstream never sees the request.",
         f"curl -i -H 'x-signature: {mac}' -d '{ORDER}' {at}/hooks/orders"),
    ]


def banner(ports, env, logs, seconds):
    """What stands on the terminal once everything is ready."""
    out = [
        "",
        f"Ready after {seconds:.1f} s: gateway http://127.0.0.1:{ports['gateway']}, Envoy's admin page "
        f"http://127.0.0.1:{ports['admin']}, logs in {logs}/.",
        "The keys were made up for this machine (.tools/demo.env). In another terminal:",
    ]
    for number, (policy, shows, command) in enumerate(commands(ports["gateway"], env), 1):
        out += ["", textwrap.fill(f"{number}. {policy}: {shows}", 100, subsequent_indent="   "), f"   $ {command}"]
    out += ["", "Ctrl-C stops everything."]
    return "\n".join(out)
