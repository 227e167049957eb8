/**
 * Licences of Debian packages: from machine-readable copyright files to SPDX expressions.
 * https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/, https://spdx.github.io/spdx-spec/v2.3/SPDX-license-expressions/
 */

/** Debian's short names whose SPDX identifier is another; names with a version and `+` follow a rule below. */
const known: Readonly<Record<string, string>> = Object.fromEntries(
  [
    ["Expat", "MIT"],
    ["CC0", "CC0-1.0"],
    ["Apache-2", "Apache-2.0"],
    ...[
      "0BSD",
      "Apache-2.0",
      "BSD-2-Clause",
      "BSD-3-Clause",
      "BSD-4-Clause",
      "BSL-1.0",
      "CC-BY-4.0",
      "CC-BY-SA-3.0",
      "CC-BY-SA-4.0",
      "CC0-1.0",
      "FSFAP",
      "ISC",
      "MPL-1.1",
      "MPL-2.0",
      "OpenSSL",
      "Unicode-DFS-2016",
      "Unlicense",
      "X11",
      "Zlib",
      "curl",
    ].map((id) => [id, id] as const),
  ].map(([name, id]) => [name.toLowerCase(), id]),
);

/** A `LicenseRef-` that an expression names, and the short name it stands for. */
export interface LicenceReference {
  id: string;
  name: string;
}

/**
 * What a copyright file declares, as one SPDX expression: all its `License` fields, joined with AND. Undefined when the
 * file is not machine-readable. Short names that SPDX does not know become `LicenseRef-debian-…`.
 */
export function licenceExpression(
  copyright: string,
): { expression: string; references: LicenceReference[] } | undefined {
  const paragraphs = copyright.split(/\n[ \t]*\n/);
  if (!/^Format(-Specification)?:\s*\S*(copyright-format|dep5)/im.test(paragraphs[0] ?? "")) return undefined;
  const references = new Map<string, LicenceReference>();
  const terms = new Set<string>();
  for (const [index, paragraph] of paragraphs.entries()) {
    // Stand-alone License paragraphs only hold the text of what Files paragraphs name.
    if (index > 0 && !/^Files:/m.test(paragraph)) continue;
    const name = /^License:[ \t]*(\S.*)$/m.exec(paragraph)?.[1]?.trim();
    if (name === undefined) continue;
    const term = convert(name, references);
    for (const part of / OR /.test(term) ? [term] : term.split(" AND ")) terms.add(part);
  }
  if (terms.size === 0) return undefined;
  const sorted = [...terms].toSorted(byText);
  return {
    expression: sorted.map((term) => (sorted.length > 1 && / OR /.test(term) ? `(${term})` : term)).join(" AND "),
    references: [...references.values()].toSorted((a, b) => byText(a.id, b.id)),
  };
}

/** `A or B and C`: as in SPDX, `and` binds closer. What has commas or exceptions is one licence of its own. */
function convert(text: string, references: Map<string, LicenceReference>): string {
  const names = text.split(/\s+(and|or)\s+/i);
  if (/[,()]|and\/or|\bwith\b/i.test(text) || names.some((name) => /\s/.test(name))) return reference(text, references);
  return names.map((name, index) => (index % 2 === 1 ? name.toUpperCase() : single(name, references))).join(" ");
}

function single(name: string, references: Map<string, LicenceReference>): string {
  const exact = known[name.toLowerCase()];
  if (exact !== undefined) return exact;
  const [, family, version, later] = /^(A?GPL|LGPL|GFDL)-(\d(?:\.\d)?)(\+?)$/.exec(name) ?? [];
  if (family === undefined || version === undefined) return reference(name, references);
  const full = `${version.includes(".") ? version : `${version}.0`}-${later === "+" ? "or-later" : "only"}`;
  const id = `${family}-${full}`;
  return gnu.has(`${family}-${full.slice(0, 3)}`) ? id : reference(name, references);
}

/** Families and versions of which SPDX has `-only` and `-or-later`. */
const gnu = new Set(["GPL-1.0", "GPL-2.0", "GPL-3.0", "LGPL-2.0", "LGPL-2.1", "LGPL-3.0", "AGPL-1.0", "AGPL-3.0"]);

function reference(name: string, references: Map<string, LicenceReference>): string {
  const id = `LicenseRef-debian-${name.replaceAll("+", "-plus").replaceAll(/[^A-Za-z0-9.-]+/g, "-")}`;
  references.set(id, { id, name });
  return id;
}

function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
