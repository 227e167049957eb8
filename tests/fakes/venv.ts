import { createHash } from "node:crypto";
import { access, mkdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { takeExclusive } from "../../src/host/lease.ts";
import { cacheDirectory } from "../../src/host/paths.ts";
import { run } from "../../src/host/run.ts";

/**
 * A virtual environment of the host's Python with these distributions from pip's own index, made once and kept in the
 * cache. Returns its `bin` directory.
 *
 * @param requirements exact, `name==version`
 */
export async function pythonTools(requirements: readonly string[]): Promise<string> {
  const id = createHash("sha256").update(requirements.toSorted().join("\n")).digest("hex").slice(0, 16);
  const directory = join(cacheDirectory(), "test-tools", `python-${id}`);
  const ready = join(directory, "ready");
  const isReady = () =>
    access(ready).then(
      () => true,
      () => false,
    );
  if (await isReady()) return join(directory, "bin");
  await mkdir(dirname(directory), { recursive: true });
  const lease = await takeExclusive(`${directory}.lease`);
  try {
    if (await isReady()) return join(directory, "bin");
    await rm(directory, { recursive: true, force: true });
    await run("python3", ["-m", "venv", directory], { timeoutMs: 120_000 });
    const pip = join(directory, "bin", "pip");
    await run(pip, ["install", "--quiet", "--disable-pip-version-check", ...requirements], {
      timeoutMs: 300_000,
      env: process.env as Record<string, string>,
    });
    await mkdir(`${ready}.new`);
    await rename(`${ready}.new`, ready);
  } finally {
    await lease.release();
  }
  return join(directory, "bin");
}
