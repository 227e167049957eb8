import { type CommandUnknownOpts, Option } from "@commander-js/extra-typings";
import { resolve } from "node:path";

import type { ProjectOptions } from "../lifecycle/project.ts";
import {
  darksiteOption,
  repoModeOption,
  repoProfileOption,
  targetOption,
  withOverrides,
  type SpecOverrides,
} from "./options.ts";

/** Values of `withProjectOptions`. */
export interface ProjectFlags extends SpecOverrides {
  passphraseFile?: string;
  identity?: string[];
}

/** Adds the options of every verb that opens a spec with its vault and lock. */
export function withProjectOptions<C extends CommandUnknownOpts>(command: C): C {
  for (const option of [
    targetOption(),
    repoModeOption(),
    repoProfileOption(),
    darksiteOption(),
    new Option("--passphrase-file <file>", "passphrase of the vault; - reads standard input"),
    new Option("--identity <file...>", "age identity files that open the vault"),
  ]) {
    command.addOption(option);
  }
  return command;
}

/** The flags as `openProject` takes them. */
export function projectOptions(flags: ProjectFlags, create: boolean): ProjectOptions {
  return {
    create,
    vault: { passphraseFile: flags.passphraseFile, identities: flags.identity },
    override: (spec) => withOverrides(spec, flags),
  };
}

/** The flags that change the spec, as arguments for another kubedos. */
export function overrideArguments({ target, repoMode, repoProfile, darksiteSrc }: SpecOverrides): string[] {
  const values = [
    ["--target", target],
    ["--repo-mode", repoMode],
    ["--repo-profile", repoProfile],
    ["--darksite-src", darksiteSrc === undefined ? undefined : resolve(darksiteSrc)],
  ] as const;
  return values.flatMap(([name, value]) => (value === undefined ? [] : [name, value]));
}
