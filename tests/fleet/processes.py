"""Starts Redis, the rate limit service and Envoys on free loopback ports, in one temporary directory."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port, process, seconds=15):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"{process.args[0]} ended with {process.returncode}")
        with socket.socket() as s:
            s.settimeout(0.2)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on port {port}")


class Process:
    def start(self):
        log = open(self.log, "ab")
        self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=self.env, cwd=self.dir)
        wait_for_port(self.port, self.process)
        return self

    def kill(self):
        if getattr(self, "process", None) and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def hang(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)


class Redis(Process):
    env = None

    def __init__(self, directory, binary):
        self.port = free_port()
        self.dir = directory
        self.log = directory / "redis.log"
        self.command = [
            binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
            "--dir", str(directory), "--maxmemory-policy", "noeviction",
        ]

    def send(self, *words):
        with socket.create_connection(("127.0.0.1", self.port), 5) as s:
            s.sendall("".join([f"*{len(words)}\r\n"] + [f"${len(w)}\r\n{w}\r\n" for w in words]).encode())
            return s.recv(1 << 20)

    def names(self):
        """All keys."""
        return [line for line in self.send("KEYS", "*").decode().split("\r\n")[2::2]]


class Service(Process):
    def __init__(self, directory, binary, redis, configuration):
        runtime = directory / "runtime" / "ratelimit" / "config"
        runtime.mkdir(parents=True, exist_ok=True)
        for file in configuration:
            shutil.copy(file, runtime)
        self.port = free_port()
        self.dir = directory
        self.log = directory / "service.log"
        self.command = [binary]
        self.env = {
            "PATH": os.environ["PATH"], "HOME": str(directory), "HOST": "127.0.0.1", "GRPC_HOST": "127.0.0.1",
            "DEBUG_HOST": "127.0.0.1", "PORT": str(free_port()), "GRPC_PORT": str(self.port),
            "DEBUG_PORT": str(free_port()), "USE_STATSD": "false", "LOG_LEVEL": "warn", "REDIS_SOCKET_TYPE": "tcp",
            "REDIS_URL": f"127.0.0.1:{redis.port}", "RUNTIME_ROOT": str(directory / "runtime"),
            "RUNTIME_SUBDIRECTORY": "ratelimit", "RUNTIME_WATCH_ROOT": "false", "BACKEND_TYPE": "redis",
        }


class Limitador(Process):
    """Limitador's counting behind ShouldRateLimit (tests/limitador)."""

    env = None

    def __init__(self, directory, binary, limits, headers="DRAFT_VERSION_03"):
        self.port = free_port()
        self.dir = directory
        self.log = directory / "limitador.log"
        self.seen = directory / "limitador.seen"
        file = directory / f"limits-{self.port}.json"
        file.write_text(json.dumps(limits))
        self.command = [
            str(binary), "--port", str(self.port), "--limits", str(file), "--rate-limit-headers", headers, "--log", str(self.seen),
        ]


class Delay(Process):
    """A TCP relay that can be made slow: the service behind a bad network."""

    env = None

    def __init__(self, directory, target):
        self.port = free_port()
        self.control = directory / "delay.ms"
        self.control.write_text("0")
        self.dir = directory
        self.log = directory / "delay.log"
        relay = pathlib.Path(__file__).with_name("relay.py")
        self.command = ["python3", str(relay), str(self.port), str(target), str(self.control)]

    def set(self, millis):
        self.control.write_text(str(millis))
        time.sleep(0.25)


class Envoy(Process):
    """A proxy whose routes answer 200 themselves: what is measured is the filter. `listeners` maps a name to the
    filter's configuration, or None for no filter."""

    def __init__(self, directory, number, binary, module, root_id, listeners, service_port, upstream=None, concurrency=1):
        self.dir = ROOT
        self.name = f"envoy{number}"
        self.log = directory / f"{self.name}.log"
        self.admin = free_port()
        self.port = self.admin
        self.ports = {name: free_port() for name in listeners}
        self.access = {name: directory / f"{self.name}-{name}.access" for name in listeners}
        path = directory / f"{self.name}.json"
        path.write_text(json.dumps(self.bootstrap(module, root_id, listeners, service_port, upstream)))
        self.command = [
            binary, "-c", str(path), "--concurrency", str(concurrency), "--base-id", str(20_000 + os.getpid() % 10_000 * 4 + number),
            "--log-level", "warning", "--component-log-level", "wasm:info",
        ]
        self.env = {"PATH": os.environ["PATH"], "HOME": str(directory), "FLEET_KEY": "fleet-test-0123456789", "HOOK_SECRET": "whsec_fleet_test_0123456789"}

    def bootstrap(self, module, root_id, listeners, service_port, upstream):
        def cluster(name, port):
            return {
                "name": name, "connect_timeout": "1s",
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": {"http2_protocol_options" if name == "ratelimit" else "http_protocol_options": {}},
                    }
                },
                "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
                    "socket_address": {"address": "127.0.0.1", "port_value": port}}}}]}]},
            }

        def listener(name, configuration):
            plugin = {
                "name": "tollgate",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                    "config": {
                        "name": f"tollgate.{name}", "root_id": root_id, "failure_policy": "FAIL_RELOAD",
                        "allow_on_headers_stop_iteration": True,
                        "vm_config": {
                            "vm_id": "fleet", "runtime": "envoy.wasm.runtime.v8",
                            "environment_variables": {"host_env_keys": ["FLEET_KEY", "HOOK_SECRET"]},
                            "code": {"local": {"filename": str(module)}},
                        },
                        "configuration": {
                            "@type": "type.googleapis.com/google.protobuf.StringValue", "value": json.dumps(configuration),
                        },
                    },
                },
            }
            router = {"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}
            answer = {"direct_response": {"status": 200, "body": {"inline_string": "ok"}}}
            if upstream:
                answer = {"route": {"cluster": "upstream"}}
            manager = {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": name,
                "access_log": [{"name": "file", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": str(self.access[name]),
                    "log_format": {"text_format_source": {"inline_string": "%START_TIME(%s%6f)% %COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%\n"}},
                }}],
                "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **answer}]}]},
                "http_filters": ([plugin] if configuration else []) + [router],
            }
            return {
                "name": name, "address": {"socket_address": {"address": "127.0.0.1", "port_value": self.ports[name]}},
                "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
            }

        return {
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.admin}}},
            "stats_config": {"stats_tags": [
                {"tag_name": label, "regex": f"({label}=\\.=(.*?);\\.;)"} for label in ("policy", "reason", "rule")
            ]},
            "static_resources": {
                "listeners": [listener(name, configuration) for name, configuration in listeners.items()],
                "clusters": [cluster("ratelimit", service_port)] + ([cluster("upstream", upstream)] if upstream else []),
            },
        }

    def start(self):
        super().start()
        for port in self.ports.values():
            wait_for_port(port, self.process, 30)
        return self

    def stats(self):
        """All counters of Tollgate: {name{labels}: number}."""
        url = f"http://127.0.0.1:{self.admin}/stats/prometheus"
        numbers = {}
        with urllib.request.urlopen(url, timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if "tollgate" in line and not line.startswith("#"):
                    name, number = line.rsplit(" ", 1)
                    numbers[name] = numbers.get(name, 0) + float(number)
        return numbers

    def count(self, *parts):
        return sum(n for name, n in self.stats().items() if all(p in name for p in parts))

    def grpc_calls(self):
        url = f"http://127.0.0.1:{self.admin}/stats?filter=cluster.ratelimit.upstream_rq_total"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.read().decode().split(":")[1])

    def answers(self, name):
        """(begin, end, status, details) of what a listener answered; times in microseconds since the epoch."""
        for line in open(self.access[name], errors="replace"):
            parts = line.split()
            if len(parts) == 4 and parts[1].isdigit():
                begin = int(parts[0])
                yield begin, begin + int(parts[1]), int(parts[2]), parts[3]
