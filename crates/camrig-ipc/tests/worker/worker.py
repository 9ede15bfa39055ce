"""A worker process without camrig, written from crates/camrig-ipc/PROTOCOL.md: it hosts cameras and processors.

A camera publishes gray images, each filled with its sequence number. A processor adds up what it reads, and writes a line
of the sum when its inputs have ended. Links have to be between processes. Nothing is restarted.
"""

import ctypes
import mmap
import os
import socket
import struct
import sys
import threading
import time
import zlib

VERSION = 13
WIDTH, HEIGHT = 64, 48
HEAD_BYTES, HEADER_BYTES = 64, 12288
DROPPED_NEWEST, DROPPED_GONE = 2, 3
FREE, QUEUED, READING = 0, 1, 2
NOT_JOINED = 2**64 - 1

atomic = ctypes.CDLL("libatomic.so.1")
libc = ctypes.CDLL(None, use_errno=True)
FUTEX, WAIT, WAKE = 202 if os.uname().machine == "x86_64" else 98, 0, 1
SEQ_CST = 5


class Cells:
    """Fields of a structure in shared memory, changed by atomic operations of the C library's compiler."""

    def __init__(self, descriptor, magic, version):
        self.map = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
        os.close(descriptor)
        if self.map[:8] != magic or struct.unpack_from("<I", self.map, 8) != (version,):
            raise ValueError(f"not version {version} of {magic}")

    def at(self, offset, size):
        return (ctypes.c_uint32 if size == 4 else ctypes.c_uint64).from_buffer(self.map, HEAD_BYTES + offset)

    def load(self, offset, size):
        call = getattr(atomic, f"__atomic_load_{size}")
        call.restype = ctypes.c_uint32 if size == 4 else ctypes.c_uint64
        return call(ctypes.byref(self.at(offset, size)), SEQ_CST)

    def change(self, operation, offset, size, value):
        """Makes `exchange` or `fetch_add`, and returns the value before."""
        call = getattr(atomic, f"__atomic_{operation}_{size}")
        number = ctypes.c_uint32 if size == 4 else ctypes.c_uint64
        call.restype, call.argtypes = number, [ctypes.c_void_p, number, ctypes.c_int]
        return call(ctypes.addressof(self.at(offset, size)), value, SEQ_CST)

    def store(self, offset, size, value):
        self.change("exchange", offset, size, value)

    def add(self, offset, size, value=1):
        return self.change("fetch_add", offset, size, value)

    def replace(self, offset, before, after):
        """Changes a field of 64 bits from one value to another; returns whether it had the first."""
        call = getattr(atomic, "__atomic_compare_exchange_8")
        call.restype = ctypes.c_bool
        call.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int, ctypes.c_int]
        expected = ctypes.c_uint64(before)
        return call(ctypes.addressof(self.at(offset, 8)), ctypes.byref(expected), after, SEQ_CST, SEQ_CST)

    def wake(self, offset):
        libc.syscall(FUTEX, ctypes.byref(self.at(offset, 4)), WAKE, 2**31 - 1, None, None, 0)

    def wait(self, offset, seen, seconds):
        time_out = (ctypes.c_long * 2)(int(seconds), int(seconds % 1 * 1e9))
        libc.syscall(FUTEX, ctypes.byref(self.at(offset, 4)), WAIT, seen, time_out, None, 0)


class Decoder:
    """Reads postcard, and bincode where a number is read by `bincode`."""

    def __init__(self, data, channels=(), memories=()):
        self.data, self.place, self.channels, self.memories = data, 0, channels, memories

    def take(self, count):
        self.place += count
        taken = self.data[self.place - count : self.place]
        if len(taken) < count:
            raise ValueError("a message ends early")
        return taken

    def number(self):
        value, shift = 0, 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def bincode(self):
        byte = self.take(1)[0]
        return byte if byte < 251 else int.from_bytes(self.take(2 << byte - 251), "little")

    def flag(self):
        return self.take(1) == b"\1"

    def text(self):
        return self.take(self.number()).decode()

    def option(self, read):
        return read() if self.flag() else None

    def channel(self):
        return self.channels[self.number()]

    def memory(self):
        return self.memories[self.number()]


def varint(value):
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes(encoded) + bytes([value])


def bincode(value):
    if value < 251:
        return bytes([value])
    size, byte = next((size, byte) for size, byte in ((2, 251), (4, 252), (8, 253)) if value < 1 << 8 * size)
    return bytes([byte]) + value.to_bytes(size, "little")


def text(value):
    return varint(len(value.encode())) + value.encode()


def receive(channel):
    """Returns the next message with its descriptors; `None` if every sender is closed."""
    data, descriptors, _, _ = socket.recv_fds(channel, 1 << 20, 65)
    if not data:
        return None
    total, length = struct.unpack_from("<QQ", data)
    data = data[16:]
    if len(data) < length:
        rest = socket.socket(fileno=descriptors.pop())
        while len(data) < length:
            data += rest.recv(1 << 20)
        rest.close()
    is_channel = [os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:") for descriptor in descriptors]
    channels = sum(is_channel)
    return Decoder(data[:length], descriptors[:channels], descriptors[channels:])


def send(channel, message, descriptors=()):
    packet = struct.pack("<QQ", len(message) + 16, len(message)) + message
    socket.send_fds(channel, [packet], list(descriptors))


def seqpacket(descriptor):
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=descriptor)


class Output:
    """The producer's end of a link."""

    def __init__(self, link_state, notifier, announcements, overflow, queue):
        self.state = Cells(link_state, b"camrigLS", 5)
        self.notifier = Cells(notifier, b"camrigNO", 3)
        self.announcements, self.overflow, self.queue = seqpacket(announcements), overflow, queue

    def notify(self):
        self.notifier.add(0, 4)
        if self.notifier.load(4, 4):
            self.notifier.wake(0)

    def announce(self, message, descriptors=()):
        send(self.announcements, message, descriptors)
        self.state.add(12, 4)
        self.state.store(152, 4, 1)
        self.notify()

    def word(self, slot):
        return self.state.load(192 + 8 * slot, 8)

    def queued(self):
        return sum(self.word(slot) & 3 == QUEUED for slot in range(64))

    def is_gone(self):
        return self.state.load(136, 4) & 7 != 0

    def has_room(self):
        return self.is_gone() or self.queued() < self.queue and self.state.load(156, 4) == self.state.load(12, 4)

    def publish(self, slot, sequence):
        self.state.add(16, 4)
        self.state.add(0, 8)
        if self.is_gone():
            self.state.add(24 + 8 * DROPPED_GONE, 8)
        elif not self.has_room():
            self.state.add(24 + 8 * DROPPED_NEWEST, 8)
        else:
            self.state.store(192 + 8 * slot, 8, sequence << 18 | QUEUED)
        self.state.add(16, 4)
        if self.state.change("exchange", 152, 4, 1) == 0:
            self.notify()

    def end(self):
        self.state.store(8, 4, 1)
        self.state.store(152, 4, 1)
        self.notify()


class Input:
    """The reader's end of a link."""

    def __init__(self, link_state, announcements):
        self.state = Cells(link_state, b"camrigLS", 5)
        self.announcements, self.received, self.pools, self.sources = seqpacket(announcements), 0, {}, []

    def take_announcements(self):
        announced = self.state.load(12, 4)
        while self.received != announced:
            message = receive(self.announcements)
            self.received += 1
            kind = message.number()
            if kind == 0:
                self.sources = []
            elif kind == 1:
                generation, _slots, pixel_bytes = message.number(), message.number(), message.number()
                memory = message.memory()
                self.pools[generation] = mmap.mmap(memory, 0, prot=mmap.PROT_READ), pixel_bytes
                os.close(memory)
            else:
                self.sources.append(message.text())
        self.state.store(156, 4, announced)

    def oldest(self):
        words = ((self.state.load(192 + 8 * slot, 8), slot) for slot in range(64))
        return min(((word >> 18, word, slot) for word, slot in words if word & 3 == QUEUED), default=None)

    def take(self):
        """Takes the oldest frameset: returns its header's bytes and its frames' memory, or `None`."""
        self.take_announcements()
        while self.oldest() and (found := self.oldest()):
            sequence, word, slot = found
            self.state.add(140, 4)
            taken = self.state.replace(192 + 8 * slot, word, word & ~3 | READING)
            if taken:
                self.state.add(128, 8)
            self.state.add(140, 4)
            if taken:
                break
        else:
            return None
        if self.state.load(148, 4) and not self.oldest():
            self.state.add(144, 4)
            self.state.wake(144)
        self.take_announcements()
        pool, pixel_bytes = self.pools[word >> 2 & 0xFFFF]
        start = slot * (HEADER_BYTES + pixel_bytes)
        magic, version, length, number = struct.unpack_from("<4sIIQ", pool, start)
        assert (magic, version, number) == (b"cmfs", 2, sequence), (magic, version, number)
        header = pool[start + 20 : start + 20 + length]
        pixels = pool[start + HEADER_BYTES : start + HEADER_BYTES + first_frame_bytes(header)]
        self.state.store(192 + 8 * slot, 8, FREE)
        return header, pixels

    def is_over(self):
        return self.state.load(8, 4) == 1 and not self.oldest()


def first_frame_bytes(header):
    """Returns the size of the first frame, which is an image."""
    decoder = Decoder(header)
    number = decoder.bincode
    _sequence, _source, _arrival = number(), number(), number()
    decoder.option(number)
    assert not decoder.flag(), "the frameset has several origins"
    _frames = number()
    decoder.take(number())
    _role, payload, _format, _width, height, stride = (number() for _ in range(6))
    assert payload == 0, payload
    return height * stride


class Actor:
    def __init__(self, part, counters):
        self.id, self.name, self.camera, self.slots, self.framesets = part
        self.counters = Cells(counters, b"camrigAC", 3)
        self.inputs, self.outputs, self.listener = {}, [], None
        self.goes, self.stops, self.thread = threading.Event(), threading.Event(), None

    def capture(self):
        """Publishes framesets until the limit."""
        pixel_bytes = 4096
        while pixel_bytes < WIDTH * HEIGHT:
            pixel_bytes += 4096
        memory = os.memfd_create("worker", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(memory, self.slots * (HEADER_BYTES + pixel_bytes))
        # F_ADD_SEALS, F_SEAL_SHRINK
        if libc.fcntl(memory, 1033, 2) != 0:
            raise OSError("memory cannot be sealed")
        pool = mmap.mmap(memory, 0)
        # An image (payload 0) of light (role 0) in the format Y8 (6).
        payload = lambda number: b"".join(map(number, (0, 6, WIDTH, HEIGHT, WIDTH)))
        stream = text("color") + varint(0) + payload(varint) + varint(30) + b"\0\0"
        info = b"".join(map(text, (self.name, "worker", "", "", "", ""))) + struct.pack("<f", 0.001)
        source = info + varint(1) + stream + b"\0"
        generation = self.counters.add(68, 4)
        for output in self.outputs:
            output.announce(varint(0))
            output.announce(varint(2) + source)
            described = varint(1) + varint(generation) + varint(self.slots) + varint(pixel_bytes) + varint(0)
            output.announce(described, [memory])
        self.goes.wait()
        while not self.stops.is_set():
            sequence = self.counters.load(0, 8)
            if sequence == self.framesets or all(output.state.load(136, 4) & 1 for output in self.outputs):
                break
            while not all(output.has_room() for output in self.outputs if output.overflow == 2):
                self.counters.store(64, 4, 1)
                time.sleep(0.001)
            self.counters.store(64, 4, 0)
            free = (slot for slot in range(self.slots) if all(it.word(slot) & 3 == FREE for it in self.outputs))
            slot = next(free, None)
            if slot is None:
                time.sleep(0.001)
                continue
            start = slot * (HEADER_BYTES + pixel_bytes)
            arrival = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            # Source 0, no match, no origins, one frame: its number, a time of the hardware clock (0), no metadata.
            frame = bincode(5) + b"color" + bincode(0) + payload(bincode) + bincode(sequence)
            frame += bincode(0) + bincode(sequence * 10**9 // 30) + bincode(0)
            header = bincode(sequence) + bincode(0) + bincode(arrival) + b"\0\0" + bincode(1) + frame
            head = struct.pack("<4sIIQ", b"cmfs", 2, len(header), sequence) + header
            pool[start : start + len(head)] = head
            pixels = bytes([sequence % 256]) * (WIDTH * HEIGHT)
            pool[start + HEADER_BYTES : start + HEADER_BYTES + len(pixels)] = pixels
            self.counters.add(0, 8)
            for output in self.outputs:
                output.publish(slot, sequence)
            time.sleep(0.001)

    def read(self):
        """Reads framesets until the inputs have ended."""
        framesets, sum_of_all = 0, 0
        while True:
            for link in self.inputs.values():
                link.state.store(152, 4, 0)
            seen = self.listener.load(0, 4)
            found = [taken for link in self.inputs.values() if (taken := link.take())]
            for _header, pixels in found:
                framesets, sum_of_all = framesets + 1, zlib.crc32(pixels, sum_of_all)
            if all(link.is_over() for link in self.inputs.values()):
                break
            if not found:
                self.listener.add(4, 4)
                self.listener.wait(0, seen, 1)
                self.listener.add(4, 4, 2**32 - 1)
        for link in self.inputs.values():
            link.state.store(136, 4, 1)
        print(f"{self.name}: {framesets} framesets, sum {sum_of_all:08x}", flush=True)

    def run(self, report):
        report(varint(0) + varint(self.id))
        try:
            self.capture() if self.camera else self.read()
        except Exception as error:
            report(varint(2) + varint(self.id) + text(str(error)) + b"\0\1")
            raise
        for output in self.outputs:
            output.end()
        report(varint(1) + varint(self.id))


def actor_part(message):
    number, option = message.number, message.option
    identifier, name = number(), message.text()
    message.text(), message.text()  # The rig and its topology.
    camera = number() == 0
    message.text(), message.text()  # The driver or kind, and the options.
    option(lambda: (number(), number()))
    option(message.text)
    slots = number()
    message.flag()
    return identifier, name, camera, slots, option(number)


def host(message, actors):
    number, option = message.number, message.option
    kind = number()
    if kind == 0:
        # Five fields of an actor are not read further: its counters are the only memory of the message.
        part = actor_part(message)
        actors[part[0]] = Actor(part, message.memories[0])
    elif kind == 3:
        actor, _link = actors[number()], number()
        link_state, notifier, announcements = message.memory(), message.memory(), message.channel()
        overflow, queue = number(), number()
        actor.outputs.append(Output(link_state, notifier, announcements, overflow, queue))
    elif kind == 4:
        name, actor = message.text(), actors[number()]
        actor.inputs[name] = Input(message.memory(), message.channel())
    elif kind == 5:
        listener = Cells(message.memory(), b"camrigNO", 3)
        for actor in actors.values():
            actor.listener = listener
    else:
        raise ValueError(f"a part of the kind {kind}")


def connect():
    """Makes the handshake; returns the channels of commands and events."""
    parent = socket.socket(fileno=0)
    parent.sendall(b"camrig\r\n" + struct.pack("<I", VERSION))
    with parent.makefile("rb") as said:
        hello = said.read(12)
        if hello != b"camrig\r\n" + struct.pack("<I", VERSION):
            parent.sendall(b"another version\n")
            sys.exit(1)
        secret, millis = said.read(16), struct.unpack("<Q", said.read(8))[0]
    folder = os.environ["CAMRIG_HANDSHAKE"]
    os.mkdir(folder, 0o700)
    path = os.path.join(folder, "socket")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen()
    listener.settimeout(millis / 1000)
    line = path.encode() + b"\n"
    socket.send_fds(parent, [line[:1]], [listener.fileno()])
    parent.sendall(line[1:])
    peer, _ = listener.accept()
    setup = receive(peer)
    if setup.take(16) != secret:
        sys.exit(1)
    setup.text()
    commands, events = setup.channel(), setup.channel()
    os.remove(path)
    os.rmdir(folder)
    parent.sendall(b"connected\n")

    def watch():
        parent.recv(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    return seqpacket(commands), seqpacket(events)


def main():
    commands, events = connect()
    lock = threading.Lock()

    def report(event):
        with lock:
            send(events, event)

    actors = {}
    while (message := receive(commands)) is not None:
        command = message.number()
        if command == 0:
            host(message, actors)
        elif command == 1:
            for actor in actors.values():
                actor.thread = threading.Thread(target=actor.run, args=(report,), daemon=True)
                actor.thread.start()
        elif command == 3:
            for actor in actors.values():
                actor.goes.set()
        elif command == 4:
            actor, kind = actors[message.number()], message.number()
            if kind in (2, 3):
                actor.goes.set()
                actor.stops.set()
        elif command == 7:
            for actor in actors.values():
                actor.goes.set()
                actor.stops.set()
        elif command == 8:
            return


main()
