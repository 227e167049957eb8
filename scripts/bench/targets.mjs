// Every target but Debian's installer, together: the platform is there, what the targets are made of is not.
import { stat, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { events, kubedos, writeSpec } from "./support.mjs";

export async function benchTargets(scratch) {
  const spec = join(scratch, "targets.yaml");
  const env = { KUBEDOS_CONFIG: join(scratch, "config") };
  await kubedos(["init", "targets"], { env, cwd: scratch });
  await writeSpec(spec, { name: "targets", nodes: 3 });
  // Firecracker's machines have no TPM. A file that no other build has: the root is made anew with everything after it.
  const platform = "platform: { state: plain, files: [{ path: /etc/motd, content: CONTENT }] }\n";
  const named = events((await kubedos(["targets", "--json"], { env })).stdout)
    .at(-1)
    .targets.map(({ name }) => name);
  const targets = named.filter((name) => name !== "netinst");
  const text = `${await readFile(spec, "utf8")}targets: [${targets.join(", ")}]\n${platform}`;
  const write = (content) => writeFile(spec, text.replace("CONTENT", JSON.stringify(`${content} ${scratch}`)));
  await write("first");
  await kubedos(["lock", spec], { env });
  await kubedos(["build", spec], { env });
  await write("second");
  const built = await kubedos(["build", spec, "--json"], { env });
  const rows = [
    { what: `${targets.length} targets, from a warm platform`, value: built.seconds, unit: "s", target: "< 60 s" },
  ];
  for (const { type, target, path } of events(built.stdout)) {
    if (type !== "artifact" || !["iso", "netboot"].includes(target)) continue;
    const value = (await stat(path)).size / 1e6;
    rows.push({ what: target, value, unit: "MB", target: target === "iso" ? "< 350 MB" : "" });
  }
  return rows;
}
