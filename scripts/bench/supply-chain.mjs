// What is said about a build: the seconds that bills of materials and provenance add, checking, comparing two builds.
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { kubedos, writeSpec } from "./support.mjs";

export async function benchSupplyChain(scratch) {
  const spec = join(scratch, "chain.yaml");
  // The common cache: only the stages of interest are made again.
  const env = { KUBEDOS_CONFIG: join(scratch, "config") };
  await kubedos(["init", "chain"], { env, cwd: scratch });
  await writeSpec(spec, { name: "chain", nodes: 3 });
  await kubedos(["lock", spec], { env });
  // A file that no other build has: root and bills of materials are new, the tree is not.
  const text = await readFile(spec, "utf8");
  const withFile = (content) => `${text}platform:\n  files:\n    - { path: /etc/motd, content: "${content}" }\n`;
  await writeFile(spec, withFile(`first ${scratch}`));
  const built = await kubedos(["build", spec, "--json"], { env });
  const events = built.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const sbom = events.find(({ type, stage }) => type === "stage.done" && stage === "sbom");
  const unchanged = await kubedos(["build", spec], { env });
  const old = join(scratch, "old");
  const verified = await kubedos(["verify", join(scratch, "out/chain"), "--any-key"], { env });
  await rename(join(scratch, "out/chain"), old);
  await writeFile(spec, withFile(`second ${scratch}`));
  await kubedos(["build", spec], { env });
  const compared = await kubedos(["diff", old, join(scratch, "out/chain")], { env });
  await rm(old, { recursive: true });
  const row = (what, value, target) => ({ what, value, unit: "s", target });
  return [
    row("bills of materials of a build", sbom?.seconds ?? Number.NaN, "< 3 s, with provenance"),
    row("manifest, provenance, signatures: a build with nothing to do", unchanged.seconds, ""),
    row("verify raw and qcow2, every byte, and both bills of materials", verified.seconds, "< 10 s, raw"),
    row("diff of two builds, one changed file", compared.seconds, ""),
  ];
}
