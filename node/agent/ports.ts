import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { NodePaths } from "./paths.ts";
import { readText } from "./text.ts";

/**
 * The device of a virtio-serial port by its name. The kernel names the devices vportNpM and tells the port's name in
 * sysfs; udev's link under /dev/virtio-ports comes later in the boot.
 */
export function virtioPort(paths: NodePaths, name: string): string | undefined {
  const link = paths.at(`/dev/virtio-ports/${name}`);
  if (existsSync(link)) return link;
  const directory = paths.at("/sys/class/virtio-ports");
  const device = listDirectory(directory).find((entry) => readText(join(directory, entry, "name")) === name);
  const path = device === undefined ? undefined : paths.at(`/dev/${device}`);
  return path !== undefined && existsSync(path) ? path : undefined;
}

function listDirectory(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
