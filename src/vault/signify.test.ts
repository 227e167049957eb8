import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  parseSignifyPublicKey,
  signifyPublicKey,
  signifyPublicKeyBase64,
  signifySign,
  signifyVerify,
} from "./signify.ts";
import { fixedVault } from "./testing.ts";

const { signing } = fixedVault(1);
const other = fixedVault(2).signing;
const message = Buffer.from("a message\0with any bytes\xff", "latin1");
let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "kubedos-signify-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

function file(name: string, content: string | Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

function debianVerifies(publicKey: string, signature: string, content: Uint8Array): number | null {
  const args = ["-V", "-q", "-p", file("pub", publicKey), "-x", file("sig", signature), "-m", file("message", content)];
  const { status, error } = spawnSync("signify-openbsd", args);
  if (error !== undefined) throw error;
  return status;
}

test("Debian's signify accepts our key and signature, and only those", () => {
  const publicKey = signifyPublicKey(signing.publicKey);
  expect(debianVerifies(publicKey, signifySign(signing, message), message)).toBe(0);
  expect(debianVerifies(publicKey, signifySign(signing, message), Buffer.from("another"))).not.toBe(0);
  expect(debianVerifies(publicKey, signifySign(other, message), message)).not.toBe(0);
});

test("we accept what Debian's signify makes", () => {
  const [publicKey, secretKey] = [join(directory, "made.pub"), join(directory, "made.sec")];
  execFileSync("signify-openbsd", ["-G", "-n", "-p", publicKey, "-s", secretKey]);
  const [made, signature] = [file("made", message), join(directory, "made.sig")];
  execFileSync("signify-openbsd", ["-S", "-s", secretKey, "-m", made, "-x", signature]);
  const read = (path: string) => execFileSync("cat", [path], { encoding: "utf8" });
  expect(signifyVerify(read(publicKey), message, read(signature))).toBe("valid");
  expect(signifyVerify(read(publicKey), Buffer.from("another"), read(signature))).toBe("invalid");
});

test("a signature tells an altered message from a foreign key", () => {
  const publicKey = signifyPublicKey(signing.publicKey);
  expect(signifyVerify(publicKey, message, signifySign(signing, message))).toBe("valid");
  expect(signifyVerify(publicKey, Buffer.from("x"), signifySign(signing, message))).toBe("invalid");
  expect(signifyVerify(publicKey, message, signifySign(other, message))).toBe("foreign");
});

test("signatures are the same at every run", () => {
  expect(signifySign(signing, message)).toBe(signifySign(signing, message));
  expect(signifyPublicKey(signing.publicKey)).toMatchInlineSnapshot(`
    "untrusted comment: kubedos foundry public key
    RWQK6Q42DgrehNYvAWoe/R5P33k+tCzYRHHhup8M8E0Sh7XMcfYWKHy4
    "
  `);
});

test("the pinned form is the key file's second line", () => {
  expect(signifyPublicKey(signing.publicKey).split("\n")[1]).toBe(signifyPublicKeyBase64(signing.publicKey));
});

test.each([
  ["nothing", ""],
  ["no comment", "RWQ=\n"],
  ["not base64", "untrusted comment: x\n!!!!\n"],
  ["a signature in place of a key", signifySign(signing, message)],
  ["more than one key", `${signifyPublicKey(signing.publicKey)}more\n`],
  ["another algorithm", `untrusted comment: x\n${Buffer.from(`Xd${"x".repeat(40)}`).toString("base64")}\n`],
])("not a public key: %s", (_what, text) => {
  expect(() => parseSignifyPublicKey(text)).toThrow(/not a signify public key/);
});
