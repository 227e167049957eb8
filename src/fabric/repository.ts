import type { LayerRepository } from "../../shared/repository.ts";
import { debianArchives, resolveMirrors } from "../lock/mirrors.ts";
import { suitesOfProfile } from "../lock/suites.ts";
import type { Spec } from "../spec/types.ts";

/** Where Debian is when the spec names no mirror that a node can reach. */
const publicMirrors = {
  debian: ["http://deb.debian.org/debian"],
  "debian-security": ["http://deb.debian.org/debian-security"],
};

/**
 * What the nodes' apt is to use. Of the spec's mirrors nodes get the first one that is reached over HTTP and needs no
 * password: the layer is public. Undefined where the platform has no apt.
 */
export function layerRepository(spec: Spec): LayerRepository | undefined {
  const { features, repository, suite, mirror } = spec.platform;
  if (!features.includes("repository")) return undefined;
  if (repository.mode === "darksite") return { mode: repository.mode, suite, archives: [] };
  const listed = resolveMirrors(mirror.filter(isPublic), { debian: [], "debian-security": [] });
  const suites = suitesOfProfile(suite, repository.profile, ["main"]);
  const archives = debianArchives.flatMap((archive) => {
    const own = suites.filter((source) => source.archive === archive).map((source) => source.suite);
    const uri = listed[archive]?.[0] ?? publicMirrors[archive][0]!;
    return own.length === 0 ? [] : [{ uri, suites: own }];
  });
  return { mode: repository.mode, suite, archives };
}

function isPublic(url: string): boolean {
  return /^https?:\/\/[^/@]+(\/|$)/.test(url);
}
