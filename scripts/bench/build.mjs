// Build: from nothing, without stage cache, one file changed, one node added, nothing changed; sizes.
import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { kubedos, timed, writeSpec } from "./support.mjs";

export async function benchBuild(scratch) {
  const spec = join(scratch, "lab.yaml");
  const env = { KUBEDOS_CACHE: join(scratch, "cache"), KUBEDOS_CONFIG: join(scratch, "config") };
  const build = () => kubedos(["build", spec], { env });
  const rows = [];
  const add = (id, what, seconds, target) => rows.push({ id, what, value: seconds, unit: "s", target });

  await kubedos(["init", "lab"], { env, cwd: scratch });
  await writeSpec(spec, { name: "lab", nodes: 3 });
  const lock = await kubedos(["lock", spec], { env });
  const cold = await build();
  add("cold", "lock and build from an empty store, foundry root included", lock.seconds + cold.seconds, "< 120 s");

  await rm(join(env.KUBEDOS_CACHE, "actions"), { recursive: true });
  add("rebuild", "platform rebuilt, warm store, no stage cache", (await build()).seconds, "< 20 s");
  add("unchanged", "nothing changed", (await build()).seconds, "< 0.5 s");

  await writeSpec(spec, { name: "lab", nodes: 4 });
  add("node", "one node added: new raw and qcow2", (await build()).seconds, "< 3 s");

  const { size } = await stat(join(scratch, "out/lab/lab.raw"));
  rows.push({ what: "raw image", value: size / 1e6, unit: "MB", target: "< 250 MB" });
  const packed = join(scratch, "lab.raw.zst");
  await timed("zstd", ["-q", "-T0", "-12", "-o", packed, join(scratch, "out/lab/lab.raw")]);
  rows.push({ what: "raw image as zstd", value: (await stat(packed)).size / 1e6, unit: "MB", target: "< 170 MB" });
  await rm(packed);

  const text = await readFile(spec, "utf8");
  await writeFile(spec, `${text}platform:\n  files:\n    - { path: /etc/motd, content: "one changed file" }\n`);
  add("file", "one file of the image changed", (await build()).seconds, "");
  return rows;
}
