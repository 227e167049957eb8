import { mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RunContext } from "../../host/context.ts";
import { cacheDirectory } from "../../host/paths.ts";
import { run } from "../../host/run.ts";
import { uniqueBeside } from "../../host/unique.ts";

export type Accelerator = "kvm" | "tcg";

interface Known {
  key: string;
  accelerator: Accelerator;
}

const probeTimeoutMs = 5_000;
/** isa-debug-exit ends QEMU with (value << 1) | 1. */
const exitStatus = (0x10 << 1) | 1;

/** What differs between the accelerators in a machine's command line; SMM is what makes Secure Boot tamper-proof. */
export const acceleratorArguments = {
  kvm: ["-machine", "q35,smm=on", "-accel", "kvm", "-cpu", "host"],
  tcg: ["-machine", "q35,smm=on", "-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max"],
} satisfies Record<Accelerator, string[]>;

/**
 * KVM where it really runs a guest of our kind, else TCG. /dev/kvm may exist, its ioctls succeed and the guest hangs or
 * QEMU aborts, so a small guest is run with a time limit. The answer is kept for this boot of the host and this QEMU.
 */
export async function chooseAccelerator(context: RunContext): Promise<Accelerator> {
  const key = await hostKey();
  const file = join(cacheDirectory(), "host.json");
  const known = parseKnown(await readFile(file, "utf8").catch(() => ""));
  if (known?.key === key) return known.accelerator;
  const usable = (await stat("/dev/kvm").catch(() => undefined)) !== undefined && (await probe("kvm", context));
  const accelerator: Accelerator = usable ? "kvm" : "tcg";
  await mkdir(cacheDirectory(), { recursive: true });
  const fresh = uniqueBeside(file);
  await writeFile(fresh, `${JSON.stringify({ key, accelerator } satisfies Known)}\n`);
  await rename(fresh, file);
  return accelerator;
}

/** Whether the probe guest runs to its end with this accelerator. */
export async function probe(
  accelerator: Accelerator,
  context: Pick<RunContext, "signal">,
  guest: Uint8Array = bootSector(),
): Promise<boolean> {
  const directory = await mkdtemp(join(tmpdir(), "kubedos-probe-"));
  try {
    const disk = join(directory, "boot");
    await writeFile(disk, guest);
    const machine = ["-m", "32", "-nodefaults", "-no-user-config", "-display", "none"];
    const exit = ["-device", "isa-debug-exit,iobase=0xf4,iosize=1"];
    const drive = ["-drive", `if=none,id=boot,format=raw,file=${disk}`, "-device", "virtio-blk-pci,drive=boot"];
    await run("qemu-system-x86_64", [...acceleratorArguments[accelerator], ...machine, ...exit, ...drive], {
      timeoutMs: probeTimeoutMs,
      signal: context.signal,
      okStatuses: [exitStatus],
    });
    return true;
  } catch {
    context.signal.throwIfAborted();
    return false; // hung, refused or crashed: all mean that it is of no use here
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function parseKnown(text: string): Known | undefined {
  try {
    return JSON.parse(text) as Known;
  } catch {
    return undefined;
  }
}

async function hostKey(): Promise<string> {
  const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => "");
  const qemu = await stat("/usr/bin/qemu-system-x86_64").catch(() => undefined);
  const kvm = await stat("/dev/kvm").catch(() => undefined);
  return ["2", boot.trim(), qemu?.mtimeMs, kvm?.mode, process.getuid?.()].join(" ");
}

/**
 * A disk with a boot sector (512 bytes that end in 55 AA, loaded by the BIOS at 0x7c00) that does what guests of broken
 * accelerators do not live through: waits for two timer interrupts, makes page tables, goes to 64-bit mode, and ends
 * QEMU through its debug exit port.
 */
export function bootSector(): Buffer {
  const code = [
    "31c0 8ed8 8ec0 8ed0", //         xor ax,ax; mov ds,es,ss = ax
    "bc007c fc", //                   mov sp,0x7c00; cld
    "fb f4 f4 fa", //                 sti; hlt; hlt; cli
    "bf0010 b90018 f3ab", //          zero 12 KiB at 0x1000: three levels of page tables
    "c70600100320", //                [0x1000] = 0x2003
    "c70600200330", //                [0x2000] = 0x3003
    "c70600308300", //                [0x3000] = 0x0083: the first 2 MiB, mapped one to one
    "0f20e0 0c20 0f22e0", //          cr4.PAE = 1
    "66b800100000 0f22d8", //         cr3 = 0x1000
    "66b9800000c0 0f32 80cc01 0f30", // EFER.LME = 1
    "660f0116807c", //                lgdt [0x7c80]
    "0f20c0 660d01000080 0f22c0", //  cr0.PE = cr0.PG = 1
    "66ea627c00000800", //            jmp 8:0x7c62, the next instruction, in 64-bit mode
    "b010 e6f4", //                   mov al,0x10; out 0xf4,al
    "f4 ebfd", //                     hlt; jmp to the hlt
  ];
  const sector = Buffer.alloc(1024 * 1024); // SeaBIOS takes no smaller disk
  Buffer.from(code.join("").replaceAll(" ", ""), "hex").copy(sector);
  sector.writeBigUInt64LE(0x00209a0000000000n, 0x78); // descriptor 8: 64-bit code
  sector.writeUInt16LE(15, 0x80); // limit and address of the descriptor table, after a null descriptor at 0x7c70
  sector.writeUInt32LE(0x7c70, 0x82);
  sector.writeUInt16LE(0xaa55, 510);
  return sector;
}
