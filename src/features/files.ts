import type { Assets, ImageFile } from "./types.ts";

const unitDirectory = "/usr/lib/systemd/system";

/** A configuration file, readable by all. */
export function textFile(path: string, content: string, mode = 0o644): ImageFile {
  return { path, mode, content };
}

/** One of the project's own systemd units, from node/units/. */
export function unitFile(assets: Assets, name: string): ImageFile {
  return textFile(`${unitDirectory}/${name}`, assets(`node/units/${name}`));
}

/**
 * Our addition to a unit that a Debian package brings, from node/units/ (systemd.unit(5), "drop-in"). It goes to
 * /usr/lib, below the administrator's /etc.
 */
export function unitDropIn(assets: Assets, unit: string): ImageFile {
  return textFile(`${unitDirectory}/${unit}.d/10-kubedos.conf`, assets(`node/units/${unit}.d/10-kubedos.conf`));
}
