import { KubedosError } from "../../shared/error.ts";
import { readTarMembers } from "../seal/sbom-tar.ts";
import { openpgpArmoredCertificate, openpgpClearsign, openpgpSign, type OpenpgpKey } from "../vault/openpgp.ts";
import { certificateName, sumsName, sumsSignatureName } from "./names.ts";

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
 * Signs what was signed before, without the key: with the signatures in a published `NAME.darksite.tar`. Another Release
 * file gets none, and a comparison shows that it differs.
 *
 * @throws KubedosError when the tar is no repository of the suite
 */
export async function signerOfPublished(file: string, suite: string): Promise<ArchiveSigner> {
  const dists = ["Release", "InRelease", "Release.gpg"].map((name) => `dists/${suite}/${name}`);
  const names = [certificateName, ...dists, sumsName, sumsSignatureName];
  const members = await readTarMembers(file, (path) => names.includes(path));
  const texts = names.map((name) => members.find(({ path }) => path === name)?.content.toString());
  const [certificate, release, inRelease, detached, sums, sumsSignature = ""] = texts;
  if (certificate === undefined || release === undefined || inRelease === undefined || detached === undefined) {
    throw new KubedosError("failed", `${file} is not a repository of ${suite}`, {
      hint: "use a whole copy of the output, or rebuild with the vault: `kubedos build --check`",
    });
  }
  return {
    certificate,
    clearsign: (text) => (text === release ? inRelease : text),
    sign: (text) => (text === release ? detached : text === sums ? sumsSignature : ""),
  };
}
