import { constants } from "node:fs";
import { access, readFile, stat, statfs } from "node:fs/promises";
import { totalmem, userInfo } from "node:os";
import { dirname, join } from "node:path";
import { cleanEnvironment, run } from "./run.ts";

/** Looks at the host without changing it. */
export interface HostProbe {
  root: boolean;
  /** Name, or number where the user has no name. */
  user: string;
  nodeVersion: string;
  memoryBytes: number;
  /** Path of a command in the PATH that kubedos gives to host tools. */
  findCommand(name: string): Promise<string | undefined>;
  /** The file exists and can be read. */
  readable(path: string): Promise<boolean>;
  /** The file or device exists and can be read and written. */
  writable(path: string): Promise<boolean>;
  /** Text of a small file, or nothing where it cannot be read. */
  text(path: string): Promise<string | undefined>;
  /** Free bytes for this user on the file system that holds the path, which need not exist yet. */
  freeBytes(path: string): Promise<number>;
  /** The command can be run and ends with status 0. */
  succeeds(command: string, args: readonly string[]): Promise<boolean>;
}

/** The machine this process runs on. */
export function hostProbe(): HostProbe {
  return {
    root: process.getuid?.() === 0,
    user: userName(),
    nodeVersion: process.version,
    memoryBytes: totalmem(),
    findCommand,
    readable: (path) => accessible(path, constants.R_OK),
    writable: (path) => accessible(path, constants.R_OK | constants.W_OK),
    text: (path) => readFile(path, "utf8").catch(() => undefined),
    freeBytes,
    succeeds: (command, args) =>
      run(command, args, { timeoutMs: 10_000 }).then(
        () => true,
        () => false,
      ),
  };
}

/** The name in the user database, or the number where it has none (containers). */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? "");
  }
}

async function findCommand(name: string): Promise<string | undefined> {
  for (const directory of cleanEnvironment()["PATH"]!.split(":")) {
    const path = join(directory, name);
    if (await accessible(path, constants.X_OK)) return path;
  }
  return undefined;
}

async function accessible(path: string, mode: number): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}

async function freeBytes(path: string): Promise<number> {
  let existing = path;
  while (dirname(existing) !== existing && !(await stat(existing).catch(() => undefined))) existing = dirname(existing);
  const { bavail, bsize } = await statfs(existing);
  return bavail * bsize;
}
