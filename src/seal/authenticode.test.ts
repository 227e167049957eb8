import { sign } from "node:crypto";
import { beforeAll, expect, test } from "vitest";
import { run } from "../host/run.ts";
import { makeSecureBootKeys } from "../vault/secure-boot.ts";
import type { SecureBootKey } from "../vault/types.ts";
import { addSignature, attachSignature, authenticodeMessage, authenticodeSignature } from "./authenticode.ts";
import { fakeStub } from "./testing.ts";

// Against sbsign itself, byte for byte: tests/boot/signing.test.ts.
const epoch = 1_763_518_374; // 2025-11-19T02:12:54Z
const image = fakeStub(4, Buffer.from("the boot image"));
let db: SecureBootKey;
let other: SecureBootKey;
beforeAll(async () => {
  ({ db, kek: other } = await makeSecureBootKeys("test"));
});

function makeSignature(of = image, key = db.key, certificate = db.certificate): Buffer {
  return authenticodeSignature(of, certificate, epoch, sign("sha256", authenticodeMessage(of, epoch), key));
}

test("openssl reads the detached signature: signer, time, kind of content", async () => {
  const { stdout } = await run("openssl", ["asn1parse", "-inform", "DER"], { input: makeSignature() });
  expect(stdout).toContain("pkcs7-signedData");
  expect(stdout).toContain("UTCTIME           :251119021254Z");
  expect(stdout.split("1.3.6.1.4.1.311.2.1.4").length - 1).toBe(2);
  const certificates = await run("openssl", ["pkcs7", "-inform", "DER", "-print_certs"], { input: makeSignature() });
  expect(certificates.stdout).toContain("subject=CN = kubedos signature database key test");
});

test("attached: only checksum and directory change, then the table follows; the same bytes every time", () => {
  const signed = attachSignature(image, makeSignature());
  expect(signed.equals(attachSignature(image, makeSignature()))).toBe(true);
  const differing = [...image.keys()].filter((at) => image[at] !== signed[at]);
  const optional = image.readUInt32LE(0x3c) + 24;
  const allowed = new Set([64, 65, 66, 67, 144, 145, 146, 147, 148, 149, 150, 151].map((at) => optional + at));
  expect(differing.every((at) => allowed.has(at))).toBe(true);
  expect(signed.readUInt32LE(optional + 144)).toBe(image.length);
  expect(signed.subarray(image.length + 8, image.length + 8 + makeSignature().length).equals(makeSignature())).toBe(
    true,
  );
});

test("a signature by another key, of another image or nonsense is refused with its reason; so is a second one", () => {
  expect(() => makeSignature(image, other.key)).toThrow("is not by the Secure Boot certificate's key");
  const moved = Buffer.from(image);
  moved[600] = moved[600]! ^ 1;
  expect(() => attachSignature(moved, makeSignature())).toThrow("of another boot image");
  for (const bytes of [Buffer.alloc(0), Buffer.from("nonsense"), makeSignature().subarray(0, 100)]) {
    expect(() => attachSignature(image, bytes)).toThrow("not a detached Authenticode signature");
  }
  expect(() => attachSignature(attachSignature(image, makeSignature()), makeSignature())).toThrow("already");
});

test("one more signature: the same digest is signed, the first signature stays, the table grows", () => {
  const first = attachSignature(image, makeSignature(image, other.key, other.certificate));
  const both = addSignature(first, makeSignature(first));
  const optional = image.readUInt32LE(0x3c) + 24;
  const tableAt = both.readUInt32LE(optional + 144);
  expect(both.readUInt32LE(optional + 148)).toBe(both.length - tableAt);
  expect(both.subarray(tableAt, first.length).equals(first.subarray(tableAt))).toBe(true);
  expect(
    both
      .subarray(first.length + 8)
      .subarray(0, makeSignature().length)
      .equals(makeSignature()),
  ).toBe(true);
});
