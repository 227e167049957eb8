import { operatorAccess } from "../../src/fabric/keys.ts";
import { clusterLayer } from "../../src/fabric/layer.ts";
import { runInNetwork } from "../../src/substrates/network.ts";
import { connectOperator, operatorInterface } from "../../src/substrates/operator.ts";
import { qemuSubstrate } from "../../src/substrates/qemu/index.ts";
import { fixedVault } from "../../src/vault/testing.ts";
import { makeLab, removeLab } from "./lab.ts";

/** Run by rootless.test.ts as an ordinary user: a machine and the operator's peer, up and down again. */
const lab = await makeLab("qemu");
try {
  lab.spec.trust.operators = [{ name: "admin", slot: 1 }];
  const layer = clusterLayer(lab.spec, fixedVault(), { openings: [] });
  const missing = await qemuSubstrate.missing();
  if (missing.length > 0) throw new Error(`missing: ${JSON.stringify(missing)}`);
  await qemuSubstrate.prepare(lab, lab.context);
  await qemuSubstrate.start(lab, lab.spec.nodes[0]!, lab.seed, lab.context);
  await connectOperator(lab.paths, layer, operatorAccess(lab.spec, fixedVault(), "admin"), lab.context);
  const { stdout: links } = await runInNetwork(lab.paths, "ip", ["-j", "link", "show"], lab.context);
  const status = await qemuSubstrate.status(lab);
  await qemuSubstrate.destroy(lab, lab.context);
  const after = await qemuSubstrate.status(lab);
  const names = (JSON.parse(links) as { ifname: string; master?: string }[]).map((link) => link.ifname);
  const peer = names.includes(operatorInterface);
  process.stdout.write(JSON.stringify({ uid: process.getuid?.(), missing, names, peer, status, after }));
} finally {
  await qemuSubstrate.destroy(lab, lab.context);
  await removeLab(lab);
}
