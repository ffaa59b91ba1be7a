#!/usr/bin/env python3
"""A BMC for the tests: IPMI 2.0 RMCP+ with cipher suites 17 and 3, written from the specification.

It shares no code with Palisade's client and uses only the standard library, so that a mistake in one of the two shows.
It is strict: whatever a client does against the specification is printed as a line "VIOLATION ..." and not answered.
It must never be used as a real BMC: its AES is slow, and its power button is a variable.

Usage: bmc17.py [--fault NAME ...] [--user admin] [--password secret12] [--kg HEX] [--off]
Lines on standard output: "PORT n" once, then "POWER on|off", "SESSION open|closed", "SUITE n", "VIOLATION text", and
"UNKNOWN netfn/command" for a command that is answered with C1h (reference clients ask for more than ours), and
"STALE id" for a datagram of a session that is closed.
Ends when its standard input ends.

Faults: rakp2 (wrong key exchange code), rakp4 (wrong integrity check value), integrity (wrong code on each protected
answer), only3 (suite 17 is refused), other-suite (answers 17 with 3), lie (acknowledges off and stays on), slow (off
takes 2 s), busy (the first three orders meet completion code C0h), refuse-off (off is refused with D5h, as some BMCs do
when the chassis is off), no-slot (the first open session is refused for lack of resources), twice (each answer is sent
two times), forget (answers only until the session is open, then is silent).
"""

import argparse
import hashlib
import hmac
import os
import select
import socket
import struct
import sys
import time

# --- AES-128, from FIPS 197 ------------------------------------------------------------------------------------------


def _times2(a):
    return ((a << 1) ^ 0x1B) & 0xFF if a & 0x80 else a << 1


def _times(a, b):
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = _times2(a)
        b >>= 1
    return product


def _make_sbox():
    box = [0] * 256
    for value in range(256):
        inverse = next((c for c in range(256) if _times(value, c) == 1), 0)
        result = 0x63
        for turn in range(5):
            result ^= ((inverse << turn) | (inverse >> (8 - turn))) & 0xFF
        box[value] = result
    return box


SBOX = _make_sbox()
UNSBOX = [SBOX.index(value) for value in range(256)]


def _expand(key):
    words = [list(key[i : i + 4]) for i in range(0, 16, 4)]
    rcon = 1
    for i in range(4, 44):
        word = list(words[i - 1])
        if i % 4 == 0:
            word = [SBOX[b] for b in word[1:] + word[:1]]
            word[0] ^= rcon
            rcon = _times2(rcon)
        words.append([a ^ b for a, b in zip(words[i - 4], word)])
    return [sum(words[i : i + 4], []) for i in range(0, 44, 4)]


def _xor(a, b):
    return [x ^ y for x, y in zip(a, b)]


def _encrypt_block(keys, block):
    state = _xor(block, keys[0])
    for turn in range(1, 11):
        state = [SBOX[b] for b in state]
        state = [state[(i + 4 * (i % 4)) % 16] for i in range(16)]
        if turn < 10:
            mixed = []
            for c in range(0, 16, 4):
                col = state[c : c + 4]
                for r in range(4):
                    mixed.append(
                        _times(col[r], 2) ^ _times(col[(r + 1) % 4], 3) ^ col[(r + 2) % 4] ^ col[(r + 3) % 4]
                    )
            state = mixed
        state = _xor(state, keys[turn])
    return state


def _decrypt_block(keys, block):
    state = _xor(block, keys[10])
    for turn in range(9, -1, -1):
        state = [state[(i - 4 * (i % 4)) % 16] for i in range(16)]
        state = [UNSBOX[b] for b in state]
        state = _xor(state, keys[turn])
        if turn > 0:
            mixed = []
            for c in range(0, 16, 4):
                col = state[c : c + 4]
                for r in range(4):
                    mixed.append(
                        _times(col[r], 14)
                        ^ _times(col[(r + 1) % 4], 11)
                        ^ _times(col[(r + 2) % 4], 13)
                        ^ _times(col[(r + 3) % 4], 9)
                    )
            state = mixed
    return state


def cbc_encrypt(key, iv, clear):
    keys, last, out = _expand(key), list(iv), []
    for i in range(0, len(clear), 16):
        last = _encrypt_block(keys, _xor(list(clear[i : i + 16]), last))
        out += last
    return bytes(out)


def cbc_decrypt(key, iv, secret):
    keys, last, out = _expand(key), list(iv), []
    for i in range(0, len(secret), 16):
        block = list(secret[i : i + 16])
        out += _xor(_decrypt_block(keys, block), last)
        last = block
    return bytes(out)


# FIPS 197, appendix B: a broken AES must not let a broken client pass.
assert bytes(
    _encrypt_block(
        _expand(bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")),
        list(bytes.fromhex("3243f6a8885a308d313198a2e0370734")),
    )
) == bytes.fromhex("3925841d02dc09fbdc118597196a0b32")

# --- The protocol ------------------------------------------------------------------------------------------------------

RMCP = bytes([6, 0, 0xFF, 7])
SUITES = {(1, 1, 1): 3, (3, 4, 1): 17}
HASH = {3: hashlib.sha1, 17: hashlib.sha256}
CUT = {3: 12, 17: 16}
GUID = bytes(range(0x40, 0x50))


class Violation(Exception):
    """What the client did against the specification."""


def need(condition, text):
    if not condition:
        raise Violation(text)


def code(suite, key, data):
    return hmac.new(key, data, HASH[suite]).digest()


def keys_of(suite, key, rm, rc, role, user):
    sik = code(suite, key, rm + rc + bytes([role, len(user)]) + user)
    return sik, code(suite, sik, b"\x01" * 20), code(suite, sik, b"\x02" * 20)[:16]


def pad_clear(message):
    pad = -(len(message) + 1) % 16
    return message + bytes(range(1, pad + 1)) + bytes([pad])


def protect(suite, k1, aes, session, sequence, iv, message):
    payload = iv + cbc_encrypt(aes, iv, pad_clear(message))
    body = struct.pack("<BBIIH", 6, 0xC0, session, sequence, len(payload)) + payload
    pad = -(len(body) + 2) % 4
    body += b"\xff" * pad + bytes([pad, 7])
    return RMCP + body + code(suite, k1, body)[: CUT[suite]]


def plain(kind, payload):
    return RMCP + struct.pack("<BBIIH", 6, kind, 0, 0, len(payload)) + payload


def checksum(data):
    return -sum(data) & 0xFF


class Session:
    def __init__(self, suite, console, own):
        self.suite, self.console, self.own = suite, console, own
        self.rm = self.rc = self.role = self.user = self.sik = self.k1 = self.aes = None
        self.open = False
        self.level = 0
        self.newest = 0
        self.seen = set()
        self.ivs = set()
        self.sequence = 0


class Bmc:
    def __init__(self, options):
        self.user, self.password = options.user.encode(), options.password.encode()
        self.kg = bytes.fromhex(options.kg) if options.kg else self.password
        self.faults = set(options.fault)
        self.power = not options.off
        self.off_at = None
        self.sessions = {}
        self.randoms = set()
        self.busy_left = 3 if "busy" in self.faults else 0
        self.slots_refused = 1 if "no-slot" in self.faults else 0

    def say(self, *words):
        print(*words, flush=True)

    def tick(self):
        if self.off_at is not None and time.monotonic() >= self.off_at:
            self.off_at = None
            self.set_power(False)

    def set_power(self, on):
        if on != self.power:
            self.power = on
            self.say("POWER", "on" if on else "off")

    def handle(self, data):
        need(data[:4] == RMCP, "RMCP header")
        need(len(data) >= 16, "short datagram")
        if data[4] == 0:
            return self.capabilities(data)
        auth, kind, session, sequence, length = struct.unpack("<BBIIH", data[4:16])
        need(auth == 6, "authentication type")
        payload = data[16 : 16 + length]
        need(len(payload) == length, "payload length")
        if kind == 0xC0:
            return self.protected(data, session, sequence, payload)
        need(len(data) == 16 + length, "bytes after a plain payload")
        need(session == 0 and sequence == 0, "plain payload inside a session")
        steps = {0x10: self.open_session, 0x12: self.rakp1, 0x14: self.rakp3}
        need(kind in steps, f"payload type {kind:#x}")
        return steps[kind](payload)

    def capabilities(self, data):
        # Get Channel Authentication Capabilities, outside a session in the format of IPMI 1.5. Our client does without;
        # a reference client asks, so that this BMC can be tried with one.
        m = data[14:]
        need(data[5:13] == bytes(8) and data[13] == len(m) == 9 and m[1] == 0x18 and m[5] == 0x38, "outside a session")
        rest = bytes([0x20, m[4], 0x38, 0, 1, 0x80, 0x04, 0x02, 0, 0, 0, 0])
        answer = bytes([0x81, 0x1C, checksum(b"\x81\x1c")]) + rest + bytes([checksum(rest)])
        return RMCP + bytes(9) + bytes([len(answer)]) + answer

    def open_session(self, p):
        need(len(p) == 32, "open session length")
        tag, level, zero, console = struct.unpack("<BBHI", p[:8])
        need(zero == 0 and level <= 4 and console != 0, "open session fields")
        algorithms = []
        for i in range(3):
            block = p[8 + 8 * i : 16 + 8 * i]
            need(block[0] == i and block[1:3] == b"\0\0" and block[3] == 8 and block[5:] == b"\0\0\0", "algorithm block")
            algorithms.append(block[4])
        suite = SUITES.get(tuple(algorithms))
        need(suite is not None, f"algorithms {algorithms}")
        self.say("SUITE", suite)
        if self.slots_refused:
            self.slots_refused -= 1
            return plain(0x11, struct.pack("<BBHI", tag, 0x01, 0, console))
        if "only3" in self.faults and suite == 17:
            return plain(0x11, struct.pack("<BBHI", tag, 0x11, 0, console))
        answer = bytearray(p[8:32])
        if "other-suite" in self.faults:
            answer[4], answer[12] = 1, 1
        own = struct.unpack("<I", os.urandom(4))[0] | 1
        self.sessions[own] = Session(suite, console, own)
        return plain(0x11, struct.pack("<BBBBII", tag, 0, 4, 0, console, own) + bytes(answer))

    def find(self, own):
        need(own in self.sessions, f"unknown session {own:#x}")
        return self.sessions[own]

    def rakp1(self, p):
        need(len(p) >= 28, "RAKP 1 length")
        tag, zero8, zero16, own = struct.unpack("<BBHI", p[:8])
        s = self.find(own)
        need(not s.open, "RAKP 1 in an open session")
        rm, role, zero2, ulen, user = p[8:24], p[24], p[25:27], p[27], p[28:]
        need(zero8 == 0 and zero16 == 0 and zero2 == b"\0\0", "RAKP 1 reserved")
        need(role in (0x13, 0x14) and ulen == len(user) and ulen <= 16, "RAKP 1 role or user length")
        need(rm != bytes(16), "console random number")
        need(rm not in self.randoms or rm == s.rm, "console random number used twice")
        self.randoms.add(rm)
        s.rm, s.role, s.user, s.rc = rm, role, user, os.urandom(16)
        if user != self.user:
            return plain(0x13, struct.pack("<BBHI", tag, 0x0D, 0, s.console))
        ids = struct.pack("<II", s.console, s.own)
        value = bytearray(code(s.suite, self.password, ids + rm + s.rc + GUID + bytes([role, ulen]) + user))
        if "rakp2" in self.faults:
            value[-1] ^= 1
        return plain(0x13, struct.pack("<BBHI", tag, 0, 0, s.console) + s.rc + GUID + bytes(value))

    def rakp3(self, p):
        need(len(p) >= 8, "RAKP 3 length")
        tag, status, zero, own = struct.unpack("<BBHI", p[:8])
        s = self.find(own)
        need(zero == 0 and s.rc is not None, "RAKP 3 out of turn")
        if status != 0:
            need(len(p) == 8, "RAKP 3 with a status and a code")
            self.say("SESSION refused", status)
            del self.sessions[own]
            return None
        text = s.rc + struct.pack("<I", s.console) + bytes([s.role, len(s.user)]) + s.user
        if not hmac.compare_digest(p[8:], code(s.suite, self.password, text)):
            return plain(0x15, struct.pack("<BBHI", tag, 0x0F, 0, s.console))
        s.sik, s.k1, s.aes = keys_of(s.suite, self.kg, s.rm, s.rc, s.role, s.user)
        value = bytearray(code(s.suite, s.sik, s.rm + struct.pack("<I", s.own) + GUID)[: CUT[s.suite]])
        if "rakp4" in self.faults:
            value[0] ^= 1
        if not s.open:
            self.say("SESSION open")
        s.open = True
        return plain(0x15, struct.pack("<BBHI", tag, 0, 0, s.console) + bytes(value))

    def protected(self, data, own, sequence, payload):
        if own not in self.sessions:
            # A repetition that crossed the answer to "close session" is no mistake of the client's.
            return self.say("STALE", f"{own:#x}")
        s = self.find(own)
        need(s.open, "message before the session is open")
        cut = CUT[s.suite]
        body, claim = data[4:-cut], data[-cut:]
        need(len(body) % 4 == 0, "integrity pad: not whole words")
        need(hmac.compare_digest(code(s.suite, s.k1, body)[:cut], claim), "integrity code")
        tail = body[12 + len(payload) :]
        need(len(tail) >= 2 and tail[-1] == 7 and tail[-2] == len(tail) - 2 <= 3, "trailer")
        need(tail[:-2] == b"\xff" * (len(tail) - 2), "integrity pad bytes")
        need(sequence != 0 and sequence not in s.seen and sequence > s.newest - 8, "session sequence number")
        s.seen.add(sequence)
        s.newest = max(s.newest, sequence)
        iv, secret = payload[:16], payload[16:]
        need(len(secret) > 0 and len(secret) % 16 == 0, "blocks")
        need(iv not in s.ivs, "initialisation vector used twice")
        s.ivs.add(iv)
        clear = cbc_decrypt(s.aes, iv, secret)
        pad = clear[-1]
        need(pad < 16 and clear[-1 - pad : -1] == bytes(range(1, pad + 1)), "confidentiality pad")
        return self.message(s, clear[: -1 - pad])

    def message(self, s, m):
        need(len(m) >= 7 and m[0] == 0x20 and m[3] == 0x81, "message addresses")
        need(sum(m[:3]) & 0xFF == 0 and sum(m[3:]) & 0xFF == 0, "message checksum")
        need(m[1] & 3 == 0 and m[4] & 3 == 0, "message LUN")
        if "forget" in self.faults:
            return None
        netfn, seq, command, data = m[1] >> 2, m[4] >> 2, m[5], m[6:-1]
        answer = self.command(s, netfn, command, data)
        head = bytes([0x81, (netfn | 1) << 2])
        rest = bytes([0x20, seq << 2, command]) + answer
        out = head + bytes([checksum(head)]) + rest + bytes([checksum(rest)])
        s.sequence += 1
        datagram = bytearray(protect(s.suite, s.k1, s.aes, s.console, s.sequence, os.urandom(16), out))
        if "integrity" in self.faults:
            datagram[-1] ^= 1
        if (netfn, command) == (6, 0x3C):
            del self.sessions[s.own]
            self.say("SESSION closed")
        return bytes(datagram)

    def command(self, s, netfn, command, data):
        if (netfn, command) == (6, 0x3B):
            need(len(data) == 1 and 2 <= data[0] <= s.role & 0xF, "privilege level")
            s.level = data[0]
            return bytes([0, s.level])
        if (netfn, command) == (6, 0x3C):
            need(data == struct.pack("<I", s.own), "close of another session")
            return b"\0"
        if netfn != 0:
            self.say("UNKNOWN", f"{netfn:#x}/{command:#x}")
            return b"\xc1"
        need(s.level >= 3, "chassis command without privilege")
        if (netfn, command) == (0, 1):
            need(data == b"", "chassis status with data")
            return bytes([0, 0x20 | int(self.power), 0, 0])
        if (netfn, command) == (0, 2):
            need(data in (b"\0", b"\1"), "chassis control")
            return self.control(data == b"\1")
        raise Violation(f"command {netfn:#x}/{command:#x}")

    def control(self, on):
        if self.busy_left:
            self.busy_left -= 1
            return b"\xc0"
        if "refuse-off" in self.faults and not on and not self.power:
            return b"\xd5"
        if on or not {"lie", "slow"} & self.faults:
            self.set_power(on)
        elif "slow" in self.faults and self.off_at is None:
            self.off_at = time.monotonic() + 2
        return b"\0"


def golden():
    """Prints what a session with fixed numbers looks like; the client's unit tests hold these bytes."""
    rm, rc, user, key, role = b"\x11" * 16, b"\x22" * 16, b"admin", b"secret12", 0x14
    ids = struct.pack("<II", 0x0A0B0C0D, 0x01020304)
    for suite in (3, 17):
        print("suite", suite)
        head = bytes([role, len(user)]) + user
        print("rakp2", code(suite, key, ids + rm + rc + GUID + head).hex())
        print("rakp3", code(suite, key, rc + ids[:4] + head).hex())
        sik, k1, aes = keys_of(suite, key, rm, rc, role, user)
        print("rakp4", code(suite, sik, rm + ids[4:] + GUID)[: CUT[suite]].hex())
        message = bytes([0x20, 0x00, 0xE0, 0x81, 0x04, 0x01, 0x7A])
        print("datagram", protect(suite, k1, aes, 0x01020304, 5, b"\x33" * 16, message).hex())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", action="append", default=[])
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password", default="secret12")
    parser.add_argument("--kg", default="")
    parser.add_argument("--off", action="store_true", help="the chassis is off at the start")
    parser.add_argument("--golden", action="store_true")
    options = parser.parse_args()
    if options.golden:
        return golden()
    bmc = Bmc(options)
    port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    port.bind(("127.0.0.1", 0))
    bmc.say("PORT", port.getsockname()[1])
    while True:
        ready, _, _ = select.select([port, sys.stdin], [], [], 0.05)
        bmc.tick()
        if sys.stdin in ready and not os.read(sys.stdin.fileno(), 64):
            return None
        if port not in ready:
            continue
        data, peer = port.recvfrom(2048)
        try:
            answer = bmc.handle(data)
        except (Violation, struct.error, IndexError) as error:
            bmc.say("VIOLATION", error)
            continue
        for _ in range(2 if "twice" in bmc.faults else 1):
            if answer:
                port.sendto(answer, peer)


if __name__ == "__main__":
    main()
