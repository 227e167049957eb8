// Proof: double build, verify, rebuild, capsule; sizes.
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { kubedos, timed, writeSpec } from "./support.mjs";

export async function benchProof(scratch) {
  const directory = join(scratch, "proof");
  await timed("mkdir", ["-p", directory]);
  const spec = join(directory, "lab.yaml");
  const env = { KUBEDOS_CONFIG: join(directory, "config") };
  const rows = [];
  const add = (what, seconds, target) => rows.push({ what, value: seconds, unit: "s", target });

  await kubedos(["init", "lab"], { env, cwd: directory });
  await writeSpec(spec, { name: "lab", nodes: 3 });
  await kubedos(["lock", spec], { env });
  await kubedos(["build", spec], { env });
  const out = join(directory, "out/lab");
  const key = join(directory, "trusted.pub");
  await copyFile(join(out, "foundry.pub"), key);

  add("build --check of the lab", (await kubedos(["build", spec, "--check"], { env })).seconds, "< 180 s");
  add(
    "verify of the raw image, every byte",
    (await kubedos(["verify", join(out, "lab.raw"), "--key", key], { env })).seconds,
    "< 10 s",
  );
  add("verify --rebuild of the lab", (await kubedos(["verify", out, "--key", key, "--rebuild"], { env })).seconds, "");

  const capsule = join(directory, "capsule");
  add("capsule created", (await kubedos(["capsule", "create", spec, "-o", capsule], { env })).seconds, "< 60 s");
  const iso = join(directory, "lab.iso");
  add("capsule created as an ISO", (await kubedos(["capsule", "create", spec, "-o", iso], { env })).seconds, "< 60 s");
  const { stdout } = await timed("du", ["--summarize", "--bytes", capsule]);
  rows.push({ what: "capsule", value: Number(stdout.split("\t")[0]) / 1e6, unit: "MB", target: "< 700 MB" });
  add("capsule verified", (await kubedos(["capsule", "verify", capsule, "--key", key], { env })).seconds, "");
  const work = { KUBEDOS_CAPSULE_WORK: join(directory, "work"), KUBEDOS_CLOCK: "+631138520" };
  const rebuilt = await timed("unshare", ["--net", "sh", join(capsule, "kubedos.sh")], { env: work });
  add("capsule rebuilt: no network, 20 years ahead, its own tools", rebuilt.seconds, "< 240 s");
  return rows;
}
