import type { Problem } from "../../shared/error.ts";
import type { BlockDevice } from "../host/block-device.ts";

/** Parts of storage that spans disks: writing over one damages the whole. */
const members: Record<string, string> = {
  LVM2_member: "an LVM volume group",
  linux_raid_member: "an MD array",
  zfs_member: "a ZFS pool",
  ceph_bluestore: "a Ceph cluster",
  bcache: "a bcache set",
  drbd: "a DRBD resource",
  ddf_raid_member: "a RAID set",
  isw_raid_member: "a RAID set",
};

/** What the person who writes has said. */
export interface WriteConsent {
  /** The disk is the one that was meant. */
  yes: boolean;
  /** Its data may be lost. */
  wipe: boolean;
  /** It may be a disk that is built into this machine. */
  fixed: boolean;
}

/** Why nothing may be written to a device, whoever asks; all reasons at once. Pure. */
export function refusals(device: BlockDevice, holders: readonly string[], neededBytes: number): Problem[] {
  const problems: Problem[] = [];
  const refuse = (message: string, hint: string) => problems.push({ message, hint });
  if (device.type !== "disk" && device.type !== "loop") {
    refuse(`${device.path} is not a whole disk (${device.type})`, "name the disk that it is part of");
  }
  if (device.ro) refuse(`${device.path} is read-only`, "is there a switch on the medium?");
  if (device.size < neededBytes) {
    refuse(`${device.path} has ${device.size} bytes, the artifact needs ${neededBytes}`, "take a larger disk");
  }
  for (const part of withChildren(device)) {
    for (const place of part.mountpoints) {
      if (place === null) continue;
      if (place === "[SWAP]") refuse(`${part.path} is swap of this system`, "take another disk");
      else if (place === "/") refuse(`${part.path} is the root of this system`, "take another disk");
      else refuse(`${part.path} is mounted on ${place}`, `if it is the disk you mean: umount ${place}`);
    }
    const whole = members[part.fstype ?? ""];
    if (whole !== undefined) {
      refuse(`${part.path} is part of ${whole}`, "take it out of there first, and remove its signature with wipefs");
    }
    const mapped = part !== device && !["part", "disk"].includes(part.type);
    if (mapped) refuse(`${part.path} (${part.type}) is open on ${device.path}`, "close it first");
  }
  for (const holder of holders) refuse(`${device.path} is held by ${holder}`, "close it first");
  return problems;
}

/** What the person who writes must still say, as flags. Pure. */
export function missingConsent(device: BlockDevice, blank: boolean, consent: WriteConsent): Problem[] {
  const problems: Problem[] = [];
  if (!isPortable(device) && !consent.fixed) {
    problems.push({ message: `${device.path} is a fixed disk of this machine`, hint: "if you mean it: --fixed" });
  }
  const data = withChildren(device).flatMap((part) => part.fstype ?? part.pttype ?? []);
  if ((data.length > 0 || !blank) && !consent.wipe) {
    const kinds = [...new Set(data)].join(", ") || "of a kind that blkid does not know";
    const message = `${device.path} holds data (${kinds}), which would be lost`;
    problems.push({ message, hint: "if it may be lost: --wipe" });
  }
  if (!consent.yes)
    problems.push({ message: "nothing is written without --yes", hint: "is it the right disk? then add --yes" });
  return problems;
}

/** Disks that are carried from machine to machine, and loop devices. */
function isPortable(device: BlockDevice): boolean {
  return device.rm || device.tran === "usb" || device.tran === "mmc" || device.type === "loop";
}

function withChildren(device: BlockDevice): BlockDevice[] {
  return [device, ...(device.children ?? []).flatMap(withChildren)];
}

/** The device as a person knows it: model, serial number, size. */
export function describeDevice(device: BlockDevice): string {
  const parts = [device.path, device.model?.trim(), device.serial?.trim() ?? "no serial number", device.tran];
  return [...parts.filter(Boolean), `${(device.size / 1e9).toFixed(1)} GB`].join(", ");
}
