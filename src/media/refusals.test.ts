import { describe, expect, test } from "vitest";
import type { BlockDevice } from "../host/block-device.ts";
import { describeDevice, missingConsent, refusals } from "./refusals.ts";

function stick(change: Partial<BlockDevice> = {}): BlockDevice {
  return {
    path: "/dev/sdb",
    type: "disk",
    size: 8e9,
    model: "Ultra ",
    serial: "4C53",
    tran: "usb",
    rm: true,
    ro: false,
    mountpoints: [null],
    ...change,
  };
}

function part(change: Partial<BlockDevice>): BlockDevice {
  return stick({ path: "/dev/sdb1", type: "part", ...change });
}

const messages = (device: BlockDevice, holders: string[] = []) =>
  refusals(device, holders, 200e6).map(({ message }) => message);

test("an empty stick is not refused, and needs nothing but the word that it is the right one", () => {
  expect(messages(stick())).toEqual([]);
  expect(missingConsent(stick(), true, { yes: true, wipe: false, fixed: false })).toEqual([]);
  expect(describeDevice(stick())).toBe("/dev/sdb, Ultra, 4C53, usb, 8.0 GB");
});

describe("refused whatever is said", () => {
  test.each<[string, BlockDevice, RegExp]>([
    ["a partition", part({}), /not a whole disk/],
    ["a read-only disk", stick({ ro: true }), /read-only/],
    ["a disk too small", stick({ size: 100e6 }), /the artifact needs 200000000/],
    ["a mounted disk", stick({ mountpoints: ["/mnt"] }), /mounted on \/mnt/],
    ["a mounted partition", stick({ children: [part({ mountpoints: ["/home"] })] }), /sdb1 is mounted on \/home/],
    ["the system's root", stick({ children: [part({ mountpoints: ["/"] })] }), /the root of this system/],
    ["swap", stick({ children: [part({ mountpoints: ["[SWAP]"] })] }), /swap/],
    ["a part of a volume group", stick({ children: [part({ fstype: "LVM2_member" })] }), /an LVM volume group/],
    ["a part of an array", stick({ fstype: "linux_raid_member" }), /an MD array/],
    ["a part of a pool", stick({ children: [part({ fstype: "zfs_member" })] }), /a ZFS pool/],
    [
      "an open encrypted volume",
      stick({ children: [part({ children: [part({ path: "/dev/mapper/c", type: "crypt" })] })] }),
      /\/dev\/mapper\/c \(crypt\) is open/,
    ],
  ])("%s", (_what, device, message) => {
    expect(messages(device).join("\n")).toMatch(message);
  });

  test("a disk that something holds", () => expect(messages(stick(), ["dm-0"])).toEqual(["/dev/sdb is held by dm-0"]));
  test("all reasons at once", () =>
    expect(messages(stick({ ro: true, size: 1, mountpoints: ["/a", "/b"] }))).toHaveLength(4));
});

describe("must be said", () => {
  const asked = (device: BlockDevice, consent = { yes: true, wipe: false, fixed: false }, blank = true) =>
    missingConsent(device, blank, consent).map(({ hint }) => /--\w+/.exec(hint!)?.[0] ?? "--yes");
  test("that it is meant", () => expect(asked(stick(), { yes: false, wipe: true, fixed: true })).toEqual(["--yes"]));
  test("that data may be lost", () =>
    expect(asked(stick({ children: [part({ fstype: "vfat" })] }))).toEqual(["--wipe"]));
  test("the same of data that nobody knows", () => expect(asked(stick(), undefined, false)).toEqual(["--wipe"]));
  test("the same of a partition table alone", () => expect(asked(stick({ pttype: "gpt" }))).toEqual(["--wipe"]));
  test("that it may be a built-in disk", () => expect(asked(stick({ rm: false, tran: "nvme" }))).toEqual(["--fixed"]));
});
