import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { deriveBytes, deriveMachineId, deriveSsh, deriveWireguard, operatorOwner } from "./derive.ts";
import { sshPrivateKey, sshPublicLine } from "./openssh.ts";
import { privateKeyFromRaw, publicFromRaw } from "./raw-keys.ts";

const secret = Buffer.alloc(32, 1);
const owner = { cluster: "example", name: "core-1", generation: 1 };

function inDirectory<T>(use: (directory: string) => T): T {
  const directory = mkdtempSync(join(tmpdir(), "kubedos-derive-"));
  try {
    return use(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test("derived keys never change: machines in the field were made with them", () => {
  expect({
    bytes: deriveBytes(secret, owner, "test").toString("hex"),
    wireguard: deriveWireguard(secret, owner, "wg1"),
    ssh: sshPublicLine(deriveSsh(secret, owner).publicKey, "core-1"),
    machineId: deriveMachineId(secret, owner),
    operator: deriveWireguard(secret, { ...owner, name: operatorOwner("alice") }, "wg1").publicKey,
    hostKey: sshPrivateKey(deriveSsh(secret, owner), "core-1.example"),
  }).toMatchInlineSnapshot(`
    {
      "bytes": "09e7cbea2d0bd86980c8b37e58f677d949a9af22bbb10b62eef078d16ba588f7",
      "hostKey": "-----BEGIN OPENSSH PRIVATE KEY-----
    b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
    QyNTUxOQAAACBFy1AQBObYpzxzObkbOah4RU9o4MVnExXfHB1L3cuXPgAAAJjQeet30Hnr
    dwAAAAtzc2gtZWQyNTUxOQAAACBFy1AQBObYpzxzObkbOah4RU9o4MVnExXfHB1L3cuXPg
    AAAECvbcifziS1dR/WF24/a2JIxuIzUA0tmTriHk5ldvH6H0XLUBAE5tinPHM5uRs5qHhF
    T2jgxWcTFd8cHUvdy5c+AAAADmNvcmUtMS5leGFtcGxlAQIDBAUGBw==
    -----END OPENSSH PRIVATE KEY-----
    ",
      "machineId": "50884c72046848189c83abed5a3e2d49",
      "operator": "Wv0pY2blQ+G6jwA9WLVbxNEK4Xmip77zEUMpn5NyF0U=",
      "ssh": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEXLUBAE5tinPHM5uRs5qHhFT2jgxWcTFd8cHUvdy5c+ core-1",
      "wireguard": {
        "privateKey": "sF+oz0cVwkpn6eQtj/Nc2AoaM6Z7Z2yamy9+LAKzYWc=",
        "publicKey": "KtV3kDayJ19gsrJ8LbFyCTPJKL0taCvO/frB1uha9XQ=",
      },
    }
  `);
});

test("openssl's HKDF gives the same bytes from the documented salt and info", () => {
  const options = {
    digest: "SHA256",
    hexkey: secret.toString("hex"),
    salt: "kubedos/v1",
    hexinfo: Buffer.from("example\0core-1\0wireguard/wg1\x001").toString("hex"),
  };
  const args = Object.entries(options).flatMap(([name, value]) => ["-kdfopt", `${name}:${value}`]);
  const printed = execFileSync("openssl", ["kdf", "-keylen", "32", ...args, "HKDF"], { encoding: "utf8" });
  const expected = deriveBytes(secret, owner, "wireguard/wg1").toString("hex");
  expect(printed.trim().replaceAll(":", "").toLowerCase()).toBe(expected);
});

test("wg(8) computes the same public keys", () => {
  for (let generation = 1; generation <= 8; generation++) {
    const keys = deriveWireguard(secret, { ...owner, generation }, "wg1");
    expect(execFileSync("wg", ["pubkey"], { input: keys.privateKey, encoding: "utf8" }).trim()).toBe(keys.publicKey);
  }
});

test("ssh-keygen reads the private key and computes the same public key", () => {
  inDirectory((directory) => {
    for (const comment of ["", "a", "core-1.example", "operator@a-cluster-with-a-long-name"]) {
      const key = deriveSsh(secret, { ...owner, name: `node-${comment.length}` });
      const file = join(directory, `key-${comment.length}`);
      writeFileSync(file, sshPrivateKey(key, comment), { mode: 0o600 });
      const printed = execFileSync("ssh-keygen", ["-y", "-f", file], { encoding: "utf8" }).trim();
      expect(printed).toBe(sshPublicLine(key.publicKey, comment).trim());
    }
  });
});

test("ssh-keygen signs and verifies with a derived key", () => {
  inDirectory((directory) => {
    const key = deriveSsh(secret, owner);
    const file = join(directory, "key");
    writeFileSync(file, sshPrivateKey(key, "me"), { mode: 0o600 });
    writeFileSync(join(directory, "allowed"), `me ${sshPublicLine(key.publicKey, "me")}\n`);
    writeFileSync(join(directory, "message"), "hello");
    const sign = ["-q", "-Y", "sign", "-f", file, "-n", "file", join(directory, "message")];
    execFileSync("ssh-keygen", sign, { stdio: "pipe" });
    const verify = ["-Y", "verify", "-f", join(directory, "allowed"), "-I", "me", "-n", "file"];
    const signature = ["-s", join(directory, "message.sig")];
    expect(execFileSync("ssh-keygen", [...verify, ...signature], { input: "hello", encoding: "utf8" })).toContain(
      "Good",
    );
  });
});

test("a machine-id has the form that machine-id(5) asks for", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
      expect(deriveMachineId(bytes, owner)).toMatch(/^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$/);
    }),
  );
});

test("any difference in cluster, name, purpose or generation gives other keys", () => {
  const part = fc.stringMatching(/^[a-z0-9:/-]{1,6}$/);
  const one = fc.record({ cluster: part, name: part, purpose: part, generation: fc.nat(1000) });
  fc.assert(
    fc.property(one, one, (a, b) => {
      fc.pre(JSON.stringify(a) !== JSON.stringify(b));
      expect(deriveBytes(secret, a, a.purpose)).not.toEqual(deriveBytes(secret, b, b.purpose));
    }),
  );
});

test("an empty name, or one that could pass for two, is refused", () => {
  expect(() => deriveBytes(secret, { ...owner, name: "a\0b" }, "c")).toThrow(/cannot derive keys/);
  expect(() => deriveBytes(secret, { ...owner, cluster: "" }, "c")).toThrow(/cannot derive keys/);
});

test("the fast way to a public key gives what PKCS#8 gives", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (raw) => {
      for (const curve of ["X25519", "Ed25519"] as const) {
        const x = privateKeyFromRaw(curve, raw).export({ format: "jwk" }).x!;
        expect(publicFromRaw(curve, raw).toString("base64url")).toBe(x);
      }
    }),
  );
});

test("each generation has keys of its own", () => {
  const keys = Array.from({ length: 200 }, (_, i) => deriveWireguard(secret, { ...owner, generation: i }, "wg1"));
  expect(new Set(keys.map((key) => key.publicKey)).size).toBe(200);
});
