import type { Spec } from "../spec/types.ts";
import type { AptSource } from "./private-apt.ts";

/** The suites behind a repository profile: `base` is the release alone, the others add updates and security fixes. */
export function suitesOfProfile(
  suite: string,
  profile: Spec["platform"]["repository"]["profile"],
  components: readonly string[],
): AptSource[] {
  const base: AptSource = { archive: "debian", suite, components };
  if (profile === "base" || suite === "sid" || suite === "unstable") return [base];
  return [
    base,
    { archive: "debian", suite: `${suite}-updates`, components },
    { archive: "debian-security", suite: `${suite}-security`, components },
  ];
}
