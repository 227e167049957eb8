import { expect, test } from "vitest";
import * as z from "zod";
import { fakeSpec } from "../../../tests/fakes/spec.ts";
import { bootArguments, guestAddress, machineConfig, tapName } from "./config.ts";

/**
 * What Firecracker's API description (src/firecracker/swagger/firecracker.yaml, 1.17) says of a whole machine,
 * `FullVmConfiguration`: names, types, limits, and what must be there. Other names are refused, as Firecracker does.
 */
const bucket = z.strictObject({
  size: z.int().min(0),
  refill_time: z.int().min(0),
  one_time_burst: z.int().min(0).optional(),
});
const rateLimiter = z.strictObject({ bandwidth: bucket.optional(), ops: bucket.optional() });
const drive = z.strictObject({
  drive_id: z.string(),
  is_root_device: z.boolean(),
  partuuid: z.string().optional(),
  cache_type: z.enum(["Unsafe", "Writeback"]).optional(),
  is_read_only: z.boolean(), // required for a file's drive, as path_on_host is
  path_on_host: z.string(),
  rate_limiter: rateLimiter.optional(),
  io_engine: z.enum(["Sync", "Async"]).optional(),
});
const apiMachine = z.strictObject({
  "boot-source": z.strictObject({
    kernel_image_path: z.string(),
    initrd_path: z.string().optional(),
    boot_args: z.string().optional(),
  }),
  drives: z.array(drive),
  "machine-config": z.strictObject({
    vcpu_count: z.int().min(1).max(32),
    mem_size_mib: z.int().min(1),
    smt: z.boolean().optional(),
    track_dirty_pages: z.boolean().optional(),
    huge_pages: z.enum(["None", "Transparent", "2M"]).optional(),
  }),
  "network-interfaces": z.array(
    z.strictObject({
      iface_id: z.string(),
      host_dev_name: z.string(),
      guest_mac: z.string().optional(),
      mtu: z.int().min(68).max(65_535).optional(),
      rx_rate_limiter: rateLimiter.optional(),
      tx_rate_limiter: rateLimiter.optional(),
    }),
  ),
  vsock: z.strictObject({ guest_cid: z.int().min(3), uds_path: z.string() }),
  entropy: z.strictObject({ rate_limiter: rateLimiter.optional() }),
});

const sealed = "console=ttyS0 quiet -- kubedos.root=1:ab:cd";

test("every node's machine is one that Firecracker's API describes", () => {
  const spec = fakeSpec();
  for (const node of spec.nodes) {
    const machine = apiMachine.parse(machineConfig(spec, node, sealed));
    expect(machine["machine-config"]).toMatchObject({ vcpu_count: node.cpus, mem_size_mib: node.memoryMiB });
    expect(machine.drives.map(({ drive_id, is_read_only }) => [drive_id, is_read_only])).toEqual([
      ["disk", false],
      ["seed", true],
    ]);
    // A root device would add words to the kernel's command line.
    expect(machine.drives.every(({ is_root_device }) => !is_root_device)).toBe(true);
    expect(machine["network-interfaces"][0]!.guest_mac).toMatch(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/);
    // Relative paths: the same in the jailer's chroot and out of it.
    const paths = [machine["boot-source"].kernel_image_path, ...machine.drives.map((one) => one.path_on_host)];
    expect(paths.filter((path) => path.includes("/"))).toEqual([]);
  }
});

test("machines of one cluster have their own tap device, address and vsock", () => {
  const spec = fakeSpec();
  const machines = spec.nodes.map((node) => apiMachine.parse(machineConfig(spec, node, sealed)));
  const columns: (string | number | undefined)[][] = [
    machines.map((machine) => machine["network-interfaces"][0]!.host_dev_name),
    machines.map((machine) => machine["network-interfaces"][0]!.guest_mac),
    machines.map((machine) => machine.vsock.guest_cid),
  ];
  for (const values of columns) expect(new Set(values).size).toBe(spec.nodes.length);
  expect(tapName({ index: 10_000 }).length).toBeLessThan(16);
  // Locally administered, not multicast.
  expect(Number.parseInt(guestAddress("lab", "hub").slice(0, 2), 16) & 3).toBe(2);
});

test("the machine's words are the kernel's; what the initrd reads stays last", () => {
  const [kernel, init] = bootArguments(sealed).split(" -- ");
  expect(kernel).toMatch(/^console=ttyS0 quiet reboot=k pci=off /);
  expect(init).toBe("kubedos.root=1:ab:cd");
});
