/** `Origin` of every repository that kubedos makes: what apt pins by (apt_preferences(5), `release o=`). */
export const repositoryOrigin = "kubedos";

/** The one component and architecture. */
export const component = "main";
export const indexDirectory = `${component}/binary-amd64`;
/** Where the index of the installer's parts (udebs) is. */
export const installerDirectory = `${component}/debian-installer/binary-amd64`;

/** File name of the certificate that `Signed-By` names, in the repository's root. */
export const certificateName = "archive.asc";

/** The certificate, what is signed with it, and the signatures: all of a repository that somebody without the key needs. */
export function signedFiles(suite: string): string[] {
  return [certificateName, ...["Release", "InRelease", "Release.gpg"].map((name) => `dists/${suite}/${name}`)];
}

/** Folders of what a lock has beside Debian's packages. */
export const inputFolders = { python: "python", files: "files", images: "images" } as const;

/** `sha256sum` list of all files in these folders, and its detached OpenPGP signature by the archive key. */
export const sumsName = "SHA256SUMS";
export const sumsSignatureName = "SHA256SUMS.asc";
