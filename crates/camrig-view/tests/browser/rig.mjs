// A rig under test: it is started with a topology, and ends with the test.

import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

/** The maximum time to wait for a fact. */
export const WATCHDOG_MILLIS = 60_000;

const PROGRAM = resolve(process.env.CAMRIG ?? "target/debug/camrig");

export class Rig {
  /** Starts `camrig run`, or another program of the library, beside these files, and waits until it has printed each of `lines`. */
  static async start(topology, lines = [/^view: (\S+)$/m], program = PROGRAM, files = {}) {
    const rig = new Rig();
    rig.folder = mkdtempSync(join(tmpdir(), "camrig-view-"));
    // For the files of `snapshot`, which creates no folder.
    mkdirSync(join(rig.folder, "seen"));
    writeFileSync(join(rig.folder, "rig.toml"), topology.replaceAll("FOLDER", rig.folder));
    for (const [name, text] of Object.entries(files)) writeFileSync(join(rig.folder, name), text);
    rig.report = join(rig.folder, "report.json");
    // The kernel kills it when this process has ended.
    const words = ["--pdeathsig=KILL", program, "run", "rig.toml", "--report", rig.report];
    rig.child = spawn("setpriv", words, { cwd: rig.folder });
    rig.said = "";
    rig.ended = new Promise((resolve) => rig.child.once("exit", (code) => resolve(code)));
    for (const stream of [rig.child.stdout, rig.child.stderr]) stream.on("data", (data) => (rig.said += data));
    rig.found = await until(`the rig says ${lines}`, () => {
      if (rig.child.exitCode !== null) throw new Error(`the rig ended:\n${rig.said}`);
      const found = lines.map((line) => line.exec(rig.said)?.[1]);
      return found.every(Boolean) && found;
    });
    return rig;
  }

  /** Ends it in order. Returns the exit code and the report. */
  async stop() {
    this.child.kill("SIGTERM");
    const code = await this.ended;
    return { code, report: JSON.parse(readFileSync(this.report)) };
  }

  async remove() {
    this.child.kill("SIGTERM");
    const late = setTimeout(() => this.child.kill("SIGKILL"), WATCHDOG_MILLIS);
    await this.ended;
    clearTimeout(late);
    rmSync(this.folder, { recursive: true });
  }
}

/** Waits for a fact: calls `look` repeatedly until it returns something true, and returns that. */
export async function until(what, look) {
  const end = Date.now() + WATCHDOG_MILLIS;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`timed out: ${what}`);
    await pause(50);
  }
}

/** Waits for a fixed time: between two calls of `look`, or to observe that nothing changes. */
export function pause(millis) {
  return new Promise((resolve) => setTimeout(resolve, millis));
}
