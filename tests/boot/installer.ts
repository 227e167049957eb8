import { copyFile, mkdir, readFile, rm, stat } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { endDaemon, isRunning, startDaemon } from "../../src/host/daemon.ts";
import { qmp } from "../../src/host/qmp.ts";
import { acceleratorArguments, chooseAccelerator } from "../../src/substrates/qemu/accelerator.ts";
import { withEmulator } from "../media/tpm.ts";
import { inSlot } from "./machine.ts";
import { until, type Scratch } from "./support.ts";

/** A machine that starts from an installation medium, or over the network. */
export interface Installer {
  console(): Promise<string>;
  shows(pattern: RegExp): Promise<void>;
  /** Types a line on the serial console. */
  types(line: string): Promise<void>;
  /** Takes the medium out of the drive. */
  ejects(): Promise<void>;
  /** Waits until the machine restarts, which ends it here. */
  restarts(): Promise<void>;
  /** Cuts its power. */
  cutsPower(): Promise<void>;
}

export interface InstallerOptions {
  name: string;
  /** In its CD drive; absent: it starts over the network. */
  medium?: string;
  /** What starts a command in the machine's network, and QEMU's arguments for its card. */
  network?: { enter: readonly string[]; card: readonly string[] };
  /** Disks as values of -drive without `if` and `id`, e.g. `file=…,format=raw`. */
  disks: string[];
  /** The medium is a USB stick instead of a CD. */
  stick?: boolean;
  /** UEFI with Secure Boot; absent: BIOS. The variables are changed. */
  firmware?: { code: string; vars: string };
  /** State of its TPM; absent: it has none. */
  tpm?: string;
  extraArguments?: string[];
  /** How long each thing may take that is waited for. */
  limitSeconds?: number;
}

const usualSeconds = 240;

/** Powers a machine on and ends it whatever happens. */
export async function withInstaller(
  scratch: Scratch,
  options: InstallerOptions,
  use: (installer: Installer) => Promise<void>,
): Promise<void> {
  await inSlot(() => powerOn(scratch, options, use));
}

function powerOn(
  scratch: Scratch,
  options: InstallerOptions,
  use: (installer: Installer) => Promise<void>,
): Promise<void> {
  const { name, tpm } = options;
  if (tpm === undefined) return start(scratch, options, [], use);
  const socket = join(scratch.directory, `${name}.tpm.sock`);
  const args = [
    ...["-chardev", `socket,id=tpm,path=${socket}`, "-tpmdev", "emulator,id=tpm0,chardev=tpm"],
    ...["-device", "tpm-crb,tpmdev=tpm0"],
  ];
  const log = join(scratch.directory, `${name}.tpm.log`);
  return withEmulator({ state: tpm, socket, speaks: "control", log }, () => start(scratch, options, args, use));
}

async function start(
  scratch: Scratch,
  options: InstallerOptions,
  tpmArguments: readonly string[],
  use: (installer: Installer) => Promise<void>,
): Promise<void> {
  const directory = join(scratch.directory, options.name);
  await mkdir(directory, { recursive: true });
  const at = (name: string) => join(directory, name);
  for (const stale of ["console", "console.sock", "qmp.sock"]) await rm(at(stale), { force: true });
  const { limitSeconds = usualSeconds } = options;
  const accelerator = await chooseAccelerator(scratch.context);
  const disks = options.disks.flatMap((disk, index) => [
    ...["-drive", `if=none,id=disk${index},${disk}`],
    ...["-device", `virtio-blk-pci,drive=disk${index},serial=DISK${index}`],
  ]);
  const args = [
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-smp", "1", "-m", "1024"],
    ...acceleratorArguments[accelerator],
    ...(options.firmware === undefined ? [] : firmwareArguments(options.firmware)),
    ...disks,
    ...mediumArguments(options),
    ...(options.network?.card ?? []),
    ...["-chardev", `socket,id=console,path=${at("console.sock")},server=on,wait=off,logfile=${at("console")}`],
    ...["-serial", "chardev:console"],
    ...["-chardev", `socket,id=qmp,path=${at("qmp.sock")},server=on,wait=off`, "-mon", "chardev=qmp,mode=control"],
    ...tpmArguments,
    ...(options.extraArguments ?? []),
  ];
  const [command, ...words] = [...(options.network?.enter ?? []), "qemu-system-x86_64", ...args] as [
    string,
    ...string[],
  ];
  const machine = await startDaemon(command, words, { log: at("log") });
  let terminal: Socket | undefined;
  const console = async () => (await readFile(at("console"), "latin1").catch(() => "")).replaceAll("\r", "\n");
  const end = async () => `${await readFile(at("log"), "utf8").catch(() => "")}\n${(await console()).slice(-3_000)}`;
  try {
    await use({
      console,
      async shows(pattern) {
        const seen = async () => {
          if (pattern.test(await console())) return true;
          if (!(await isRunning(machine))) throw new Error(`the machine ended before ${pattern}\n${await end()}`);
          return undefined;
        };
        await until(`${pattern} on the console`, limitSeconds, seen, end);
      },
      async types(line) {
        await until("the console's socket", 20, () => stat(at("console.sock")).catch(() => undefined));
        terminal ??= connect(at("console.sock"))
          .on("error", () => undefined)
          .resume();
        terminal.write(`${line}\r`);
      },
      async ejects() {
        await qmp(at("qmp.sock"), "eject", { id: "drive", force: true });
      },
      async restarts() {
        await until("the machine's restart", limitSeconds, async () => !(await isRunning(machine)) || undefined, end);
      },
      cutsPower: () => endDaemon(machine, 0),
    });
  } finally {
    terminal?.destroy();
    await endDaemon(machine, 1_000);
  }
}

function mediumArguments({ medium, stick }: InstallerOptions): string[] {
  if (medium === undefined) return [];
  const device =
    stick === true
      ? ["-device", "qemu-xhci", "-device", "usb-storage,drive=medium,removable=on,bootindex=1"]
      : ["-device", "ide-cd,id=drive,drive=medium,bootindex=1"];
  return ["-drive", `if=none,id=medium,readonly=on,format=raw,file=${medium}`, ...device];
}

function firmwareArguments({ code, vars }: { code: string; vars: string }): string[] {
  return [
    ...["-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1"],
    ...["-drive", `if=pflash,unit=0,format=raw,readonly=on,file=${code}`],
    ...["-drive", `if=pflash,unit=1,format=raw,file=${vars}`],
  ];
}

/** Variables of its own for a machine. */
export async function copyVariables(scratch: Scratch, vars: string, name: string): Promise<string> {
  const copy = join(scratch.directory, `${name}.vars.fd`);
  await copyFile(vars, copy);
  return copy;
}
