import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { archiveKey } from "./archive-key.ts";
import {
  openpgpArmoredCertificate,
  openpgpCertificate,
  openpgpClearsign,
  openpgpFingerprint,
  openpgpSign,
} from "./openpgp.ts";
import { publicFromRaw } from "./raw-keys.ts";

const vault = {
  foundrySecret: Buffer.alloc(32, 7),
  signing: { seed: Buffer.alloc(32), publicKey: Buffer.alloc(32, 1) },
};
const key = archiveKey(vault);
const at = 1_767_225_600; // 2026-01-01
const release = "Origin: test\nSuite: trixie \n- a line with a dash\n\nSHA256:\n abc\t\n";

let directory: string;
let keyring: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "kubedos-openpgp-"));
  keyring = join(directory, "key.gpg");
  writeFileSync(keyring, openpgpCertificate(key));
});
afterAll(() => rmSync(directory, { recursive: true }));

function file(name: string, content: string): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

/** gpgv(1): what apt up to 2.x, and on many architectures 3.x, asks. */
function gpgv(...files: string[]): { status: number | null; text: string } {
  const { status, stdout, stderr } = spawnSync("gpgv", ["--status-fd=1", "--keyring", keyring, ...files], {
    encoding: "utf8",
  });
  return { status, text: `${stdout}${stderr}` };
}

test("GnuPG reads the certificate, its fingerprint, its time and what it may do", () => {
  const text = execFileSync("gpg", ["--homedir", directory, "--batch", "--with-colons", "--show-keys", keyring], {
    encoding: "utf8",
  });
  expect(text).toMatch(/^pub:-:255:22:[0-9A-F]{16}:1577836800:::-:::sc/m);
  expect(text).toContain(`:${openpgpFingerprint(key)}:`);
  expect(text).toContain(":kubedos archive key 01010101:");
  const armored = file("key.asc", openpgpArmoredCertificate(key));
  expect(
    execFileSync("gpg", ["--homedir", directory, "--batch", "--with-colons", "--show-keys", armored]).toString(),
  ).toBe(text);
});

describe("gpgv", () => {
  test("accepts a detached signature, and no other text", () => {
    const signature = file("Release.gpg", openpgpSign(key, Buffer.from(release), at));
    const { status, text } = gpgv(signature, file("Release", release));
    expect(text).toContain(`VALIDSIG ${openpgpFingerprint(key)} 2026-01-01 ${at} `);
    expect(status).toBe(0);
    expect(gpgv(signature, file("Release", release.replace("test", "tesu"))).text).toContain("BADSIG");
  });

  test("accepts a cleartext signature, with dashes and trailing white space in the text, and no other text", () => {
    const signed = openpgpClearsign(key, release, at);
    expect(gpgv(file("InRelease", signed))).toMatchObject({ status: 0 });
    expect(gpgv(file("InRelease", signed.replace("trixie", "trixia"))).text).toContain("BADSIG");
  });

  test("does not know another foundry's key", () => {
    const other = archiveKey({ ...vault, foundrySecret: Buffer.alloc(32, 8) });
    expect(gpgv(file("InRelease", openpgpClearsign(other, release, at))).text).toContain("NO_PUBKEY");
  });

  test("accepts the signature of any key over any text", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), fc.string({ unit: "binary" }), (seed, text) => {
        const any = { ...key, seed, publicKey: publicFromRaw("Ed25519", seed) };
        writeFileSync(keyring, openpgpCertificate(any));
        const outcome = gpgv(file("any.sig", openpgpSign(any, Buffer.from(text), at)), file("any", text));
        writeFileSync(keyring, openpgpCertificate(key));
        expect(outcome).toMatchObject({ status: 0 });
      }),
      { numRuns: 12 },
    );
  });
});

test("a signature whose halves begin with zero bits is written as GnuPG reads it", () => {
  const sizeOf = (text: string) => openpgpSign(key, Buffer.from(text), at).replaceAll("=", "").length;
  const usual = Math.max(...["a", "b", "c", "d"].map(sizeOf));
  let index = 0;
  while (sizeOf(String(index)) === usual) index++;
  const short = String(index);
  expect(gpgv(file("short.sig", openpgpSign(key, Buffer.from(short), at)), file("short", short))).toMatchObject({
    status: 0,
  });
});

test("the same key, text and time give the same bytes, and the key does not change between versions", () => {
  expect(openpgpClearsign(key, release, at)).toBe(openpgpClearsign({ ...key }, release, at));
  expect(openpgpFingerprint(key)).toMatchInlineSnapshot(`"37475D1126BE181D47B0A906A98C168403981707"`);
});
