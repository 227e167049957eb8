import { KubedosError } from "../../shared/error.ts";
import { readTarMembers } from "../seal/sbom-tar.ts";
import { openpgpArmoredCertificate, openpgpClearsign, openpgpSign, type OpenpgpKey } from "../vault/openpgp.ts";
import { signedFiles, sumsName, sumsSignatureName } from "./names.ts";

/** Signs Release files and lists of hashes. Times are seconds since 1970. */
export interface ArchiveSigner {
  /** Armored certificate of the key. */
  certificate: string;
  /** Text of `InRelease`. */
  clearsign(release: string, at: number): string;
  /** Text of `Release.gpg` or `SHA256SUMS.asc`. */
  sign(release: string, at: number): string;
}

/** Signs with the key itself. */
export function keySigner(key: OpenpgpKey): ArchiveSigner {
  return {
    certificate: openpgpArmoredCertificate(key),
    clearsign: (release, at) => openpgpClearsign(key, release, at),
    sign: (release, at) => openpgpSign(key, Buffer.from(release), at),
  };
}

/**
 * Signs what was signed before, without the key: with the signatures in published tars, of a whole repository or of its
 * signed files alone. Another Release file gets none, and a comparison shows that it differs.
 *
 * @param files of the same foundry, at least one
 * @throws KubedosError when a tar holds no repository of the suite
 */
export async function signerOfPublished(files: readonly string[], suite: string): Promise<ArchiveSigner> {
  const detached = new Map<string, string>();
  const inside = new Map<string, string>();
  let certificate = "";
  for (const file of files) {
    const names = [...signedFiles(suite), sumsName, sumsSignatureName];
    const members = await readTarMembers(file, (path) => names.includes(path));
    const texts = names.map((name) => members.find(({ path }) => path === name)?.content.toString());
    const [key, release, inRelease, signature, sums, sumsSignature = ""] = texts;
    if (key === undefined || release === undefined || inRelease === undefined || signature === undefined) {
      throw new KubedosError("failed", `${file} is not a repository of ${suite}`, {
        hint: "use a whole copy of the output, or rebuild with the vault: `kubedos build --check`",
      });
    }
    certificate = key;
    inside.set(release, inRelease);
    detached.set(release, signature);
    if (sums !== undefined) detached.set(sums, sumsSignature);
  }
  return {
    certificate,
    clearsign: (text) => inside.get(text) ?? text,
    sign: (text) => detached.get(text) ?? "",
  };
}
