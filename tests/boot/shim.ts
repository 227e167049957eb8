import { constants } from "node:fs";
import { chmod, copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../../src/host/run.ts";
import { partitionOffset, sandbox } from "./image.ts";
import type { BuiltLab, Scratch } from "./support.ts";

type Project = BuiltLab["project"];

/** OVMF's variables with the keys that machines are sold with, and the foundry's certificate as MokManager enrols it. */
export async function enrolledVariables(scratch: Scratch, project: Project, name: string): Promise<string> {
  const certificate = join(scratch.directory, `${name}.pem`);
  await writeFile(certificate, project.vault.secureBoot.db.certificate);
  const out = join(scratch.directory, "enrolled");
  const owner = "6b1d2a8e-3c1f-4a52-9f0e-ba9876543210";
  const enrol = ["--add-mok", owner, "/in/certificate", "--output", `/out/${name}.fd`];
  const soldWith = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";
  await sandbox({ project }, ["virt-fw-vars", "--input", soldWith, ...enrol], { certificate }, out);
  return join(out, `${name}.fd`);
}

/** The artifact netboot as it is without `trust.shim`. */
export async function netbootWithoutShim(scratch: Scratch, artifact: string): Promise<string> {
  const copy = join(scratch.directory, "without-shim.tar");
  await copyFile(artifact, copy, constants.COPYFILE_FICLONE);
  await chmod(copy, 0o600);
  await run("tar", ["--delete", `--file=${copy}`, "grubx64.efi", "kubedos.cer", "mmx64.efi", "shimx64.efi"]);
  return copy;
}

/** The medium as it starts without `trust.shim`, in a directory of its own. */
export async function mediumWithoutShim(project: Project, medium: string, directory: string): Promise<string> {
  await mkdir(directory);
  const iso = join(directory, "iso");
  await copyFile(medium, iso, constants.COPYFILE_FICLONE);
  await chmod(iso, 0o600);
  const esp = `/out/iso@@${await partitionOffset(iso, "Appended2")}`;
  const [behind, first] = ["::/EFI/BOOT/GRUBX64.EFI", "::/EFI/BOOT/BOOTX64.EFI"];
  const copy = `mcopy -i ${esp} ${behind} /work/uki && mdel -i ${esp} ${behind} && mcopy -o -i ${esp} /work/uki ${first}`;
  await sandbox({ project }, ["sh", "-c", copy], {}, directory);
  return iso;
}
