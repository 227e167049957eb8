/** What dpkg knows about an installed package. */
export interface InstalledPackage {
  version: string;
  architecture: string;
  maintainer?: string;
}

/** Installed packages by name, from the text of dpkg's status file. deb822(5) */
export function installedPackages(status: string): Map<string, InstalledPackage> {
  const installed = new Map<string, InstalledPackage>();
  for (const paragraph of status.split("\n\n")) {
    const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(paragraph)?.[1];
    const [name, version, architecture] = ["Package", "Version", "Architecture"].map(field);
    if (name === undefined || version === undefined || architecture === undefined) continue;
    if (field("Status") !== "install ok installed") continue;
    installed.set(name, { version, architecture, maintainer: field("Maintainer") });
  }
  return installed;
}
