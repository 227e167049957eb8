import { X509Certificate } from "node:crypto";
import { expect, test } from "vitest";
import { fakeSpec } from "../../tests/fakes/spec.ts";
import { fixedVault } from "../vault/testing.ts";
import { clusterAuthorities, nodeCertificates, operatorCertificate } from "./certificates.ts";
import { buildSeed } from "./seed.ts";

const vault = fixedVault();
const issuedAt = new Date("2026-03-01T12:00:00Z");

test("a node's certificates name it on every plane and go into its seed; the same instant gives the same seed", async () => {
  const spec = fakeSpec();
  const authorities = await clusterAuthorities(spec, vault);
  const certificates = await nodeCertificates(spec, vault, authorities, "core-1", issuedAt);
  expect(Object.keys(certificates)).toEqual([
    "kubedos.pki.agent.crt",
    "kubedos.pki.agent.key",
    "kubedos.pki.etcd.crt",
    "kubedos.pki.etcd.key",
    "kubedos.pki.telemetry.crt",
    "kubedos.pki.telemetry.key",
  ]);
  const etcd = new X509Certificate(certificates["kubedos.pki.etcd.crt"]!);
  expect(etcd.subject).toBe("O=example\nCN=core-1");
  expect(etcd.subjectAltName).toBe(
    "DNS:core-1, DNS:core-1.example, DNS:core-1.wg1.example, DNS:core-1.wg2.example, DNS:core-1.wg3.example, " +
      "DNS:localhost, IP Address:10.101.0.2, IP Address:10.102.0.2, IP Address:10.103.0.2, IP Address:127.0.0.1",
  );
  const { disk, credentials } = buildSeed(spec, vault, "core-1", certificates);
  expect(Buffer.from(credentials["kubedos.pki.etcd.crt"]!).toString()).toBe(certificates["kubedos.pki.etcd.crt"]);
  expect(disk.length).toBeLessThan(32 * 1024);
  const again = await nodeCertificates(spec, vault, await clusterAuthorities(spec, vault), "core-1", issuedAt);
  expect(Buffer.from(buildSeed(spec, vault, "core-1", again).disk).equals(Buffer.from(disk))).toBe(true);
  await expect(nodeCertificates(spec, vault, authorities, "stranger", issuedAt)).rejects.toThrow(/no node "stranger"/);
});

test("an operator's certificate has a name that no node can have", async () => {
  const spec = fakeSpec();
  spec.trust.operators = [{ name: "core-1", slot: 1 }];
  const { certificate } = await operatorCertificate(
    spec,
    vault,
    await clusterAuthorities(spec, vault),
    "core-1",
    issuedAt,
  );
  expect(new X509Certificate(certificate).subject).toBe("O=example\nCN=operator:core-1");
});
