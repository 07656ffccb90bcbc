"""Reads callgrind's output, as far as a JIT's code is concerned. Format: https://valgrind.org/docs/manual/cl-format.html

V8 leaves no symbols, but a module has a jump table: 8 bytes a function, in the order of the module's function index.
Calls between its functions go to a slot of it; who calls through a pointer goes where the slot jumps. The name section
of the module does the rest.
"""

import re
from collections import defaultdict

SLOT = 8
# x86-64: jmp, and four bytes from where the next instruction is.
JUMP = b"\xe9"
# A module's code is a few MiB. What V8 reserves for its own (half a GiB, where its stubs are) is more than this.
MOST = 64 << 20


class Profile:
    """What one dump holds: instructions of functions and calls between them, all by name."""

    def __init__(self, path):
        self.own = defaultdict(int)
        self.calls = defaultdict(lambda: [0, 0])
        self.code = []
        # Of all events that were counted: instructions ("Ir"), misses.
        self.sums = {}
        names, current, callee, pending, events = {}, None, None, None, []
        for line in open(path):
            line = line.rstrip("\n")
            if line.startswith("events:"):
                events = line.split()[1:]
            elif line.startswith("summary:"):
                self.sums = dict(zip(events, map(int, line.split()[1:])))
            elif line.startswith("fn="):
                current = resolve(names, line[3:])
            elif line.startswith("cfn="):
                callee = resolve(names, line[4:])
            elif line.startswith("calls="):
                pending = int(line[6:].split()[0])
            elif current and (cost := re.match(r"[+\-*\d]\S* (\d+)(?: \d+)*$", line)):
                if pending is None:
                    self.own[current] += int(cost[1])
                else:
                    call = self.calls[current, callee]
                    call[0] += pending
                    call[1] += int(cost[1])
                    pending = None

    def total(self):
        return sum(self.own.values())

    def misses(self):
        """Of the last level of the simulated cache, code and data; ticks included."""
        return sum(self.sums[event] for event in ("ILmr", "DLmr", "DLmw"))

    def in_jit(self):
        return sum(own for name, own in self.own.items() if jit_address(name))

    def in_ticks(self, requests):
        """Instructions of ticks, with all that they call. V8 enters generated code through a few stubs; what these call less
        than once in two requests is nothing that a request needs."""
        stubs = {callee for caller, callee in self.calls if jit_address(callee) and not jit_address(caller)}
        called = defaultdict(int)
        for (_, callee), (times, _) in self.calls.items():
            called[callee] += times
        return sum(cost for (caller, callee), (_, cost) in self.calls.items()
                   if caller in stubs and jit_address(callee) and called[callee] < requests / 2)

    def wasm_functions(self, module):
        """{name: (instructions, calls)} of a module's functions. Needs `remember`."""
        imported, names = function_names(module.read_bytes())
        own, called = defaultdict(int), defaultdict(int)
        for name, instructions in self.own.items():
            own[jit_address(name)] += instructions
        for (_, callee), (times, _) in self.calls.items():
            called[jit_address(callee)] += times
        rows = defaultdict(lambda: (0, 0))
        for address, index in self.entries(len(names) - imported, own).items():
            if address in own and index + imported in names:
                # Instances of one generic function have one name.
                row = rows[names[index + imported]]
                rows[names[index + imported]] = (row[0] + own[address], row[1] + called[address])
        return dict(rows)

    def remember(self, pid):
        """Keeps the generated code that the profile speaks of; the process must still run."""
        found = [address for name in self.own if (address := jit_address(name))]
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for start, end in (map_range(line) for line in maps):
                if end - start < MOST and any(start <= address < end for address in found):
                    memory.seek(start)
                    self.code.append((start, memory.read(end - start)))

    def entries(self, functions, own):
        """{address: number among the functions that the module defines}: slots, and what they jump to."""
        def read(base):
            entries = {}
            for start, code in self.code:
                for number in range(functions) if start <= base < start + len(code) else ():
                    at = base + SLOT * number
                    slot = code[at - start:at - start + 5]
                    if slot[:1] == JUMP and len(slot) == 5:
                        entries[at] = number
                        entries[at + 5 + int.from_bytes(slot[1:], "little", signed=True)] = number
            return entries
        # A table begins with a page. The right one explains the most of what was executed, and is jumps from end to end.
        pages = {(address & ~0xFFF) - 0x1000 * before for address in own if address for before in range(functions * SLOT // 0x1000 + 1)}
        return max(map(read, pages), default={}, key=lambda entries: (
            sum(own.get(address, 0) for address in entries), len(entries)))


def resolve(names, text):
    """"(7) name" defines, "(7)" refers."""
    number, _, name = text.partition(" ")
    if name:
        names[number] = name
    return names.get(number, text)


def map_range(line):
    """(start, end) of a line of /proc/PID/maps."""
    start, end = line.split()[0].split("-")
    return int(start, 16), int(end, 16)


def jit_address(name):
    """Generated code has an address for a name, far above the program's own."""
    match = re.match(r"0x([0-9a-f]+)", name)
    address = int(match[1], 16) if match else 0
    return address if address > 1 << 32 else 0


def function_names(binary):
    """(number of imported functions, {index: name}) of a module."""
    imported, names, at = 0, {}, 8
    while at < len(binary):
        section, (size, at) = binary[at], leb(binary, at + 1)
        end = at + size
        if section == 2:
            imported = count_imported(binary, at)
        elif section == 0:
            title, inner = text(binary, at)
            while title == "name" and inner < end:
                kind, (length, inner) = binary[inner], leb(binary, inner + 1)
                if kind == 1:
                    count, next_name = leb(binary, inner)
                    for _ in range(count):
                        index, next_name = leb(binary, next_name)
                        names[index], next_name = text(binary, next_name)
                        names[index] = readable(names[index])
                inner += length
        at = end
    return imported, names


def count_imported(binary, at):
    """The plugin imports nothing but functions."""
    count, at = leb(binary, at)
    for _ in range(count):
        _, at = text(binary, at)
        _, at = text(binary, at)
        assert binary[at] == 0, "an import that is no function"
        _, at = leb(binary, at + 1)
    return count


def readable(name):
    """Legacy mangling (lengths and words, the last word a hash) without lengths and hash; another name stays as it is.
    `xtask order-functions` does the same (xtask/src/names.rs, xtask/tests/names.txt)."""
    words, rest = [], name.removeprefix("_ZN")
    while rest != name and (match := re.match("[0-9]+", rest)):
        end = match.end() + int(match[0])
        if end > len(rest):
            return name
        words.append(rest[match.end():end])
        rest = rest[end:]
    return "::".join(words[:-1]) or name


def text(binary, at):
    length, at = leb(binary, at)
    return binary[at:at + length].decode(), at + length


def leb(binary, at):
    result, shift = 0, 0
    while True:
        byte = binary[at]
        at += 1
        result |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return result, at
