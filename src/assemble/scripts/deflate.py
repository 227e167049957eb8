"""Compression with the foundry's zlib, so that no host's version reaches an artifact. Output does not depend on the
number of processors.

deflate.py grains IMAGE DATA LENGTHS GRAIN_BYTES
    Every grain of IMAGE as a zlib stream (RFC 1950) in DATA, one after the other; LENGTHS has the length of each as
    32 bits, little-endian, 0 for a grain of zeros, which DATA leaves out. A short last grain is filled with zeros.

deflate.py gzip FILE OUT
    One gzip member (RFC 1952) without a name or time.
"""

import collections
import concurrent.futures
import os
import struct
import sys
import zlib

LEVEL = 6
GZIP_BLOCK = 1024 * 1024
WINDOW = 32 * 1024


def in_order(work, items):
    """Results of work(item) in the order of the items, computed by all processors; a bounded number is held."""
    workers = len(os.sched_getaffinity(0))
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        waiting = collections.deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 8 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def blocks(path, size):
    with open(path, "rb") as file:
        while block := file.read(size):
            yield block


def grains(image, data, lengths, size):
    size = int(size)
    zero = bytes(size)

    def pack(grain):
        if grain == zero[: len(grain)]:
            return b""
        return zlib.compress(grain.ljust(size, b"\0"), LEVEL)

    with open(data, "wb") as out, open(lengths, "wb") as table:
        for packed in in_order(pack, blocks(image, size)):
            table.write(struct.pack("<I", len(packed)))
            out.write(packed)


def gzip(path, out):
    def pack(item):
        block, dictionary, last = item
        # The end of the block before serves as dictionary: nothing is lost at the seams.
        deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -15, zdict=dictionary) if dictionary else zlib.compressobj(
            LEVEL, zlib.DEFLATED, -15
        )
        return deflate.compress(block) + deflate.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)

    crc = size = 0

    def items():
        nonlocal crc, size
        total = os.stat(path).st_size
        before = b""
        for block in blocks(path, GZIP_BLOCK):
            crc = zlib.crc32(block, crc)
            size += len(block)
            yield block, before[-WINDOW:], size == total
            before = block

    with open(out, "wb") as file:
        file.write(bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255]))
        for packed in in_order(pack, items()):
            file.write(packed)
        file.write(struct.pack("<II", crc, size & 0xFFFFFFFF))


{"grains": grains, "gzip": gzip}[sys.argv[1]](*sys.argv[2:])
