import { readdir, readFile, readlink, stat } from "node:fs/promises";
import { markVariable, startTimeOf, type Daemon } from "./daemon.ts";

/**
 * Living processes with this mark. Finds what was started just before kubedos was killed and so was never written down.
 * Processes of other users are passed over: their environment cannot be read.
 */
export async function findMarked(mark: string): Promise<Daemon[]> {
  const wanted = `${markVariable}=${mark}`;
  return findProcesses(async (pid) => {
    const environment = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
    return environment.split("\0").includes(wanted);
  });
}

/** Living processes in the same network namespace as this one; never those of the caller's own namespace. */
export async function processesInNetworkOf(daemon: Daemon): Promise<Daemon[]> {
  const own = await networkNamespace("self");
  const theirs = await networkNamespace(String(daemon.pid));
  if (own === undefined || theirs === undefined || own === theirs) return [];
  return findProcesses(async (pid) => (await networkNamespace(String(pid))) === theirs);
}

/** Living processes that were started with this text inside of one of their arguments. */
export async function findNaming(text: string): Promise<Daemon[]> {
  return findProcesses(async (pid) => {
    const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    return commandLine.split("\0").some((argument) => argument.includes(text));
  });
}

/** inotify instances that processes of this user hold open, inotify(7); those of containers count to the same user. */
export async function inotifyInUse(): Promise<number> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const counts = await Promise.all(
    pids.map(async (pid) => {
      if ((await stat(`/proc/${pid}`).catch(() => undefined))?.uid !== process.getuid?.()) return 0;
      const open = await readdir(`/proc/${pid}/fd`).catch((): string[] => []);
      const links = await Promise.all(open.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => "")));
      return links.filter((link) => link === "anon_inode:inotify").length;
    }),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}

async function networkNamespace(pid: string): Promise<string | undefined> {
  return readlink(`/proc/${pid}/ns/net`).catch(() => undefined);
}

async function findProcesses(matches: (pid: number) => Promise<boolean>): Promise<Daemon[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const found = await Promise.all(
    pids.map(async (pid): Promise<Daemon[]> => {
      if (pid === process.pid) return [];
      // The start time first: were the pid given to another process in between, the pair would fit neither.
      const startTime = await startTimeOf(pid);
      return startTime !== undefined && (await matches(pid)) ? [{ pid, startTime }] : [];
    }),
  );
  return found.flat();
}
