/** Names of everything that a build publishes beside these artifacts, sorted. */
export function publishedFiles(artifacts: readonly string[]): string[] {
  const documents = [
    "boot.efi.p7",
    "foundry.pem",
    "foundry.pub",
    "manifest.json",
    "manifest.json.cosign",
    "manifest.json.sig",
    "provenance.intoto.jsonl",
    "sbom.cdx.json",
    "sbom.spdx.json",
    "secureboot-db.pem",
    "secureboot-kek.pem",
    "secureboot-pk.pem",
  ];
  return [...artifacts, ...documents].toSorted();
}
