import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../../shared/error.ts";
import { readSections } from "../uki.ts";
import type { Stage } from "../../assemble/engine.ts";
import { runScript, scriptVersion, type Tools } from "../../assemble/tools.ts";

/** A shim before the boot image: firmware starts it by Microsoft's signature, or by the foundry's. */
export interface Shim {
  /** Outputs `unsigned`, which has Microsoft's signature, `manager` and `denied`. */
  files: Stage;
  /** Its output `uki` is the shim with the foundry's signature beside Microsoft's. */
  sign: Stage;
  /** The certificate (DER) that the machine's operator enrols. */
  certificate: { sha256: string };
}

/** What starts by a shim holds these: `shim` with both signatures, `manager`, `certificate`. */
export function shimInputs({ files, sign, certificate }: Shim): Stage["inputs"] {
  return {
    shim: { stage: sign, output: "uki" },
    manager: { stage: files, output: "manager" },
    certificate,
  };
}

/** Debian's packages that shims are taken from. */
export interface ShimPackages {
  shim: { sha256: string };
  helpers: { sha256: string };
}

/**
 * Debian's shim, and MokManager (`manager`), by which the operator of a machine enrols a certificate. This shim trusts
 * Debian's certificate whatever is enrolled; `denied` is a variable `dbx` with that, as virt-fw-vars reads it.
 * https://github.com/rhboot/shim
 */
export function shimStage(tools: Tools, packages: ShimPackages): Stage {
  return {
    name: "shim",
    version: `1 ${scriptVersion(tools, "shim.sh")}`,
    options: {},
    inputs: { ...packages },
    outputs: ["unsigned", "manager", "denied"],
    async run(work) {
      await runScript(tools, work, "shim.sh");
      const vendor = vendorCertificate(await readFile(join(work.out, "unsigned")));
      await writeFile(join(work.out, "denied"), deniedVariable(vendor));
    },
  };
}

/** What a shim trusts by itself (DER). The section is a table of two sizes and two offsets, then the lists (cert.S). */
function vendorCertificate(shim: Buffer): Buffer {
  const section = readSections(shim).find(({ name }) => name === ".vendor_cert");
  if (section === undefined) throw new KubedosError("failed", "Debian's shim has no section .vendor_cert");
  const table = shim.subarray(section.offset, section.offset + section.sizeBytes);
  const [sizeBytes, offset] = [table.readUInt32LE(0), table.readUInt32LE(8)];
  return table.subarray(offset, offset + sizeBytes);
}

const x509Guid = Buffer.from("a159c0a5e494a74a87b5ab155c2bf072", "hex");
/** Non-volatile, for boot and runtime, with time-based authentication. */
const dbxAttributes = 0x27;

/** EFI_SIGNATURE_LIST with one certificate (UEFI 2.10, 32.4.1) as the variable `dbx`. */
function deniedVariable(certificate: Buffer): string {
  const header = Buffer.alloc(12);
  const signatureBytes = 16 + certificate.length;
  header.writeUInt32LE(28 + signatureBytes, 0);
  header.writeUInt32LE(signatureBytes, 8);
  const list = Buffer.concat([x509Guid, header, Buffer.alloc(16), certificate]);
  const variable = {
    name: "dbx",
    guid: "d719b2cb-3d3a-4596-a3bc-dad00e67656f",
    attr: dbxAttributes,
    data: list.toString("hex"),
    time: "00".repeat(16),
  };
  return JSON.stringify({ version: 2, variables: [variable] });
}
