// npm run bench [-- --only build,mkosi,scale,proof,chain,targets,nspawn,converge,salt,qemu] [--nodes 3,20] [--json FILE]
// --nodes: of the convergence.
// Measures what the project promises about speed and size, beside mkosi on the same machine in the same run, and prints
// a table for docs/SPECIFICATION.md. Needs root (mkosi, nspawn). Nothing here is a test: it asserts nothing.
import { writeFile } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { benchBuild } from "./bench/build.mjs";
import { benchConverge, benchSalt } from "./bench/converge.mjs";
import { benchMachines } from "./bench/machines.mjs";
import { benchMkosi } from "./bench/mkosi.mjs";
import { benchProof } from "./bench/proof.mjs";
import { benchScale } from "./bench/scale.mjs";
import { benchSupplyChain } from "./bench/supply-chain.mjs";
import { benchTargets } from "./bench/targets.mjs";
import { scratchDirectory } from "./bench/support.mjs";

const argument = (name) => {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
};
const counts = (argument("--nodes") ?? "3,6,10,20").split(",").map(Number);

const parts = {
  build: benchBuild,
  mkosi: benchMkosi,
  scale: benchScale,
  proof: benchProof,
  chain: benchSupplyChain,
  targets: benchTargets,
  nspawn: (scratch) => benchMachines(scratch, "nspawn", [3, 10]),
  converge: (scratch) => benchConverge(scratch, counts),
  salt: benchSalt,
  qemu: (scratch) => benchMachines(scratch, "qemu", [3]),
};

const chosen = argument("--only")?.split(",") ?? Object.keys(parts);
const unknown = chosen.filter((name) => !(name in parts));
if (unknown.length > 0) {
  console.error(`error: no such part: ${unknown.join(", ")}\n  hint: parts are ${Object.keys(parts).join(", ")}`);
  process.exit(2);
}

const scratch = await scratchDirectory();
const rows = [];
try {
  for (const name of chosen) {
    console.error(`bench: ${name}`);
    rows.push(...(await parts[name](scratch.directory)));
  }
} finally {
  await scratch.remove();
}
const ours = rows.find((row) => row.id === "rebuild");
for (const row of rows.filter((one) => one.id?.startsWith("mkosi") && ours !== undefined)) {
  row.note = `${(row.value / ours.value).toFixed(1)} times kubedos' rebuild`;
}
const machine = `${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, ${cpus()[0]?.model.trim()}`;
console.log(`Machine: ${machine}\n`);
console.log("| what | measured | target | |\n|---|---|---|---|");
for (const { what, value, unit, target, note } of rows) {
  console.log(`| ${what} | ${value.toFixed(unit === "s" ? 2 : 1)} ${unit} | ${target ?? ""} | ${note ?? ""} |`);
}
const file = argument("--json");
if (file !== undefined) await writeFile(file, `${JSON.stringify({ machine, rows }, undefined, 2)}\n`);
