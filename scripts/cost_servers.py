"""The other ends of `cost_check.py`: an upstream that answers what it is asked to, and a receiver of the ledger that fails half the time."""

import http.server
import json
import random
import socket
import threading
import time

STREAM_PAUSE = 0.05


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, address):
        """A peer that went away is part of the test."""


def serve(handler):
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def answer(self, status, body=b"", kind="application/json"):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, events, pause):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for i, event in enumerate(events):
            if i:
                time.sleep(pause)
            data = event.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


class Upstream(Handler):
    """Answers as the body of a request says: {"input": 3, "output": 4, "how": "json" | "stream" | "fail" | "cut"}."""

    seen = []

    def do_GET(self):
        self.answer(200, b"{}")

    def do_POST(self):
        asked = json.loads(self.body() or b"{}")
        self.seen.append(asked)
        if self.path == "/v1/messages":
            return self.stream(anthropic_events(), STREAM_PAUSE)
        if self.path == "/v1/chat/completions" and "messages" in asked:
            return self.stream(openai_events(asked), STREAM_PAUSE)
        usage = {"prompt_tokens": asked.get("input", 1), "completion_tokens": asked.get("output", 1)}
        answer = json.dumps({"model": "m", "usage": usage})
        how = asked.get("how", "json")
        if how == "stream":
            return self.stream(["data: {}\n\n", f"data: {answer}\n\n", "data: [DONE]\n\n"], 0.001)
        if how == "fail":
            return self.answer(500)
        if how == "cut":
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b"{")
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return None
        return self.answer(200, answer.encode())


def openai_events(asked):
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    for word in ("Hel", "lo ", "w\u00f6rld"):
        yield "data: " + json.dumps(chunk | {"choices": [{"index": 0, "delta": {"content": word}}], "usage": None}) + "\n\n"
    if (asked.get("stream_options") or {}).get("include_usage"):
        usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
        yield "data: " + json.dumps(chunk | {"choices": [], "usage": usage}) + "\n\n"
    yield "data: [DONE]\n\n"


def anthropic_events():
    def event(kind, **more):
        return f"event: {kind}\ndata: " + json.dumps({"type": kind} | more) + "\n\n"

    message = {"id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-4", "content": [],
               "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 25, "output_tokens": 1}}
    yield event("message_start", message=message)
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for word in ("Hel", "lo ", "w\u00f6rld"):
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
    yield event("content_block_stop", index=0)
    yield event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 15})
    yield event("message_stop")


class Collector(Handler):
    """Takes half of what comes; of the other half it keeps some all the same, as a receiver does whose answer is lost."""

    events = {}
    differing = 0
    batches = 0
    failures = 0
    lock = threading.Lock()
    chance = random.Random(1)

    def do_POST(self):
        body = self.body()
        kind = type(self)
        with self.lock:
            kind.batches += 1
            fails = self.chance.random() < 0.5
            keeps = not fails or self.chance.random() < 0.5
            if keeps:
                for event in json.loads(body):
                    known = self.events.setdefault(event["id"], event)
                    kind.differing += known != event
            kind.failures += fails
        if fails and self.chance.random() < 0.3:
            self.close_connection = True
            return self.connection.shutdown(socket.SHUT_RDWR)
        return self.answer(self.chance.choice([500, 503, 429]) if fails else 202)
