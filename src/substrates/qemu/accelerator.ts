import { mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RunContext } from "../../host/context.ts";
import { cacheDirectory } from "../../host/paths.ts";
import { run } from "../../host/run.ts";

export type Accelerator = "kvm" | "tcg";

const probeTimeoutMs = 8_000;
/** isa-debug-exit ends QEMU with (value << 1) | 1. */
const exitValue = 0x10;

/**
 * KVM where it really runs a guest, else TCG. /dev/kvm may exist and its guests hang, so a boot sector is run that writes
 * to QEMU's debug exit port. The answer is kept for this boot of the host and this QEMU.
 */
export async function chooseAccelerator(context: RunContext): Promise<Accelerator> {
  const key = await hostKey();
  const file = join(cacheDirectory(), "host.json");
  const known = JSON.parse(await readFile(file, "utf8").catch(() => "{}")) as {
    key?: string;
    accelerator?: Accelerator;
  };
  if (known.key === key && known.accelerator !== undefined) return known.accelerator;
  const accelerator = (await kvmRuns(context)) ? "kvm" : "tcg";
  await mkdir(cacheDirectory(), { recursive: true });
  await writeFile(`${file}.${process.pid}`, `${JSON.stringify({ key, accelerator })}\n`);
  await rename(`${file}.${process.pid}`, file);
  return accelerator;
}

async function hostKey(): Promise<string> {
  const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => "");
  const qemu = await stat("/usr/bin/qemu-system-x86_64").catch(() => undefined);
  const kvm = await stat("/dev/kvm").catch(() => undefined);
  return [boot.trim(), qemu?.mtimeMs, kvm?.mode, process.getuid?.()].join(" ");
}

async function kvmRuns(context: RunContext): Promise<boolean> {
  if ((await stat("/dev/kvm").catch(() => undefined)) === undefined) return false;
  const directory = await mkdtemp(join(tmpdir(), "kubedos-probe-"));
  try {
    const disk = join(directory, "boot");
    await writeFile(disk, bootSector());
    const args = ["-machine", "pc,accel=kvm", "-cpu", "host", "-m", "16", "-display", "none", "-nodefaults"];
    const devices = ["-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-drive", `file=${disk},format=raw,if=ide`];
    const { status } = await run("qemu-system-x86_64", [...args, ...devices], {
      timeoutMs: probeTimeoutMs,
      signal: context.signal,
      okStatuses: [(exitValue << 1) | 1, 0, 1],
    });
    return status === ((exitValue << 1) | 1);
  } catch {
    context.signal.throwIfAborted();
    return false; // hung or crashed: both mean that KVM is of no use here
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** mov dx, 0xf4; mov al, value; out dx, al; hlt; jmp. A BIOS loads 512 bytes that end in 55 AA. */
function bootSector(): Buffer {
  const sector = Buffer.alloc(64 * 1024);
  Buffer.from([0xba, 0xf4, 0x00, 0xb0, exitValue, 0xee, 0xf4, 0xeb, 0xfd]).copy(sector);
  sector.writeUInt16LE(0xaa55, 510);
  return sector;
}
