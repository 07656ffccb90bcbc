"""Reads callgrind's output, as far as a JIT's code is concerned. Format: https://valgrind.org/docs/manual/cl-format.html

V8 leaves no symbols, but calls between functions of a module go through its jump table: 8 bytes a function, in the
order of the module's function index. The name section of the module does the rest.
"""

import re
from collections import defaultdict

SLOT = 8


class Profile:
    """What one dump holds: instructions of functions and calls between them, all by name."""

    def __init__(self, path):
        self.own = defaultdict(int)
        self.calls = defaultdict(lambda: [0, 0])
        names, current, callee, pending = {}, None, None, None
        for line in open(path):
            line = line.rstrip("\n")
            if line.startswith("fn="):
                current = resolve(names, line[3:])
            elif line.startswith("cfn="):
                callee = resolve(names, line[4:])
            elif line.startswith("calls="):
                pending = int(line[6:].split()[0])
            elif current and (cost := re.match(r"[+\-*\d]\S* (\d+)$", line)):
                if pending is None:
                    self.own[current] += int(cost[1])
                else:
                    call = self.calls[current, callee]
                    call[0] += pending
                    call[1] += int(cost[1])
                    pending = None

    def total(self):
        return sum(self.own.values())

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
        """{name: (instructions, calls)} of a module's functions."""
        imported, names = function_names(module.read_bytes())
        called = defaultdict(int)
        for (_, callee), (times, _) in self.calls.items():
            called[callee] += times
        found = {name: jit_address(name) for name in self.own if jit_address(name)}
        base = self.table_base(imported, names, found)
        rows = {}
        for name, address in found.items():
            index, off = divmod(address - base, SLOT)
            if off == 0 and 0 <= index and index + imported in names:
                rows[names[index + imported]] = (self.own[name], called[name])
        return rows

    def table_base(self, imported, names, found):
        """Tables are aligned to pages; the right page is the one at which most addresses are functions."""
        def fits(base):
            return sum(own for name, own in self.own.items() if name in found
                       and (found[name] - base) % SLOT == 0 and 0 <= (found[name] - base) // SLOT < len(names))
        return max({address & ~0xFFF for address in found.values()} | {(address & ~0xFFF) - 0x1000
                   for address in found.values()}, key=fits)


def resolve(names, text):
    """"(7) name" defines, "(7)" refers."""
    number, _, name = text.partition(" ")
    if name:
        names[number] = name
    return names.get(number, text)


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
    """Legacy mangling: lengths and words; the last word is a hash."""
    words, rest = [], re.sub(r"^_ZN", "", name)
    while rest != name and (match := re.match(r"\d+", rest)):
        length = int(match[0])
        words.append(rest[match.end():match.end() + length])
        rest = rest[match.end() + length:]
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
