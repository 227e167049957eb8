import { projectAssets } from "../../src/host/project.ts";

/** The project's own files; bundles, which need not be made, have a word in their place. */
export function assetsWithoutBundles(): ReturnType<typeof projectAssets> {
  const assets = projectAssets();
  return Object.assign((path: string) => (path.startsWith("dist/") ? "bundle" : assets(path)), { list: assets.list });
}
