import { readProjectFile } from "../host/project.ts";
import type { BuildInputs } from "./graph.ts";

/** The parts of node/writer/ that an installation medium starts. */
export async function writerTexts(): Promise<BuildInputs["writer"]> {
  const read = (name: string) => readProjectFile(`node/writer/${name}`);
  const scripts = ["console", "drivers", "medium", "network", "bundle", "disk", "tpm", "seeds", "write"].map(
    async (path) => ({
      path,
      content: await read(path),
    }),
  );
  return { init: await read("init"), scripts: await Promise.all(scripts) };
}

/** What Debian's installer runs of ours. */
export async function installerTexts(): Promise<BuildInputs["installer"]> {
  const read = (name: string) => readProjectFile(`node/netinst/${name}`);
  return {
    "choose-disk": await read("choose-disk"),
    install: await read("install"),
    "preseed.cfg": await read("preseed.cfg"),
    start: await read("start"),
  };
}
