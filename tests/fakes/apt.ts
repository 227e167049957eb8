import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { locateFoundry } from "../../src/assemble/foundry.ts";
import { run } from "../../src/host/run.ts";
import { runInSandbox } from "../../src/host/sandbox.ts";
import type { Project } from "../../src/lifecycle/project.ts";

/** An apt that uses one repository and one key, and knows nothing of its host. */
export interface TestApt {
  /** `apt-get update`: exit status and everything that it said. */
  update(repository: string, keyring: string): Promise<{ status: number; text: string }>;
  /** `apt-get download NAME` after a successful update. */
  download(repository: string, keyring: string, name: string): Promise<{ status: number; text: string }>;
}

const okStatuses = Array.from({ length: 256 }, (_, status) => status);

/** Options that give apt a root of its own; all paths as apt sees them. */
function options(work: string, sources: string): string[] {
  return Object.entries({
    "Dir::State": work,
    "Dir::State::lists": `${work}/lists`,
    "Dir::State::status": "/dev/null",
    "Dir::Cache": `${work}/cache`,
    "Dir::Etc::sourcelist": sources,
    "Dir::Etc::sourceparts": "/dev/null",
    "Dir::Etc::trusted": "/dev/null",
    "Dir::Etc::trustedparts": "/dev/null",
    "Dir::Etc::parts": "/dev/null",
    "Dir::Etc::preferencesparts": "/dev/null",
    "APT::Architecture": "amd64",
    "APT::Architectures": "amd64",
    "APT::Sandbox::User": "root",
    "Acquire::Languages": "none",
  }).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
}

async function prepare(work: string, source: string): Promise<string> {
  for (const part of ["lists/partial", "cache/archives/partial"]) await mkdir(join(work, part), { recursive: true });
  const sources = join(work, "sources.list");
  await writeFile(sources, source);
  return sources;
}

function sourceLine(repository: string, keyring: string): string {
  return `deb [signed-by=${keyring}] copy:${repository} trixie main\n`;
}

/** The apt of this host. */
export function hostApt(work: string): TestApt {
  const apt = async (repository: string, keyring: string, command: string[]) => {
    const sources = await prepare(work, sourceLine(repository, keyring));
    const settings = options(work, sources);
    const { status, stdout, stderr } = await run("apt-get", [...settings, ...command], { cwd: work, okStatuses });
    return { status, text: `${stdout}${stderr}` };
  };
  return {
    update: (repository, keyring) => apt(repository, keyring, ["update", "--error-on=any"]),
    download: (repository, keyring, name) => apt(repository, keyring, ["download", name]),
  };
}

/** The apt of the nodes' release, from the foundry root, without a network. */
export function foundryApt(work: string, project: Pick<Project, "lock" | "store">): TestApt {
  const { directory } = locateFoundry(project.lock, project.store);
  const apt = async (repository: string, keyring: string, command: string[]) => {
    await prepare(work, sourceLine("/in/repository", "/in/keyring.asc"));
    // A failed command is what is looked for: env(1) does not hide its status, run() throws it.
    try {
      const { stdout, stderr } = await runInSandbox({
        root: directory,
        command: ["env", "--chdir=/out", "apt-get", ...options("/out", "/out/sources.list"), ...command],
        inputs: { repository, "keyring.asc": keyring },
        out: work,
        epoch: project.lock.epoch,
      });
      return { status: 0, text: `${stdout}${stderr}` };
    } catch (error) {
      return { status: 100, text: (error as Error).message };
    }
  };
  return {
    update: (repository, keyring) => apt(repository, keyring, ["update", "--error-on=any"]),
    download: (repository, keyring, name) => apt(repository, keyring, ["download", name]),
  };
}
