import { mkdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { endDaemon, startDaemon } from "../../src/host/daemon.ts";
import { run } from "../../src/host/run.ts";
import { until } from "../boot/support.ts";

/** A TPM 2.0 behind a character device. */
export interface Tpm {
  /** What tpm2-tools do with it; files of theirs are in `directory`. */
  does(tool: string, ...args: string[]): Promise<void>;
  /** Its key for seeds, made as docs/targets.md says. */
  key(): Promise<string>;
}

interface Emulator {
  /** Where it keeps what it is: another directory is another TPM. */
  state: string;
  /** Its socket, and what is spoken there: the TPM's commands, or QEMU's control channel. */
  socket: string;
  speaks: "commands" | "control";
  log: string;
}

/** Starts swtpm, with a new TPM where there is none, and ends it whatever happens. */
export async function withEmulator<T>({ state, socket, speaks, log }: Emulator, use: () => Promise<T>): Promise<T> {
  await mkdir(state, { recursive: true });
  const channel = `type=unixio,path=${socket}`;
  const started = ["--server", channel, "--flags", "not-need-init,startup-clear"];
  const how = speaks === "control" ? ["--ctrl", channel] : started;
  const args = ["socket", "--tpm2", "--tpmstate", `dir=${state}`, ...how, "--terminate"];
  const emulator = await startDaemon("swtpm", args, { log });
  try {
    await until("the TPM's socket", 20, () => stat(socket).catch(() => undefined));
    return await use();
  } finally {
    await endDaemon(emulator, 1_000);
  }
}

/** The TPM whose state is in `directory`/state, behind `device`, a terminal. */
export async function withTpm<T>(directory: string, device: string, use: (tpm: Tpm) => Promise<T>): Promise<T> {
  const at = (name: string) => join(directory, name);
  const [log, socket] = [at("log"), at("socket")];
  return withEmulator({ state: at("state"), socket, speaks: "commands", log }, async () => {
    const bridge = await startDaemon("socat", [`PTY,link=${device},raw,echo=0`, `UNIX-CONNECT:${socket}`], { log });
    try {
      await until("the TPM's device", 20, () => stat(device).catch(() => undefined));
      const does = async (tool: string, ...args: string[]) => {
        await run(tool, ["-T", `device:${device}`, ...args], { cwd: directory });
      };
      return await use({
        does,
        async key() {
          const attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|decrypt";
          await does(
            "tpm2_createprimary",
            "-C",
            "o",
            "-G",
            "rsa2048",
            "-g",
            "sha256",
            "-a",
            attributes,
            "-c",
            "key.ctx",
          );
          await does("tpm2_readpublic", "-c", "key.ctx", "-f", "pem", "-o", "tpm.pem");
          await does("tpm2_flushcontext", "-t");
          return readFile(at("tpm.pem"), "utf8");
        },
      });
    } finally {
      await endDaemon(bridge, 1_000);
    }
  });
}
