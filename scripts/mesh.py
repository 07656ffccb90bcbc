#!/usr/bin/env python3
"""`make mesh`: the docker compose mesh of envoy/compose, until Ctrl-C.

    scripts/mesh.py up --upstream PATH [--envoy PATH]

With a container engine and a registry it does what `docker compose up` does. Without: where no engine runs, it starts
Debian's (needs root), with its data in .tools/mesh; images that cannot be pulled are built from programs on this machine
(scripts/images.py). What can be had neither way is left out, by name.

Variables: ENVOY_IMAGE, UPSTREAM_IMAGE, REDIS_IMAGE, RATELIMIT_IMAGE, PROMETHEUS_IMAGE, GRAFANA_IMAGE, CLIENT_IMAGE name other images (they are
pulled, never built); COMPOSE another compose program; GATEWAY_PORT, GATEWAY_2_PORT, PROMETHEUS_PORT, GRAFANA_PORT other ports.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import images

ROOT = Path(__file__).resolve().parent.parent
COMPOSE_FILE = ROOT / "envoy" / "compose" / "docker-compose.yml"
DATA = ROOT / ".tools" / "mesh"
PULL_SECONDS = 600
BUILD_SECONDS = 900
HEALTHY_SECONDS = 90
# variable -> (image that users pull, recipe in images.py, program to build it from)
IMAGES = {
    "ENVOY_IMAGE": ("envoyproxy/envoy:v1.40.0", "envoy", None),
    "UPSTREAM_IMAGE": ("tollgate/upstream:local", "upstream", None),
    "REDIS_IMAGE": ("redis:7.4", "redis", "redis-server"),
    "RATELIMIT_IMAGE": ("envoyproxy/ratelimit:3fb70258", "ratelimit", None),
    "PROMETHEUS_IMAGE": ("prom/prometheus:v3.5.0", "prometheus", "prometheus"),
    "GRAFANA_IMAGE": ("grafana/grafana:12.2.0", None, None),
    "CLIENT_IMAGE": ("python:3.13-slim", "python", sys.executable),
}
# The service of the same commit as its image, from the Go module proxy.
RATELIMIT = "github.com/envoyproxy/ratelimit/src/service_cmd@v1.4.1-0.20260122083618-3fb702589d36"
SERVICES = {"ENVOY_IMAGE": ["gateway", "gateway-2"], "UPSTREAM_IMAGE": ["stable-1", "stable-2", "canary", "model"],
            "REDIS_IMAGE": ["redis"], "RATELIMIT_IMAGE": ["ratelimit"], "PROMETHEUS_IMAGE": ["prometheus"], "GRAFANA_IMAGE": ["grafana"], "CLIENT_IMAGE": ["client"]}
# Everything but the client. What stands on others comes after them.
WANTED = ["UPSTREAM_IMAGE", "ENVOY_IMAGE", "REDIS_IMAGE", "RATELIMIT_IMAGE", "PROMETHEUS_IMAGE", "GRAFANA_IMAGE"]


class Failure(Exception):
    """What the person at the terminal should read."""


class NoEngine(Failure):
    """There is no container engine, and none can be started."""


def say(text):
    print(f"mesh: {text}", flush=True)


def run(command, timeout=120, **more):
    """A command's result; its output is kept."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                          timeout=timeout, check=False, **more)


def ratelimit_program():
    """The rate limit service: the one of .tools, or built into it; None where there is no Go."""
    program = ROOT / ".tools" / "ratelimit" / "bin" / "service_cmd"
    if not program.exists() and (go := shutil.which("go")):
        say(f"building the rate limit service ({RATELIMIT}; once, a few minutes)")
        # As its own image does it: linked statically.
        settings = {**os.environ, "GOBIN": str(program.parent), "GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0"}
        try:
            done = run([go, "install", RATELIMIT], BUILD_SECONDS, env=settings)
            if done.returncode != 0:
                say(f"go install: {done.stderr.strip()[-500:]}")
        except subprocess.TimeoutExpired:
            say(f"go install: not done after {BUILD_SECONDS} s")
    return str(program) if program.exists() else None


class Engine:
    """The container engine: the one that runs, or one of our own."""

    def __init__(self):
        self.process = None
        self.directory = None
        self.environment = dict(os.environ)
        if not shutil.which("docker"):
            raise NoEngine("there is no docker program. Debian: apt-get install docker.io docker-compose")
        if run(["docker", "version"]).returncode == 0:
            return
        if os.environ.get("DOCKER_HOST"):
            raise NoEngine(f"no engine answers at DOCKER_HOST={os.environ['DOCKER_HOST']}")
        daemon = shutil.which("dockerd") or (shutil.which("dockerd", path="/usr/sbin"))
        if not daemon or os.geteuid() != 0:
            raise NoEngine("no container engine runs, and one can be started only by root with dockerd installed")
        self.start(daemon)

    def start(self, daemon):
        """A daemon with directories and a socket of its own; it ends with us."""
        say("no engine runs: starting dockerd (its data stays in .tools/mesh/engine)")
        DATA.mkdir(parents=True, exist_ok=True)
        self.directory = Path(tempfile.mkdtemp(prefix="tollgate-engine-"))  # short: a socket's path has 108 bytes
        host = f"unix://{self.directory}/docker.sock"
        self.environment["DOCKER_HOST"] = host
        log = open(DATA / "dockerd.log", "wb")
        self.process = subprocess.Popen(
            [daemon, "--host", host, "--data-root", str(DATA / "engine"), "--exec-root", str(self.directory / "exec"),
             "--pidfile", str(self.directory / "pid")],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 60
        while run(["docker", "version"], env=self.environment).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                last = (DATA / "dockerd.log").read_text(errors="replace").splitlines()[-5:]
                self.stop()
                raise NoEngine("dockerd does not start:\n" + "\n".join(last))
            time.sleep(0.3)

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None

    def docker(self, *words, timeout=120):
        return run(["docker", *words], timeout, env=self.environment)


class Mesh:
    """One project of the compose file."""

    def __init__(self, engine, options, project, secrets=None):
        self.engine, self.options, self.project = engine, options, project
        self.environment = engine.environment
        self.secrets = secrets or self.secrets_file()
        self.compose_program = self.find_compose()
        self.left_out = []

    @staticmethod
    def secrets_file():
        own = COMPOSE_FILE.parent / ".env"
        if own.exists():
            return own
        say("demo secrets (envoy/compose/demo.env); for your own: cp envoy/compose/demo.env envoy/compose/.env and edit")
        return COMPOSE_FILE.parent / "demo.env"

    def find_compose(self):
        if named := os.environ.get("COMPOSE"):
            return named.split()
        if run(["docker", "compose", "version"], env=self.environment).returncode == 0:
            return ["docker", "compose"]
        if shutil.which("docker-compose"):
            return ["docker-compose"]
        raise NoEngine("there is no docker compose. Debian: apt-get install docker-compose")

    def image(self, variable):
        """Makes sure of an image; False where it can be had neither way."""
        image, recipe, program = IMAGES[variable]
        named = os.environ.get(variable)
        image = named or image
        if variable == "UPSTREAM_IMAGE" and not named:
            program = self.options.upstream
        else:
            if self.engine.docker("image", "inspect", image).returncode == 0:
                return True
            say(f"pulling {image}")
            try:
                pulled = self.engine.docker("pull", image, timeout=PULL_SECONDS)
            except subprocess.TimeoutExpired:
                pulled = None
            if pulled and pulled.returncode == 0:
                return True
            why = pulled.stderr.strip().splitlines()[-1:] if pulled else [f"not done after {PULL_SECONDS} s"]
            if named:
                raise Failure(f"{variable}={named} is not here and cannot be pulled: {' '.join(why)}")
            image = f"tollgate-local/{recipe}:latest"
        if variable == "ENVOY_IMAGE":
            program = self.options.envoy
        if variable == "RATELIMIT_IMAGE":
            program = ratelimit_program()
        if not recipe or not program:
            say(f"left out: {' '.join(SERVICES[variable])}. The image cannot be pulled, and there is no program here to build one from")
            return False
        try:
            say(f"building {image} from {program}")
            images.build(recipe, program, image, ["docker", *self.host()])
        except images.Missing as missing:
            say(f"left out: {' '.join(SERVICES[variable])}. {missing}")
            return False
        self.environment[variable] = image
        return True

    def host(self):
        return ["--host", self.environment["DOCKER_HOST"]] if self.environment.get("DOCKER_HOST") else []

    def services(self, wanted):
        """The services to start, images made sure of."""
        chosen = []
        for variable in wanted:
            if variable == "RATELIMIT_IMAGE" and "redis" in self.left_out:
                say("left out: ratelimit, which needs redis")
                self.left_out += SERVICES[variable]
            elif self.image(variable):
                chosen += SERVICES[variable]
            elif variable in ("ENVOY_IMAGE", "UPSTREAM_IMAGE"):
                raise Failure(f"no mesh without {' '.join(SERVICES[variable])}")
            else:
                self.left_out += SERVICES[variable]
        return chosen

    def compose(self, *words, timeout=300):
        command = [*self.compose_program, "--file", str(COMPOSE_FILE), "--env-file", str(self.secrets),
                   "--project-name", self.project, *words]
        done = run(command, timeout, env=self.environment, cwd=COMPOSE_FILE.parent)
        if done.returncode != 0:
            raise Failure(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()[-2000:]}")
        return done.stdout

    def container(self, service):
        """A service's container id."""
        found = self.engine.docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={self.project}",
                                   "--filter", f"label=com.docker.compose.service={service}").stdout.split()
        if not found:
            raise Failure(f"{service} has no container")
        return found[0]

    def inspect(self, service):
        return json.loads(self.engine.docker("inspect", self.container(service)).stdout)[0]

    def wait_healthy(self, services, seconds=HEALTHY_SECONDS):
        """Until every service is; raises with its log."""
        deadline = time.monotonic() + seconds
        waiting = list(services)
        while waiting:
            states = {service: self.inspect(service)["State"] for service in waiting}
            waiting = [service for service, state in states.items()
                       if state.get("Health", {"Status": state["Status"]})["Status"] not in ("healthy", *(["running"] if "Health" not in state else []))]
            if waiting and time.monotonic() > deadline:
                logs = "\n".join(self.logs(service)[-1500:] for service in waiting)
                raise Failure(f"not healthy after {seconds} s: {' '.join(waiting)}\n{logs}")
            time.sleep(0.3)

    def logs(self, service):
        done = self.engine.docker("logs", self.container(service))
        return done.stdout + done.stderr

    def up(self, services):
        self.compose("up", "-d", "--no-build", *services)
        self.wait_healthy(services)

    def down(self):
        self.compose("--profile", "client", "down", "--volumes", "--timeout", "2")


def require_module():
    if not (ROOT / "dist" / "gateway.wasm").exists():
        raise Failure("there is no dist/gateway.wasm: make wasm")


def banner(mesh, services):
    port = os.environ.get("GATEWAY_PORT", "10000")
    lines = ["", "The mesh runs:",
             f"  gateway     http://127.0.0.1:{port}   curl -H 'x-api-key: ...' http://127.0.0.1:{port}/api/hello   (keys: {mesh.secrets.relative_to(ROOT)})",
             f"  gateway-2   http://127.0.0.1:{os.environ.get('GATEWAY_2_PORT', '10001')}   /export is one limit over both, if the service runs"]
    if "prometheus" in services:
        lines.append(f"  Prometheus  http://127.0.0.1:{os.environ.get('PROMETHEUS_PORT', '9090')}")
    if "grafana" in services:
        lines.append(f"  Grafana     http://127.0.0.1:{os.environ.get('GRAFANA_PORT', '3000')}/d/tollgate   (may look without signing in)")
    for name in mesh.left_out:
        lines.append(f"  {name}: left out, see above")
    lines += ["  smoke test  make smoke", "", "Ctrl-C stops everything."]
    return "\n".join(lines)


def up(options):
    """`make mesh`."""
    require_module()
    engine = Engine()
    mesh = None
    try:
        mesh = Mesh(engine, options, options.project)
        services = mesh.services(WANTED)
        mesh.up(services)
        print(banner(mesh, services), flush=True)
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            if mesh:
                mesh.down()
        finally:
            engine.stop()


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["up", "images"])
    parser.add_argument("--upstream", required=True, help="the program tollgate-upstream")
    parser.add_argument("--envoy", help="an Envoy to build an image from, where it cannot be pulled")
    parser.add_argument("--project", default="tollgate")
    options = parser.parse_args()

    def interrupted(_signal, _frame):
        raise KeyboardInterrupt

    # SIGINT, too: who starts us in the background may have had it ignored.
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGINT, interrupted)
    try:
        if options.command == "up":
            return up(options)
        engine = Engine()
        try:
            mesh = Mesh(engine, options, options.project)
            mesh.services(WANTED)
        finally:
            engine.stop()
        return 0
    except Failure as failure:
        print(f"make mesh: {failure}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
