"""Carries packets between two interfaces as a bad cable does: it loses some, delays all, and lets some overtake others.

usage: bad_cable.py carry ONE OTHER DELAY_MS JITTER_MS LOSS
       bad_cable.py whole INTERFACE

`carry` prints `ready`, ends with its standard input, and prints the numbers of packets that it carried and lost, and of those
that were overtaken. `whole` has the system send packets over an interface as they are on a cable: of its size, and with their
checksums.
"""

import ctypes
import fcntl
import heapq
import random
import select
import socket
import struct
import sys
import time

ALL_PROTOCOLS = 3
# Packets on their way at once; a cable loses further ones.
PACKETS_MAX = 4000
PACKET_BYTES_MAX = 65536
SIOCETHTOOL = 0x8946
ETHTOOL_STXCSUM = 0x17
ETHTOOL_SGSO = 0x24


def carry(names, delay, jitter, loss):
    """Carries packets until standard input ends."""
    ends = []
    for name in names:
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        end.bind((name, 0))
        ends.append(end)
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    chance = random.Random(1)
    number = lost = overtaken = 0
    newest = {end: 0 for end in ends}
    packets = []
    print("ready", flush=True)
    while True:
        wait = max(0, packets[0][0] - time.monotonic()) if packets else None
        readable, _, _ = select.select([*ends, sys.stdin], [], [], wait)
        if sys.stdin in readable:
            break
        for end in readable:
            packet, address = end.recvfrom(PACKET_BYTES_MAX)
            if address[2] == socket.PACKET_OUTGOING:
                continue
            number += 1
            if chance.random() < loss or len(packets) == PACKETS_MAX:
                lost += 1
                continue
            due = time.monotonic() + delay + jitter * chance.random()
            heapq.heappush(packets, (due, number, other[end], packet))
        while packets and packets[0][0] <= time.monotonic():
            _, place, end, packet = heapq.heappop(packets)
            overtaken += place < newest[end]
            newest[end] = max(newest[end], place)
            end.send(packet)
    print(number - lost, lost, overtaken)


def whole(name):
    """Has the system, not a device, complete packets that leave an interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for command in (ETHTOOL_STXCSUM, ETHTOOL_SGSO):
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP", name.encode(), ctypes.addressof(value))
            fcntl.ioctl(any_socket, SIOCETHTOOL, request.ljust(40, b"\0"))


if sys.argv[1] == "whole":
    whole(sys.argv[2])
else:
    carry(sys.argv[2:4], float(sys.argv[4]) / 1e3, float(sys.argv[5]) / 1e3, float(sys.argv[6]))
