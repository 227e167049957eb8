import { createHash } from "node:crypto";
import { join } from "node:path";
import type { SpecNode } from "../../spec/types.ts";
import { agentPorts } from "../../../shared/agent-api.ts";
import { darksiteSerial } from "../../../shared/repository.ts";
import { socketPath } from "../../host/runtime-directory.ts";
import { acceleratorArguments, type Accelerator } from "./accelerator.ts";

/** Where the files of one virtual machine are. */
export interface MachineFiles {
  disk: string;
  seed: string;
  /** The cluster's own apt repository, on a hub. */
  darksite?: string;
  code: string;
  vars: string;
  tpmSocket: string;
  events: string;
  console: string;
  consoleSocket: string;
  controlSocket: string;
  /** QEMU Machine Protocol. */
  qmpSocket: string;
}

export function machineFiles(directory: string, runtime: string, node: string, code: string): MachineFiles {
  return {
    disk: join(directory, "disk.qcow2"),
    seed: join(directory, "seed.img"),
    code,
    vars: join(directory, "vars.fd"),
    tpmSocket: socketPath(runtime, `${node}.tpm`),
    events: join(directory, "events.jsonl"),
    console: join(directory, "console.log"),
    consoleSocket: socketPath(runtime, `${node}.con`),
    controlSocket: socketPath(runtime, `${node}.ctl`),
    qmpSocket: socketPath(runtime, `${node}.qmp`),
  };
}

/** The sockets among a machine's files. */
export function machineSockets(files: MachineFiles): string[] {
  return [files.tpmSocket, files.consoleSocket, files.controlSocket, files.qmpSocket];
}

/** Name of a node's tap device; interface names hold 15 characters. */
export function tapName(node: SpecNode): string {
  return `kd-${node.index}`;
}

/** A stable, locally administered address from QEMU's range. */
export function macAddress(cluster: string, node: string): string {
  const digits = createHash("sha256").update(`${cluster}/${node}`).digest("hex");
  return `52:54:00:${digits.slice(0, 2)}:${digits.slice(2, 4)}:${digits.slice(4, 6)}`;
}

/**
 * Arguments of qemu-system-x86_64 for a sealed machine: q35, UEFI with Secure Boot enforced (the variables are written
 * by system management mode only), TPM 2.0, the sealed disk, the seed read-only, console, the agent's two ports.
 */
export function qemuArguments(
  cluster: string,
  node: SpecNode,
  files: MachineFiles,
  accelerator: Accelerator,
): string[] {
  const value = (path: string) => path.replaceAll(",", ",,"); // QEMU's own escape in option values
  return [
    ["-name", `kubedos-${cluster}-${node.name}`],
    ["-nodefaults"],
    ["-no-user-config"],
    ["-display", "none"],
    ["-monitor", "none"],
    acceleratorArguments[accelerator],
    ["-smp", String(node.cpus)],
    ["-m", String(node.memoryMiB)],
    ["-global", "driver=cfi.pflash01,property=secure,value=on"],
    ["-global", "ICH9-LPC.disable_s3=1"],
    ["-drive", `if=pflash,unit=0,format=raw,readonly=on,file=${value(files.code)}`],
    ["-drive", `if=pflash,unit=1,format=raw,file=${value(files.vars)}`],
    ["-chardev", `socket,id=tpm,path=${value(files.tpmSocket)}`],
    ["-tpmdev", "emulator,id=tpm0,chardev=tpm"],
    ["-device", "tpm-crb,tpmdev=tpm0"],
    ["-device", "virtio-rng-pci"],
    ["-drive", `if=none,id=disk,file=${value(files.disk)},format=qcow2,discard=unmap`],
    ["-device", "virtio-blk-pci,drive=disk,bootindex=1"],
    ["-drive", `if=none,id=seed,file=${value(files.seed)},format=raw,readonly=on`],
    ["-device", "virtio-blk-pci,drive=seed,serial=kubedos-seed"],
    files.darksite === undefined ? [] : darksiteArguments(value(files.darksite)),
    ["-netdev", `tap,id=net,ifname=${tapName(node)},script=no,downscript=no`],
    ["-device", `virtio-net-pci,netdev=net,mac=${macAddress(cluster, node.name)}`],
    [
      "-chardev",
      `socket,id=console,path=${value(files.consoleSocket)},server=on,wait=off,logfile=${value(files.console)},logappend=on`,
    ],
    ["-serial", "chardev:console"],
    ["-device", "virtio-serial-pci"],
    ["-chardev", `file,id=events,path=${value(files.events)},append=on`],
    ["-device", `virtserialport,chardev=events,name=${agentPorts.events}`],
    ["-chardev", `socket,id=control,path=${value(files.controlSocket)},server=on,wait=off`],
    ["-device", `virtserialport,chardev=control,name=${agentPorts.control}`],
    ["-chardev", `socket,id=qmp,path=${value(files.qmpSocket)},server=on,wait=off`],
    ["-mon", "chardev=qmp,mode=control"],
    ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
  ].flat();
}

function darksiteArguments(file: string): string[] {
  const drive = `if=none,id=darksite,file=${file},format=raw,readonly=on`;
  return ["-drive", drive, "-device", `virtio-blk-pci,drive=darksite,serial=${darksiteSerial}`];
}
