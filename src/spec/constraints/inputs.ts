import { type Finding, formatPath, type Path } from "../finding.ts";
import { printable, show } from "../issues.ts";
import type { Constraint } from "./types.ts";

/** Where an image has room for what a spec brings along. */
const prefixPlaces = ["/opt/", "/usr/local/", "/usr/lib/", "/srv/"];

/** Name, extras, versions and a marker as PEP 508 writes them; no URL, no option of pip. */
const requirement = /^[A-Za-z0-9][\w.-]*(\[[\w ,.-]*\])?\s*(\(?[<>=!~][\w\s.,*+!<>=~-]*\)?)?\s*(;.*)?$/;

/** Python environments lie in sensible places and ask for distributions by name. */
export const pythonRequests: Constraint = {
  name: "python-requests",
  reads: ["platform.python"],
  check: ({ written }) =>
    written.platform.python.flatMap(({ prefix, requirements, without }, i): Finding[] => {
      const base: Path = ["platform", "python", i];
      return [
        ...checkPrefix([...base, "prefix"], prefix),
        ...requirements.flatMap((text, k) => checkRequirement([...base, "requirements", k], text)),
        ...without.flatMap((name, k) => checkName([...base, "without", k], name)),
      ];
    }),
};

function checkPrefix(path: Path, prefix: string): Finding[] {
  const message = `\`${formatPath(path)}\` is ${show(prefix)}`;
  const plain = /^(\/[A-Za-z0-9_+@-][\w.+@-]*)+$/.test(prefix) && prefix.length <= 200;
  if (!plain) {
    return [{ path, message: `${message}, not a plain absolute path`, hint: "write e.g. `/opt/tools`" }];
  }
  if (prefixPlaces.some((place) => prefix.startsWith(place))) return [];
  return [{ path, message: `${message}; there is no room for it`, hint: "use a directory below /opt or /usr/local" }];
}

function checkRequirement(path: Path, text: string): Finding[] {
  if (requirement.test(text) && text.length <= 500) return [];
  const hint = /@|:\/\//.test(text)
    ? "write a name and a version; a single file from the web goes into `platform.blobs`"
    : "write a name and versions as in `requests>=2.32,<3`";
  return [{ path, message: `${show(text)} is not a requirement (PEP 508)`, hint }];
}

function checkName(path: Path, name: string): Finding[] {
  if (/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name)) return [];
  const normal = name.toLowerCase().replaceAll(/[-_.]+/g, "-");
  const hint = /^[a-z0-9]+(-[a-z0-9]+)*$/.test(normal) ? `write \`${normal}\`` : "write the name alone";
  return [{ path, message: `${show(printable(name))} is not a normalised name of a distribution`, hint }];
}
