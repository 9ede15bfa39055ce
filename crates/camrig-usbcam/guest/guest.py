#!/usr/bin/env python3
"""Runs a command in a guest whose kernel has emulated RealSense cameras attached.

    guest.py [--cameras N] [--models d405,d435] [--usb2] [--megabits M] [--modules M,...] [--kernel PACKAGE] [--timeout S] -- COMMAND...

The guest is the distribution's kernel under QEMU without hardware acceleration. Its root is this machine's, read-only,
below an overlay in memory; the folder that --out names is writable for it, as $OUT. $EMULATOR is the address that takes
commands for the cameras, $CAMERAS their number. Packages that are missing are named, with
the command that installs them. The exit code is the command's; 77 where something is missing on this machine, and 125
where the guest failed.
"""

import argparse
import glob
import lzma
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
CACHE = os.path.join(ROOT, "target", "usbcam")
PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "cpio": "cpio",
    "depmod": "kmod",
    "udevadm": "udev",
}
MODULES = ["9p", "9pnet_virtio", "virtio_pci", "virtio_net", "overlay", "vhci_hcd", "uvcvideo"]
# For motion sensors.
MODULES += ["usbhid", "hid_sensor_hub", "hid_sensor_accel_3d", "hid_sensor_gyro_3d"]
# The guest has the kernel of the first one that exists. Debian 12's own, 6.1.0-57, has crashed when a camera was unplugged.
KERNELS = ["linux-image-6.12-amd64", "linux-image-amd64"]
# uvcvideo of Debian 12 supports the metadata of one D4xx only; the others are registered in the same way.
METADATA_LIKE = "8086 0b03"

INIT = r"""#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module || echo "guest: cannot load $module"; done
ip link set lo up; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2
mkdir -p /host /memory /newroot /out
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose hostroot /host
mount -t tmpfs memory /memory; mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work overlay /newroot
mount -t proc proc /newroot/proc; mount -t sysfs sys /newroot/sys; mount -t devtmpfs dev /newroot/dev
mkdir -p /newroot/dev/shm /newroot/dev/pts /newroot/run/udev /newroot/mnt
mount -t tmpfs shm /newroot/dev/shm; mount -t tmpfs run /newroot/run; mount -t tmpfs tmp /newroot/tmp; mkdir -p /newroot/run/udev
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 out /newroot/mnt
exec chroot /newroot /bin/sh /mnt/guest.sh
"""

# Before a command that has no end: the kernel kills it when this process has ended.
ENDS_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"]

# Exit codes: something is missing on this machine (as test runners for `skipped`), the guest failed.
MISSING, FAILED = 77, 125


def fail(message, code=FAILED):
    print(f"guest.py: {message}", file=sys.stderr)
    sys.exit(code)


def need_packages():
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    missing = [package for program, package in PACKAGES.items() if not shutil.which(program, path=path)]
    if missing:
        fail(f"missing programs; install them with: apt-get install --no-install-recommends {' '.join(missing)}", MISSING)


def depends(package):
    """The packages with a kernel on which `package` depends."""
    found = subprocess.run(["apt-cache", "depends", package], capture_output=True, text=True).stdout
    return [line.split()[-1] for line in found.splitlines() if "Depends: linux-image-" in line]


def kernel(packages):
    """The files of the kernel of the first of these packages, below the cache: kernel image and folder of modules."""
    folders = [os.path.join(CACHE, package) for package in packages]
    folder = next((it for it in folders if glob.glob(f"{it}/boot/vmlinuz-*")), None)
    if not folder:
        if not shutil.which("apt-get"):
            fail("no apt-get, which downloads the kernel of the guest", MISSING)
        found = [(folder, name) for package, folder in zip(packages, folders) for name in depends(package)]
        if not found:
            fail(f"no package {' or '.join(packages)} is known; run: apt-get update", MISSING)
        folder, name = found[0]
        os.makedirs(folder, exist_ok=True)
        if subprocess.run(["apt-get", "download", "-qq", name], cwd=folder).returncode:
            fail(f"package {name} cannot be downloaded", MISSING)
        archive = glob.glob(f"{folder}/{name}_*.deb")[0]
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
        os.remove(archive)
    image = sorted(glob.glob(f"{folder}/boot/vmlinuz-*"))[-1]
    version = os.path.basename(image).removeprefix("vmlinuz-")
    if not os.path.exists(f"{folder}/lib/modules/{version}/modules.dep"):
        depmod = shutil.which("depmod", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        subprocess.run([depmod, "-b", folder, version], check=True)
    return image, f"{folder}/lib/modules/{version}"


def modules(folder, more):
    """Files of the modules that the guest needs, those of `more` too, each behind those that it needs itself."""
    with open(f"{folder}/modules.dep") as file:
        depends = {name: rest.split() for name, _, rest in (line.strip().partition(":") for line in file)}
    by_name = {os.path.basename(path).split(".")[0].replace("-", "_"): path for path in depends}
    order = []

    def add(path):
        for needed in reversed(depends[path]):
            add(needed)
        if path not in order:
            order.append(path)

    for name in MODULES + more:
        if name in by_name:
            add(by_name[name])
    return order


def initrd(folder, more):
    tree = os.path.join(CACHE, "initrd")
    shutil.rmtree(tree, ignore_errors=True)
    for name in ["bin", "modules", "proc", "sys", "dev"]:
        os.makedirs(f"{tree}/{name}")
    shutil.copy(shutil.which("busybox"), f"{tree}/bin/busybox")
    names = []
    for path in modules(folder, more):
        names.append(os.path.basename(path).removesuffix(".xz"))
        opened = lzma.open if path.endswith(".xz") else open
        with opened(f"{folder}/{path}", "rb") as packed, open(f"{tree}/modules/{names[-1]}", "wb") as file:
            shutil.copyfileobj(packed, file)
    with open(f"{tree}/modules/order", "w") as file:
        file.write("\n".join(names) + "\n")
    with open(f"{tree}/init", "w") as file:
        file.write(INIT)
    os.chmod(f"{tree}/init", 0o755)
    image = os.path.join(CACHE, "initrd.img")
    with open(image, "wb") as file:
        find = subprocess.Popen(["find", ".", "-print0"], cwd=tree, stdout=subprocess.PIPE)
        subprocess.run(["cpio", "--null", "--quiet", "-o", "-H", "newc"], cwd=tree, stdin=find.stdout, stdout=file, check=True)
    return image


def guest_script(arguments, program):
    usb2 = " --usb2" if arguments.usb2 else ""
    ids = {"d405": "0b5b", "d435": "0b07", "d455": "0b5c"}
    new_ids = "\n".join(
        f'echo "8086 {ids[model]} 0e {METADATA_LIKE}" > /sys/bus/usb/drivers/uvcvideo/new_id'
        for model in sorted(set(arguments.models.split(",")))
    )
    attach = f"{shlex.quote(program)} attach {arguments.cameras} --host 10.0.2.2 --port {arguments.port}{usb2} &" if arguments.cameras else ""
    environment = {**guest_environment(), "CAMERAS": str(arguments.cameras), "EMULATOR": f"10.0.2.2:{arguments.port - 1}"}
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment.items())
    command = " ".join(shlex.quote(word) for word in arguments.command)
    return f"""{exports}
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
(exec -a systemd-udevd /usr/bin/udevadm --daemon 2>/dev/null) || /lib/systemd/systemd-udevd --daemon
{new_ids}
{attach}
cd {shlex.quote(os.getcwd())}
{command}
echo "guest: exit $?"
sync
echo o > /proc/sysrq-trigger
sleep 600
"""


def guest_environment():
    kept = ["PATH", "LD_LIBRARY_PATH", "PKG_CONFIG_PATH", "CARGO_MANIFEST_DIR"]
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    return {**environment, "HOME": "/tmp", "OUT": "/mnt", "RUST_BACKTRACE": "1"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=1, help="0 for a guest without an emulator")
    parser.add_argument("--models", default="d405")
    parser.add_argument("--usb2", action="store_true")
    parser.add_argument("--megabits", type=int)
    parser.add_argument("--modules", default="", help="modules of the kernel to load too, such as veth,sch_netem")
    parser.add_argument("--kernel", help=f"package that depends on the guest's kernel (default: {' or '.join(KERNELS)})")
    parser.add_argument("--timeout", type=int, default=300, help="seconds until the guest is ended")
    parser.add_argument("--port", type=int, default=34000, help="TCP port of the first camera")
    parser.add_argument("--out", default=os.path.join(CACHE, "out"))
    parser.add_argument("--script", help="commands for the emulator, carried out at its start")
    parser.add_argument("--log", help="file for the log of transfers")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    need_packages()
    program = os.path.join(ROOT, "target", "debug", "camrig-usbcam")
    if arguments.cameras and not os.path.exists(program):
        fail("build the emulator first: cargo build -p camrig-usbcam")
    image, folder = kernel([arguments.kernel] if arguments.kernel else KERNELS)
    os.makedirs(arguments.out, exist_ok=True)
    with open(os.path.join(arguments.out, "guest.sh"), "w") as file:
        file.write(guest_script(arguments, program))
    serve = [program, "serve", str(arguments.cameras), "--models", arguments.models]
    serve += ["--port", str(arguments.port), "--control", str(arguments.port - 1)]
    serve += ["--usb2"] if arguments.usb2 else []
    serve += ["--megabits", str(arguments.megabits)] if arguments.megabits else []
    serve += ["--script", arguments.script] if arguments.script else []
    serve += ["--log"] if arguments.log else []
    log = open(arguments.log, "w") if arguments.log else None
    # So that emulator and guest do not outlive it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(FAILED))
    packed = initrd(folder, [name for name in arguments.modules.split(",") if name])
    if not arguments.cameras:
        sys.exit(boot(arguments, image, packed))
    emulator = subprocess.Popen([*ENDS_WITH_PARENT, *serve], stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        if not emulator.stdout.readline():
            fail("the emulator did not start")
        code = boot(arguments, image, packed)
    finally:
        emulator.kill()
        emulator.wait()
    sys.exit(code)


def boot(arguments, image, initrd_image):
    machine = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "2048", "-cpu", "max"]
    machine += ["-kernel", image, "-initrd", initrd_image, "-no-reboot", "-nographic"]
    # A busy host must not look like a broken timer or processor to the kernel, which may measure a wrong rate of the
    # processor's clock then: time comes from another one.
    patient = "no_timer_check nowatchdog rcupdate.rcu_cpu_stall_suppress=1 tsc=nowatchdog clocksource=hpet"
    machine += ["-append", f"console=ttyS0 quiet loglevel=1 oops=panic panic=1 mitigations=off {patient}"]
    machine += ["-virtfs", "local,path=/,mount_tag=hostroot,security_model=none,readonly=on,multidevs=remap"]
    machine += ["-virtfs", f"local,path={arguments.out},mount_tag=out,security_model=none"]
    machine += ["-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,romfile="]
    guest = subprocess.Popen([*ENDS_WITH_PARENT, *machine], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    timer = threading.Timer(arguments.timeout, guest.kill)
    timer.start()
    code = FAILED
    try:
        for line in guest.stdout:
            text = line.decode(errors="replace").rstrip()
            if text.startswith("guest: exit "):
                code = int(text.removeprefix("guest: exit "))
            else:
                print(text, flush=True)
    finally:
        timer.cancel()
        # It has ended, unless this program is being ended.
        guest.kill()
        guest.wait()
    if code == FAILED:
        print("guest.py: the guest ended without a result", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
