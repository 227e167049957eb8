import { readdir, readFile, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { delay } from "./clock.ts";

/** Where control groups are: cgroup v2 alone, or the two hierarchies of a hybrid host; see cgroups(7). */
const hierarchies = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];
const tries = 100;
const pollMs = 50;

/**
 * Kills every process of a control group, in all hierarchies, and removes it. Nothing if there is none.
 *
 * @throws KubedosError when a process does not end
 */
export async function endGroup(name: string): Promise<void> {
  for (let attempt = 0; attempt < tries; attempt++) {
    const gone = await Promise.all(hierarchies.map((hierarchy) => removeGroup(join(hierarchy, name))));
    if (gone.every(Boolean)) return;
    await delay(pollMs);
  }
  throw new KubedosError("failed", `processes of the control group ${name} do not end, not even by SIGKILL`);
}

/** One round: kills what is in it and removes what is empty. Whether the group is gone. */
async function removeGroup(directory: string): Promise<boolean> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => undefined);
  if (entries === undefined) return true;
  const pids = (await readFile(join(directory, "cgroup.procs"), "utf8").catch(() => "")).split("\n").filter(Boolean);
  for (const pid of pids) kill(Number(pid));
  for (const entry of entries) {
    if (entry.isDirectory()) await removeGroup(join(directory, entry.name));
  }
  return rmdir(directory).then(
    () => true,
    () => false,
  );
}

/** 0 stands for a process of another pid namespace. */
function kill(pid: number): void {
  if (pid === 0 || pid === process.pid) return;
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // it has just ended
  }
}
