import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, createServer } from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pkiPurposes } from "../../shared/pki.ts";
import { type Authorities, deriveAuthorities, issueLeaf, type Leaf, publicAuthorities } from "./pki.ts";
import { fixedVault } from "./testing.ts";
import { readCertificate } from "./x509.ts";

const vault = fixedVault();
const issuedAt = new Date("2026-03-01T12:00:00.400Z");

let directory: string;
let authorities: Authorities;
let foreign: Authorities;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "kubedos-pki-"));
  authorities = await deriveAuthorities(vault, "example", 1);
  foreign = await deriveAuthorities(fixedVault(2), "example", 1);
});
afterAll(() => rmSync(directory, { recursive: true }));

function leafOf(
  name: string,
  change: Partial<Parameters<typeof issueLeaf>[2]> = {},
  from = authorities,
): Promise<Leaf> {
  return issueLeaf(vault, from, {
    purpose: "etcd",
    owner: { cluster: "example", name, generation: 1 },
    commonName: name,
    names: { dns: [name, "localhost"], ip: ["10.103.0.2", "127.0.0.1"] },
    issuedAt,
    days: 90,
    ...change,
  });
}

function path(name: string, content: string): string {
  writeFileSync(join(directory, name), content);
  return join(directory, name);
}

/** OpenSSL's verdict on a chain, at an instant. */
function verify(trusted: string, chain: string, at = "2026-04-01T00:00:00Z"): string {
  const args = ["verify", "-x509_strict", "-partial_chain", "-attime", String(Date.parse(at) / 1000)];
  try {
    const files = ["-CAfile", path("ca", trusted), "-untrusted", path("chain", chain), path("leaf", chain)];
    return execFileSync("openssl", [...args, "-purpose", "sslserver", ...files], { encoding: "utf8", stdio: "pipe" });
  } catch (error) {
    return (error as { stderr: string }).stderr;
  }
}

test("OpenSSL accepts a node's certificate from its purpose's authority, and from the root through it", async () => {
  const { certificate } = await leafOf("core-1");
  const { root, authorities: cas } = publicAuthorities(authorities);
  expect(verify(cas.etcd, certificate)).toMatch(/OK$/m);
  expect(verify(root, certificate)).toMatch(/OK$/m);
  expect(verify(cas.agent, certificate)).toMatch(/unable to get (local )?issuer certificate/);
  expect(verify(publicAuthorities(foreign).root, certificate)).toMatch(
    /unable to get (local )?issuer|signature failure/,
  );
});

test("a certificate is valid from a day before it was issued for as many days as asked, and not longer", async () => {
  const { certificate } = await leafOf("core-1", { days: 2 });
  const { etcd } = publicAuthorities(authorities).authorities;
  expect(readCertificate(certificate)).toEqual({
    subject: "core-1",
    issuer: "example etcd",
    notBeforeMs: Date.parse("2026-02-28T12:00:00Z"),
    notAfterMs: Date.parse("2026-03-03T12:00:00Z"),
  });
  expect(verify(etcd, certificate, "2026-03-03T11:59:00Z")).toMatch(/OK$/m);
  expect(verify(etcd, certificate, "2026-03-03T12:01:00Z")).toMatch(/certificate has expired/);
  expect(verify(etcd, certificate, "2026-02-28T11:59:00Z")).toMatch(/not yet valid/);
});

test("the same vault and instant give the same bytes; a generation gives other keys, an instant another certificate", async () => {
  const one = await leafOf("core-1");
  expect(await leafOf("core-1")).toEqual(one);
  expect(await deriveAuthorities(vault, "example", 1)).toEqual(authorities);
  expect((await deriveAuthorities(vault, "example", 2)).root.certificate).not.toBe(authorities.root.certificate);
  const raised = await leafOf("core-1", { owner: { cluster: "example", name: "core-1", generation: 2 } });
  expect(raised.key).not.toBe(one.key);
  const renewed = await leafOf("core-1", { issuedAt: new Date("2026-06-01T00:00:00Z") });
  expect(renewed.key).toBe(one.key);
  expect(new X509Certificate(renewed.certificate).serialNumber).not.toBe(
    new X509Certificate(one.certificate).serialNumber,
  );
});

test("a node cannot act as an authority, and one purpose's authority makes no other authority", async () => {
  const leaf = await leafOf("core-1");
  expect(new X509Certificate(leaf.certificate).ca).toBe(false);
  for (const purpose of pkiPurposes) {
    const text = execFileSync("openssl", ["x509", "-noout", "-ext", "basicConstraints,keyUsage"], {
      input: authorities.purposes[purpose].certificate,
      encoding: "utf8",
    });
    expect(text).toMatch(/CA:TRUE, pathlen:0/);
    expect(text).toMatch(/Certificate Sign/);
  }
});

test("no private key of an authority, nor the foundry secret, is in what nodes get", async () => {
  const leaf = await leafOf("core-1");
  const text = JSON.stringify([publicAuthorities(authorities), leaf]);
  const hidden = [authorities.root, ...Object.values(authorities.purposes)].map((one) => Buffer.from(one.key.seed));
  for (const secret of [...hidden, Buffer.from(vault.foundrySecret)]) {
    expect(text).not.toContain(secret.toString("base64").slice(0, 40));
    expect(text).not.toContain(secret.toString("hex"));
  }
  expect(text.match(/PRIVATE KEY/g)).toHaveLength(2);
});

/** What a TLS client that trusts one authority says to a server with this certificate. */
async function meet(server: Leaf, ca: string): Promise<string> {
  const listener = createServer({ cert: server.certificate, key: server.key }, (socket) => socket.end("yes"));
  listener.on("tlsClientError", () => undefined);
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const { port } = listener.address() as { port: number };
  try {
    return await new Promise<string>((resolve) => {
      const socket = connect({ port, host: "127.0.0.1", ca, allowPartialTrustChain: true });
      socket.on("data", (data) => resolve(data.toString()));
      socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    });
  } finally {
    listener.close();
  }
}

test("a client takes a node's certificate, and none of another purpose, foundry, address or time", async () => {
  const now = new Date();
  const { etcd } = publicAuthorities(authorities).authorities;
  expect(await meet(await leafOf("core-1", { issuedAt: now }), etcd)).toBe("yes");
  const long = new Date(now.getTime() - 100 * 24 * 3600 * 1000);
  const verdicts = [
    await meet(await leafOf("core-1", { issuedAt: now, purpose: "agent" }), etcd),
    await meet(await leafOf("core-1", { issuedAt: now }, foreign), etcd),
    await meet(await leafOf("core-1", { issuedAt: now, names: { dns: ["core-1"], ip: ["10.103.0.2"] } }), etcd),
    await meet(await leafOf("core-1", { issuedAt: long }), etcd),
  ];
  expect(verdicts).toEqual([
    "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
    expect.stringMatching(/ISSUER_CERT|SIGNATURE/),
    "ERR_TLS_CERT_ALTNAME_INVALID",
    "CERT_HAS_EXPIRED",
  ]);
});
