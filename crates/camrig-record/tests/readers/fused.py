"""Fuses a recording twice, a part of it and all of it, and compares the peaks of the memory of both.

    fused.py CAMRIG RECORDING MESH

MESH becomes the mesh of the part.
"""

import os
import subprocess
import sys

# Memory must not grow with the number of framesets; the points of those that the part leaves out take 29 MB.
MOST_MORE_MIB = 8
MOST_MIB = 160


def fuse(camrig, recording, mesh, every):
    options = ["--camera", "front", "--every", str(every), "--voxel", "20mm", "--far", "3"]
    process = subprocess.Popen([camrig, "recording", "fuse", recording, "-o", mesh, *options], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, status
    return usage.ru_maxrss / 1024


camrig, recording, mesh = sys.argv[1:]
part = fuse(camrig, recording, mesh, 10)
all_of_it = fuse(camrig, recording, f"{mesh}.all.ply", 1)
print(f"{mesh}: fusing takes {part:.1f} MiB for every tenth frameset, {all_of_it:.1f} MiB for all")
assert max(part, all_of_it) < MOST_MIB and all_of_it < part + MOST_MORE_MIB
